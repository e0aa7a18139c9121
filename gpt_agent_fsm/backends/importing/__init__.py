"""Copies a thread of the Assistants API into a conversation: OpenAI has left this migration to its users.

The whole thread is read first (`thread`), its messages become items (`items`), and these are added to a conversation
(`conversation_copy`). At any time the conversation holds the first messages of the thread, so an import can be resumed
wherever it was cut off: it counts the items that are there and adds the missing ones. The same count settles a lost
HTTP answer, and checks at the end that everything has arrived.
"""

from gpt_agent_fsm.backends.importing.conversation_copy import IMPORTED_FROM, NotAnImport
from gpt_agent_fsm.backends.importing.thread_import import ThreadImport, import_thread

__all__ = ["IMPORTED_FROM", "NotAnImport", "ThreadImport", "import_thread"]
