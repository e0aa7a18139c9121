"""A store in memory that keeps the queue of a thread as rows, as a database does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_fsm.machine.queue import NO_CHANGE, Queue, QueueChange, QueuedMessage
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Record, Saved
from gpt_agent_fsm.stores import MemoryStore

__all__ = ["RowStore"]


class RowStore(MemoryStore):
    """A `MemoryStore` that believes only the changes of a queue, so that a wrong change loses a message here, too."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, dict[int, QueuedMessage]] = {}

    def commit(
        self,
        snapshot: Snapshot,
        *,
        queue: QueueChange = NO_CHANGE,
        **fields: Any,  # noqa: ANN401 - as the protocol has them
    ) -> Sequence[Record]:
        """See `Store.commit`."""
        rows = self._rows.setdefault(snapshot.thread_id, {})
        for number in queue.removed:
            rows.pop(number, None)
        rows.update(queue.written)
        return super().commit(snapshot, queue=queue, **fields)

    def load(self, thread_id: str) -> Saved | None:
        """See `Store.load`."""
        saved = super().load(thread_id)
        return None if saved is None else self._with_rows(saved)

    def unfinished(self) -> Mapping[str, Saved]:
        """See `Store.unfinished`."""
        return {thread_id: self._with_rows(saved) for thread_id, saved in super().unfinished().items()}

    def _with_rows(self, saved: Saved) -> Saved:
        rows = self._rows.get(saved.snapshot.thread_id, {})
        return attrs.evolve(saved, snapshot=attrs.evolve(saved.snapshot, queue=Queue.of(sorted(rows.items()))))
