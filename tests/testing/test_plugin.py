"""The pytest plugin: its fixtures, as somebody else's tests use them."""

import subprocess
import sys

import pytest
import sqlalchemy

# `pytester` forgets what the tests that it runs were the first to import, and SQLAlchemy's compiled parts do not
# survive a second import. So it is imported here, whatever ran before.
assert sqlalchemy

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "pytest_gpt_agent_fsm", "-p", "no:gpt-agent-fsm", "-p", "no:cacheprovider")
# The tests that are run share our process, and so find the library imported.
QUIET = ("-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning")
CONVERSATION = """
def converse(runtime, *words):
    said = []

    def hear(agent, event):
        kind = type(event).__name__
        if kind == "ToolCallRequested":
            agent.submit_tool_output(event.id, {"celsius": 21})
        if kind == "AssistantMessageAdded":
            said.append(event.content)

    agent = runtime.connect(
        thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None, subscribe=hear
    )
    for word in words:
        agent.add_user_message(word)
    agent.wait(timeout=20)
    return said
"""


@pytest.fixture
def run(pytester):
    """Run a test file of somebody else; return its outcomes."""
    pytester.makepyfile(conversation=CONVERSATION)

    def run(code):
        pytester.makepyfile(test_it=f"import pytest\nfrom conversation import converse\n{code}")
        return pytester.runpytest_inprocess(*PLUGIN, *QUIET, "--strict-markers")

    return run


def test_a_runtime_talks_to_a_server_that_echoes(run):
    run(
        """
def test_it(agent_runtime):
    assert converse(agent_runtime, "Hello") == ["You said: Hello"]
"""
    ).assert_outcomes(passed=1)


def test_a_script_may_stand_at_the_test(run):
    run(
        '''
SCRIPT = """
rules:
  - when: warm
    steps:
      - call: {name: get_weather, arguments: {city: Oslo}}
      - say: "The service says {outputs}."
"""

@pytest.mark.local_model(SCRIPT)
def test_it(agent_runtime):
    assert converse(agent_runtime, "How warm is it?") == ['The service says {"celsius":21}.']
'''
    ).assert_outcomes(passed=1)


def test_a_script_may_stand_in_a_file(run, pytester):
    pytester.makefile(".yaml", script="otherwise: {say: From a file}")
    run(
        """
from pathlib import Path

@pytest.mark.local_model(Path("script.yaml"))
def test_it(agent_runtime):
    assert converse(agent_runtime, "Hello") == ["From a file"]
"""
    ).assert_outcomes(passed=1)


def test_a_model_may_be_a_callable_and_a_parameter(run):
    run(
        """
@pytest.mark.parametrize("local_model", [lambda request: "one", lambda request: "two"], indirect=True, ids=["1", "2"])
def test_it(agent_runtime, request):
    assert converse(agent_runtime, "Hello") == [{"1": "one", "2": "two"}[request.node.callspec.id]]
"""
    ).assert_outcomes(passed=2)


def test_fixtures_may_be_overridden(run):
    run(
        """
from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import ResponsesBackend

@pytest.fixture
def local_model():
    return lambda request: request.instructions

@pytest.fixture
def agent_backend(local_server):
    return ResponsesBackend(local_server.base_url, assistants={"asst_1": Assistant("m", "Be kind")})

def test_it(agent_runtime):
    assert converse(agent_runtime, "Hello") == ["Be kind"]
"""
    ).assert_outcomes(passed=1)


def test_what_the_server_saw_can_be_looked_at(run):
    run(
        """
def test_it(agent_runtime, local_requests):
    converse(agent_runtime, "Hello")
    posted = [request for request in local_requests if request.path.endswith("/messages") and request.method == "POST"]
    assert [request.body["content"] for request in posted] == ["Hello"]
    assert posted[0].status == 200
    assert posted[0].headers["OpenAI-Beta"] == "assistants=v2"
"""
    ).assert_outcomes(passed=1)


def test_each_test_has_a_server_of_its_own(run):
    run(
        """
seen = set()

@pytest.mark.parametrize("n", [1, 2])
def test_it(local_server, local_requests, n):
    assert local_requests == []
    assert local_server.base_url not in seen
    seen.add(local_server.base_url)
"""
    ).assert_outcomes(passed=2)


def test_who_uses_none_of_it_does_not_import_the_package():
    code = "import sys, pytest_gpt_agent_fsm; sys.exit('gpt_agent_fsm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
