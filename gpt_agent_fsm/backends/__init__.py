"""Which API: one module per wire, and the HTTP they share."""

from gpt_agent_fsm.backends.assistants import AssistantsBackend

__all__ = ["AssistantsBackend"]
