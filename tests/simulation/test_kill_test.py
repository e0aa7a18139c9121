"""A real process, real HTTP, a real file, SIGKILL and SIGSTOP. The command ends 220 processes; these tests end nine."""

import pytest

from gpt_agent_fsm.testing import kill_test


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_processes_that_are_killed_or_stopped_lose_and_duplicate_nothing(capfd, wire):
    code = kill_test.main(["--kills", "6", "--stops", "3", "--threads", "12", "--longest", "0.6", "--wire", wire])
    said = capfd.readouterr().out
    assert code == 0, said
    assert said.startswith("6 kills and 3 stops of 12 conversations")
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
