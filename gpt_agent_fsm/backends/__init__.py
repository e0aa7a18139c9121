"""Which API: one module per wire, and the HTTP they share."""

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.responses import ResponsesBackend

__all__ = ["AssistantsBackend", "ResponsesBackend"]
