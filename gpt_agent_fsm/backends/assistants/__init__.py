"""The Assistants wire, version 2: threads and runs, as self-hosted servers and Azure speak it.

`wire` has the shapes of its objects, `backend` its requests.
"""

from gpt_agent_fsm.backends.assistants.backend import AssistantsBackend

__all__ = ["AssistantsBackend"]
