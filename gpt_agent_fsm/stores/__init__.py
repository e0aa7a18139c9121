"""Where threads live: in memory, or in a database."""

from gpt_agent_fsm.stores.memory import MemoryStore

__all__ = ["MemoryStore"]
