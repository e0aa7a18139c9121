"""The jobs that run functions of tools: each has a place and ends once, whatever happens to its OS thread."""

import pytest

from gpt_agent_fsm.engine.tool_jobs import Job, ToolJobs
from gpt_agent_fsm.testing import VirtualClock


class Threads:
    """OS threads that run when the test says so, or that cannot be started."""

    def __init__(self):
        self.held = []
        self.left = None

    def start(self, function):
        if self.left == 0:
            raise RuntimeError("can't start new thread")
        self.left = None if self.left is None else self.left - 1
        self.held.append(function)

    def run(self):
        while self.held:
            self.held.pop(0)()


def make(limit=8):
    threads, woken = Threads(), []
    return ToolJobs(VirtualClock(), limit, woken.append, threads.start), threads, woken


def key_of(call="call_1", thread="thread_1", attempt=1):
    return (thread, "run_1", call, attempt)


def job(work, call="call_1", attempt=1, fallback="fallback"):
    return Job(key_of(call, attempt=attempt), work, fallback, None)


def test_without_an_os_thread_a_job_ends_with_its_fallback_and_the_thread_is_woken(caplog):
    jobs, threads, woken = make()
    threads.left = 0
    one = job(lambda _: "result")
    jobs.add(one)
    assert (one.has_ended, one.result, woken) == (True, "fallback", ["thread_1"])
    assert "there is no OS thread for the call call_1" in caplog.text


def test_a_missing_os_thread_does_not_count_for_the_limit():
    jobs, threads, _ = make(limit=1)
    threads.left = 0
    assert jobs.reserve(key_of())
    jobs.add(job(lambda _: 1))
    assert jobs.reserve(key_of("call_2"))


def test_a_job_that_raises_ends_with_its_fallback_and_its_place_is_free(caplog):
    def work(_):
        raise SystemExit(3)

    jobs, threads, _ = make(limit=1)
    broken = job(work)
    jobs.add(broken)
    assert not jobs.reserve(key_of("call_2"))
    threads.run()
    assert broken.result == "fallback"
    assert jobs.reserve(key_of("call_2"))
    assert "the call call_1 failed" in caplog.text


def test_the_oldest_job_gets_the_place_that_becomes_free_and_only_its_thread_is_woken():
    jobs, threads, woken = make(limit=1)
    assert jobs.reserve(key_of(thread="a"))
    waiting = [key_of(thread="b"), key_of(thread="c"), key_of("call_2", thread="b")]
    assert [jobs.reserve(key) for key in waiting * 2] == [False] * 6
    jobs.add(Job(key_of(thread="a"), lambda _: 1, None, None))
    threads.run()
    assert woken == ["a", "b"]
    assert [jobs.reserve(key) for key in reversed(waiting)] == [False, False, True]
    jobs.give_back(waiting[0])
    assert woken == ["a", "b", "c"]


def test_a_thread_that_is_woken_by_the_end_of_its_job_does_not_overtake_those_that_wait():
    threads, woken = Threads(), []

    def wake(thread):
        woken.append((thread, jobs.reserve(key_of("call_2", thread)) if thread == "a" else None))

    jobs = ToolJobs(VirtualClock(), 1, wake, threads.start)
    jobs.add(Job(key_of(thread="a"), lambda _: 1, None, None))
    assert not jobs.reserve(key_of(thread="b"))
    threads.run()
    assert woken == [("a", False), ("b", None)]
    assert jobs.reserve(key_of(thread="b"))


def test_a_place_is_reserved_until_its_job_is_added_and_taken_until_the_job_ends():
    jobs, threads, _ = make(limit=1)
    assert jobs.reserve(key_of())
    assert jobs.reserve(key_of())
    assert not jobs.reserve(key_of("call_2"))
    jobs.add(job(lambda _: 1))
    assert not jobs.reserve(key_of("call_3"))
    threads.run()
    assert jobs.reserve(key_of("call_2"))


def test_a_job_that_waits_no_longer_gets_no_place():
    jobs, _, woken = make(limit=1)
    first, second, third = key_of("call_1", "a"), key_of("call_2", "b"), key_of("call_3", "c")
    assert [jobs.reserve(key) for key in (first, second, third)] == [True, False, False]
    jobs.give_back(second)
    jobs.give_back(first)
    assert woken == ["c"]
    assert jobs.reserve(third)


def test_a_place_of_a_function_whose_result_is_no_longer_wanted_is_free():
    jobs, _, woken = make(limit=1)
    slow = job(lambda _: 1)
    jobs.add(slow)
    assert not jobs.reserve(key_of("call_2", "b"))
    jobs.forget(slow)
    assert woken == ["b"]
    assert jobs.reserve(key_of("call_2", "b"))


def test_a_thread_counts_as_busy_while_it_has_a_place_or_a_job():
    jobs, _, _ = make(limit=2)
    jobs.reserve(key_of(thread="a"))
    jobs.add(Job(key_of(thread="b"), lambda _: 1, None, None))
    jobs.reserve(key_of(thread="c"))
    assert jobs.threads == {"a", "b"}


@pytest.mark.parametrize("ends", [lambda jobs: jobs.close(), lambda jobs: setattr(jobs, "is_closing", True)])
def test_no_place_is_given_while_the_runtime_closes(ends):
    jobs, _, woken = make(limit=1)
    jobs.reserve(key_of())
    jobs.reserve(key_of("call_2"))
    ends(jobs)
    jobs.give_back(key_of())
    assert [jobs.reserve(key_of(call)) for call in ("call_1", "call_2", "call_3")] == [False] * 3
    assert woken == []


def test_after_close_no_job_begins_and_those_that_run_are_told_to_stop():
    jobs, threads, _ = make(limit=1)
    runs, late = job(lambda _: 1), job(lambda _: 3, call="call_3")
    jobs.add(runs)
    assert jobs.close() == 1
    jobs.add(late)
    threads.run()
    assert (runs.has_ended, late.has_ended) == (True, False)
    assert runs.cancelled.is_set()


def test_the_jobs_of_a_thread_that_another_process_drives_are_told_to_stop():
    jobs, threads, _ = make(limit=1)
    runs = job(lambda _: 1)
    jobs.add(runs)
    jobs.drop("thread_1")
    threads.run()
    assert runs.cancelled.is_set()
    assert not jobs.threads


def test_a_result_that_comes_after_a_new_job_for_the_same_call_is_too_late(caplog):
    jobs, threads, _ = make()
    slow, again = job(lambda _: "slow"), job(lambda _: "again")
    jobs.add(slow)
    jobs.forget(slow)
    jobs.add(again)
    threads.run()
    assert again.result == "again"
    assert caplog.text.count("came too late") == 1
