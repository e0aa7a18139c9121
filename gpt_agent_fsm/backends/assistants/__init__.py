"""The Assistants API, version 2: threads and runs, as self-hosted servers and Azure offer it.

`wire` defines the form of the API's objects, and `backend` makes the requests.
"""

from gpt_agent_fsm.backends.assistants.backend import AssistantsBackend

__all__ = ["AssistantsBackend"]
