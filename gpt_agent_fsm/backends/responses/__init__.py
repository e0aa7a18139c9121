"""The API of Responses and Conversations, the successor of the Assistants API.

`wire` has the form of its objects, `conversation` the single requests, `tail` infers the last run from a
conversation's newest items, `refusals` interprets error messages, and `backend` has the operations made of these.
"""

from gpt_agent_fsm.backends.responses.backend import ResponsesBackend

__all__ = ["ResponsesBackend"]
