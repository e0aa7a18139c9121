"""The verbs that the rows of the machine's table carry out on the working copy of a snapshot.

Each leaves the thread on exactly one request (made now, or set for later) or on none.
"""

from gpt_agent_fsm.machine.actions.messages import MessageActions
from gpt_agent_fsm.machine.actions.runs import RunActions
from gpt_agent_fsm.machine.actions.tools import ToolActions

__all__ = ["MessageActions", "RunActions", "ToolActions"]
