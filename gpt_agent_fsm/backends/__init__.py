"""Which API: one folder for each wire, so that a third wire is one new folder.

`http` speaks HTTP for all wires, `shared` holds what they read and send alike, and `importing` copies from one wire to
another.
"""

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.responses import ResponsesBackend

__all__ = ["AssistantsBackend", "ResponsesBackend"]
