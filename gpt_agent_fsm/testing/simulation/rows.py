"""Rows of the machine's table that lives take.

TODO-merge: replace everything below with
`from gpt_agent_fsm.machine.advance import rows_taken` and `from gpt_agent_fsm.machine.table import ROW_NAMES`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from transitions import EventData

from gpt_agent_fsm.machine import advance as _advance
from gpt_agent_fsm.machine.table import TABLE

__all__ = ["ROW_NAMES", "rows_taken"]

ROW_NAMES: tuple[str, ...] = tuple(dict.fromkeys(f"{row[0]}/{row[4]}" for row in TABLE))


@contextlib.contextmanager
def rows_taken() -> Iterator[Counter[str]]:
    """Count the rows that the machine takes within the block, by name."""
    counter: Counter[str] = Counter()
    act: Callable[[Any, EventData], None] = _advance._MACHINE.callback

    def callback(func: str, event_data: EventData) -> None:
        if func != "ignore":
            counter[f"{event_data.event.name}/{func}"] += 1
        act(func, event_data)

    with mock.patch.object(_advance._MACHINE, "callback", callback):
        yield counter
