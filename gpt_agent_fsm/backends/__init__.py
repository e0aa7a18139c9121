"""The supported APIs: there is one folder for each, so that a third API is one new folder.

The HTTP format of an API is called its *wire*. `http` makes the HTTP requests for all APIs, `shared` holds their common
code for reading and sending, and `importing` copies from one API to another.
"""

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.responses import ResponsesBackend

__all__ = ["AssistantsBackend", "ResponsesBackend"]
