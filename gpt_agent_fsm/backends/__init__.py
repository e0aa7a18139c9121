"""The supported APIs. Each API has one folder, so a third API needs only one new folder.

The HTTP format of an API is called its *wire*. The folder `http` makes the HTTP requests for all APIs. The folder
`shared` has the code that all APIs use to read and send objects. `importing` copies threads from one API to another.
"""

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.responses import ResponsesBackend
from gpt_agent_fsm.errors import explains_keywords

__all__ = ["AssistantsBackend", "ResponsesBackend"]

for _class in (AssistantsBackend, ResponsesBackend):
    explains_keywords(_class)
