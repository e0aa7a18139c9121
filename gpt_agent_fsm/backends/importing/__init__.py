"""From a thread of the Assistants wire to a conversation: the migration that OpenAI told people to write themselves.

The whole thread is read first (`thread`), its messages become items (`items`), and these are added to a conversation
(`conversation_copy`). At any time the conversation holds the beginning of the thread, so an import can resume wherever
it was cut off: it counts the items that are there and adds the missing ones. A lost answer is settled in the same way,
and so is the final check that everything has arrived.
"""

from gpt_agent_fsm.backends.importing.conversation_copy import IMPORTED_FROM, NotAnImport
from gpt_agent_fsm.backends.importing.thread_import import ThreadImport, import_thread

__all__ = ["IMPORTED_FROM", "NotAnImport", "ThreadImport", "import_thread"]
