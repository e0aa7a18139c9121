"""From a thread of the Assistants wire to a conversation: what OpenAI told people to write themselves.

The whole thread is read first (`thread`), its messages become items (`items`), and these are added to a conversation
(`conversation_copy`). At any time the conversation holds the beginning of the thread, so that an import can resume
wherever it was cut off: what is there is counted, and what is missing is added. A request whose answer was lost is
settled in the same way, and so is the question, at the end, whether everything has arrived.
"""

from gpt_agent_fsm.backends.importing.conversation_copy import IMPORTED_FROM, NotAnImport
from gpt_agent_fsm.backends.importing.thread_import import ThreadImport, import_thread

__all__ = ["IMPORTED_FROM", "NotAnImport", "ThreadImport", "import_thread"]
