"""Whole conversations of SDKs for Node with the embedded server, over loopback."""

import json
import subprocess
from pathlib import Path

import pytest

from gpt_agent_fsm.local import LocalServer, ScriptedModel
from tests.interop.programs import START, find

HERE = Path(__file__).parent / "node"
INSTALL = f"npm install --no-package-lock --prefix {HERE}"
ANSWER = 'It is {"city":"Oslo","celsius":21}.'
SCRIPT = """
rules:
  - when: in Oslo
    steps:
      - call: {name: get_weather, arguments: {city: Oslo}}
      - say: It is {outputs}.
  - when: well
    say: {ok: true}
"""


@pytest.fixture(scope="module")
def server():
    with LocalServer(ScriptedModel.from_yaml(SCRIPT), strict_schemas=True) as server:
        yield server


@pytest.fixture
def play(server):
    """Run a script against the server, and return what it has printed."""
    node = find("node")
    if node is None or not (HERE / "node_modules").is_dir():
        pytest.skip(f"node is not on PATH, or the SDKs are not installed; {INSTALL}")

    def play(script, *args):
        command = [node, HERE / script, server.base_url, *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return play


@pytest.mark.parametrize("how", ["stored", "unstored", "streamed"])
def test_the_ai_sdk_calls_a_tool_says_a_second_thing_and_gets_an_object(play, how):
    assert play("ai_sdk.mjs", how) == {
        "first": ANSWER,
        "calls": [["get_weather", {"city": "Oslo"}]],
        "second": "You said: Thank you!",
        "object": {"ok": True},
    }


def test_the_sdk_of_openai_uses_both_apis(play):
    assert play("openai_sdk.mjs") == {
        "pieces": ANSWER,
        "streamed": ANSWER,
        "background": "You said: Thank you!",
        "object": {"ok": True},
        "run_calls": [["get_weather", {"city": "Oslo"}]],
        "run_status": "completed",
        "run_text": ANSWER,
        "run_object": {"ok": True},
    }
