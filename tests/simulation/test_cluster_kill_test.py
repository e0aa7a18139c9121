"""Real processes, a real PostgreSQL, SIGKILL and SIGSTOP. The command has 1,000 threads; these tests have 24."""

import pytest

pytest.importorskip("procrastinate", reason="the extra cluster is not installed")

from gpt_agent_fsm import events
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.local import SeenRequest
from gpt_agent_fsm.testing import cluster_kill_test, takeovers
from gpt_agent_fsm.testing.cluster_children import PROCESS
from gpt_agent_fsm.testing.postgresql import obstacle
from tests.cluster.helpers import query
from tests.cluster.worlds import wait_until

SHORT = ["--threads", "24", "--messages", "3", "--seconds", "25", "--pause", "3", "--think", "3", "--limit", "40"]


@pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))
@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_a_cluster_whose_parts_are_killed_loses_and_duplicates_nothing(capfd, wire):
    code = cluster_kill_test.main([*SHORT, "--wire", wire])
    said = capfd.readouterr().out
    assert code == 0, said
    assert said.startswith("3 workers, 3 clients and 24 threads")
    assert "nothing lost, nothing twice, nothing stuck" in said


@pytest.fixture
def url(postgresql):
    """A cluster in which the process 17 has two threads, of which one has work."""
    url = postgresql.new_schema()
    Cluster(url).close()
    for thread_id, unfinished in (("thread_1", True), ("thread_2", False)):
        query(
            url,
            "INSERT INTO gpt_agent_threads (thread_id, settled, unfinished, accepted, last_seq, announced, snapshot) "
            "VALUES (%s, %s, %s, 0, 0, 0, '{}')",
            *(thread_id, not unfinished, unfinished),
        )
        query(
            url,
            "INSERT INTO gpt_agent_owners (thread_id, accepted, epoch, worker) VALUES (%s, 0, 1, 'here-17-0a')",
            thread_id,
        )
    return url


def take_over(url):
    query(url, "UPDATE gpt_agent_owners SET epoch = epoch + 1, worker = 'here-18-0a'")


def test_the_time_counts_until_another_worker_has_claimed_a_thread_with_work(url):
    watching = takeovers.Takeovers(url)
    assert watching.watch(17, since=0.0) == 1
    watching.note_fault(5.0)
    assert [each.thread_id for each in watching.waiting] == ["thread_1"]
    take_over(url)
    wait_until(lambda: not watching.waiting)
    watching.close()
    (taken,) = watching.done
    assert taken.was_disturbed
    assert (taken.since, taken.last_fault) == (0.0, 5.0)
    assert taken.taken > 5.0


def test_a_thread_without_work_is_not_waited_for(url):
    watching = takeovers.Takeovers(url)
    assert watching.watch(17, since=0.0) == 1
    query(url, "UPDATE gpt_agent_threads SET unfinished = false")
    wait_until(lambda: not watching.waiting)
    watching.close()
    assert watching.done == []


def test_the_percentiles_are_those_of_all_takeovers():
    assert (
        takeovers.figures([float(second) for second in range(100)])
        == "100: p50 50.0, p90 90.0, p99 99.0, longest 99.0 s"
    )
    assert takeovers.figures([]) == "none"


def a_post(pid, *, method="POST"):
    path = "/threads/thread_1/messages"
    return SeenRequest(method=method, path=path, query={}, headers={PROCESS: str(pid)}, body={}, status=200)


def test_a_request_of_a_resumed_worker_for_a_thread_that_another_worker_has_is_late(url):
    late = cluster_kill_test._LateRequests(url)
    late.hear(a_post(17))
    late.note_resumed(17)
    late.hear(a_post(17))
    assert late.threads == [], "it has the thread"
    take_over(url)
    late.hear(a_post(18))
    late.hear(a_post(17, method="GET"))
    assert late.threads == []
    late.hear(a_post(17))
    late.close()
    assert late.threads == ["thread_1"]


def test_an_answer_that_is_twice_in_the_history_is_found():
    answer = events.AssistantMessageAdded(
        message_id="msg_1", thread_id="thread_1", run_id="run_1", assistant_id="asst_1", content="Hello"
    )
    (sentence,) = cluster_kill_test._twice_in_history(3, [answer, answer])
    assert sentence == "thread 3: the answer msg_1 is in the history 2 times"
