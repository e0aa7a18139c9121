"""The API of responses and conversations, which is the successor of the Assistants API.

`wire` has the form of the API's objects. `conversation` has the single requests. `tail` infers the last run from the
newest items of a conversation. `refusals` interprets error messages. `backend` has the operations, which use all of
these.
"""

from gpt_agent_fsm.backends.responses.backend import ResponsesBackend

__all__ = ["ResponsesBackend"]
