"""Copies a thread of the Assistants API into a conversation. OpenAI does not offer this itself.

First the whole thread is read (`thread`). Then its messages become items (`items`), and the items are added to a
conversation (`conversation_copy`). At any time the items of the conversation are the first messages of the thread. So
an interrupted import can be resumed: it counts the items in the conversation and adds the missing items. The count also
shows whether a request with a lost HTTP answer took effect. At the end, it shows whether everything has arrived.
"""

from gpt_agent_fsm.backends.importing.conversation_copy import IMPORTED_FROM, NotAnImport
from gpt_agent_fsm.backends.importing.thread_import import ThreadImport, import_thread

__all__ = ["IMPORTED_FROM", "NotAnImport", "ThreadImport", "import_thread"]
