"""The supported APIs: one folder for each wire, so that a third wire is one new folder.

`http` speaks HTTP for all wires, `shared` holds the code they share for reading and sending, and `importing` copies
from one wire to another.
"""

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.responses import ResponsesBackend

__all__ = ["AssistantsBackend", "ResponsesBackend"]
