"""The contract of a `Store` that several OS threads use at the same time."""

from __future__ import annotations

import threading

from gpt_agent_fsm.machine.inputs import AddUserMessage, CancelRun
from gpt_agent_fsm.ports import Record
from gpt_agent_fsm.testing.contracts.store_means import StoreTests, idle, numbers_of, some_events, tried

__all__ = ["StoreAtOnce"]

_THREADS = 8
_MAX_READS = 200


class StoreAtOnce(StoreTests):
    """The tests of the contract that use several OS threads."""

    def test_commands_accepted_at_once_get_numbers_of_their_own(self) -> None:
        self.commit(idle())

        def accept_some(worker: int) -> list[tuple[int, AddUserMessage]]:
            commands = [AddUserMessage(key=f"{worker} {number}", content="Hello") for number in range(10)]
            return [(self.store.accept("thread_1", command), command) for command in commands]

        taken = self.at_once(*(lambda worker=worker: accept_some(worker) for worker in range(_THREADS)))
        inbox = self.saved().inbox
        numbers = [number for number, _ in inbox]
        assert numbers == sorted(set(numbers))
        assert len(inbox) == _THREADS * 10
        assert {number: command for part in taken for number, command in part} == dict(inbox)
        for part in taken:
            assert part == sorted(part, key=lambda entry: entry[0]), "a caller's commands were reordered"

    def test_commits_at_once_to_many_threads_are_all_kept(self) -> None:
        def work(thread_id: str) -> list[Record]:
            records: list[Record] = []
            for step in range(10):
                number = self.store.accept(thread_id, CancelRun()) if step else 0
                events = some_events(step, step, thread_id=thread_id)
                records.extend(self.commit(idle(thread_id), *events, consumed=number, at=float(step)))
                self.store.announced(thread_id, records[-1].seq - 1)
            return records

        threads = [f"thread_{number}" for number in range(_THREADS)]
        for thread_id, records in zip(
            threads,
            self.at_once(*(lambda thread_id=thread_id: work(thread_id) for thread_id in threads)),
            strict=True,
        ):
            assert numbers_of(records) == list(range(1, 21))
            assert list(self.store.history(thread_id)) == records
            assert self.saved(thread_id).inbox == ()
            assert numbers_of(self.saved(thread_id).unannounced) == [20]

    def test_events_committed_at_once_to_one_thread_are_numbered_without_gaps(self) -> None:
        taken = self.at_once(
            *(lambda worker=worker: self.commit(idle(), *some_events(worker, worker)) for worker in range(_THREADS))
        )
        history = list(self.store.history("thread_1"))
        assert numbers_of(history) == list(range(1, 2 * _THREADS + 1))
        assert sorted((record for part in taken for record in part), key=lambda record: record.seq) == history
        assert all(second.seq == first.seq + 1 for first, second in taken)

    def test_a_reader_sees_all_of_a_commit_or_nothing(self) -> None:
        self.commit(idle())
        done = threading.Event()

        def write() -> None:
            try:
                for step in range(1, 40):
                    number = self.store.accept("thread_1", CancelRun())
                    self.commit(tried(step), *some_events(step, step), consumed=number)
            finally:
                done.set()

        def read() -> None:
            for _ in range(_MAX_READS):
                if done.is_set():
                    return
                saved = self.saved()
                pending = saved.snapshot.pending
                steps = 0 if pending is None else pending.tries
                assert saved.last_seq == len(saved.unannounced) == 2 * steps, "half a commit was seen"
                assert len(saved.inbox) <= 1

        self.at_once(write, read, read)
