"""The API of responses and conversations, which is the successor of the Assistants API.

`wire` defines the form of the API's objects. `conversation` makes the single requests. `tail` infers the last run from
the newest items of a conversation. `refusals` interprets error messages. `backend` contains the operations, which use
all these modules.
"""

from gpt_agent_fsm.backends.responses.backend import ResponsesBackend

__all__ = ["ResponsesBackend"]
