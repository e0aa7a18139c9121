"""A real process, real HTTP, a real file, SIGKILL and SIGSTOP. The command ends 220 processes; these tests end nine."""

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.testing import kill_test, kill_tools


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_processes_that_are_killed_or_stopped_lose_and_duplicate_nothing(capfd, wire):
    code = kill_test.main(["--kills", "6", "--stops", "3", "--threads", "12", "--longest", "0.6", "--wire", wire])
    said = capfd.readouterr().out
    assert code == 0, said
    assert said.startswith("6 kills and 3 stops of 12 conversations")
    assert "calls of functions" in said
    assert "nothing lost, nothing twice, nothing stuck" in said


def test_the_experiment_detects_lost_and_duplicated_messages(tmp_path, monkeypatch):
    with kill_test.LocalServer() as server:
        experiment = kill_test._Experiment(server.base_url, "assistants", tmp_path, threads=1)
        (thread_id,) = experiment.thread_ids
        (tmp_path / "accepted").write_text("0.1.0\n0.1.1\n")
        for _ in range(2):
            kill_test.requests.post(
                f"{server.base_url}/threads/{thread_id}/messages",
                json={"role": "user", "content": "0.1.1"},
                headers={"OpenAI-Beta": "assistants=v2"},
                timeout=10,
            )
        wrong, counts = experiment.violations()
    assert "0.1.1 is on the server 2 times" in wrong
    assert "0.1.0 was accepted and lost" in wrong
    assert "thread 0: 2 messages had 0 runs" in wrong
    assert "thread 0: 2 messages had 0 answers" in wrong
    assert counts["messages"] == 2


def call_events(name, *kinds):
    """The history of one call."""
    of_call = {"id": "call_1", "thread_id": "thread_1", "run_id": "run_1", "name": name}
    more = {
        events.ToolCallRequested: {"arguments": {}},
        events.ToolStarted: {"attempt": 1},
        events.ToolCallOutputRecorded: {"output": "1"},
    }
    known = {kind: {field.name for field in attrs.fields(kind)} for kind in kinds}
    return [kind(**{key: of_call[key] for key in known[kind] & of_call.keys()}, **more.get(kind, {})) for kind in kinds]


ASKED, BEGUN, DONE = events.ToolCallRequested, events.ToolStarted, events.ToolCallOutputRecorded
UNKNOWN, DENIED = events.ToolOutcomeUnknown, events.ToolDenied


@pytest.mark.parametrize(
    ("name", "kinds", "ran", "wrong"),
    [
        ("once", (ASKED, BEGUN, DONE), 1, []),
        ("again", (ASKED, BEGUN, BEGUN, DONE), 2, []),
        ("once", (ASKED, BEGUN, UNKNOWN, DONE), 0, []),
        ("by_hand", (ASKED, DONE), 0, []),
        ("approved", (ASKED, DENIED, DONE), 0, []),
        ("approved", (ASKED, BEGUN, BEGUN, DONE), 2, ["the call call_1 of approved ran 2 times"]),
        ("approved", (ASKED, DENIED, BEGUN, DONE), 1, ["the call call_1 of approved was denied and ran"]),
        ("once", (ASKED, BEGUN, BEGUN, DONE), 2, ["the call call_1 of once ran 2 times"]),
        ("once", (ASKED, BEGUN, DONE), 0, ["the call call_1 of once never ran, and nobody was told"]),
        ("again", (ASKED, BEGUN, DONE), 2, ["the call call_1 of again ran 2 times and was started 1 times"]),
        ("again", (ASKED, BEGUN), 1, ["the call call_1 of again has 0 outputs"]),
        ("once", (), 1, ["a function ran for the call call_1, which was never requested"]),
    ],
)
def test_the_experiment_detects_functions_that_ran_twice_or_were_lost(name, kinds, ran, wrong):
    assert kill_tools.tool_violations(call_events(name, *kinds), ["call_1"] * ran)[0] == wrong
