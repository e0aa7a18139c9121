"""Stores for threads: in memory, or in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt_agent_fsm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from gpt_agent_fsm.stores.sql import SQLStore

__all__ = ["MemoryStore", "SQLStore"]


def __getattr__(name: str) -> object:
    """Import `SQLStore` on first use, because SQLAlchemy is an extra."""
    if name != "SQLStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from gpt_agent_fsm.stores.sql import SQLStore  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise
        sentence = 'SQLStore needs SQLAlchemy: pip install SQLAlchemy (the extra "sql" of gpt-agent-fsm)'
        raise ImportError(sentence, name="sqlalchemy") from error
    return SQLStore
