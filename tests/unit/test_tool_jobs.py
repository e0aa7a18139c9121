"""The jobs that run functions of tools: each runs once and ends once, whatever happens to its OS thread."""

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


def job(work, call="call_1", attempt=1, fallback="fallback"):
    return Job(("thread_1", "run_1", call, attempt), work, fallback, None)


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
    jobs.add(job(lambda _: 1))
    threads.left = None
    later = job(lambda _: 2, call="call_2")
    jobs.add(later)
    threads.run()
    assert later.result == 2


def test_jobs_that_wait_end_as_well_if_there_are_no_more_os_threads():
    jobs, threads, _ = make(limit=1)
    threads.left = 1
    waiting = [job(lambda _: 1, call=f"call_{n}") for n in range(2_000)]
    for each in waiting:
        jobs.add(each)
    threads.run()
    assert [each.result for each in waiting] == [1] + ["fallback"] * 1_999


def test_a_job_that_raises_ends_with_its_fallback_and_lets_the_next_begin(caplog):
    def work(_):
        raise SystemExit(3)

    jobs, threads, _ = make(limit=1)
    broken, later = job(work), job(lambda _: 2, call="call_2")
    jobs.add(broken)
    jobs.add(later)
    threads.run()
    assert (broken.result, later.result) == ("fallback", 2)
    assert "the call call_1 failed" in caplog.text


def test_after_close_no_job_begins_and_those_that_run_are_told_to_stop():
    jobs, threads, _ = make(limit=1)
    runs, waits, late = job(lambda _: 1), job(lambda _: 2, call="call_2"), job(lambda _: 3, call="call_3")
    jobs.add(runs)
    jobs.add(waits)
    assert jobs.close() == 2
    jobs.add(late)
    threads.run()
    assert (runs.has_ended, waits.has_ended, late.has_ended) == (True, False, False)
    assert runs.cancelled.is_set()


def test_the_jobs_of_a_thread_that_another_process_drives_are_told_to_stop_or_do_not_begin():
    jobs, threads, _ = make(limit=1)
    runs, waits = job(lambda _: 1), job(lambda _: 2, call="call_2")
    jobs.add(runs)
    jobs.add(waits)
    jobs.drop("thread_1")
    threads.run()
    assert runs.cancelled.is_set()
    assert not waits.has_ended
    assert not jobs.threads


def test_a_result_that_comes_after_a_new_job_for_the_same_call_is_too_late(caplog):
    jobs, threads, _ = make()
    slow, again = job(lambda _: "slow"), job(lambda _: "again")
    jobs.add(slow)
    jobs.forget(slow, cancel=True)
    jobs.add(again)
    threads.run()
    assert again.result == "again"
    assert caplog.text.count("came too late") == 1
