"""The Responses and Conversations wire, which succeeded the Assistants API.

`wire` has the shapes of its objects, `conversation` the single requests, `tail` what a conversation's newest items say
about its last run, `refusals` what its error messages mean, and `backend` the operations made of these.
"""

from gpt_agent_fsm.backends.responses.backend import ResponsesBackend

__all__ = ["ResponsesBackend"]
