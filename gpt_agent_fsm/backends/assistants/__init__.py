"""The Assistants API, version 2: threads and runs, as self-hosted servers and Azure offer it.

`wire` has the form of the API's objects, and `backend` has its requests.
"""

from gpt_agent_fsm.backends.assistants.backend import AssistantsBackend

__all__ = ["AssistantsBackend"]
