"""Functions as tools: how a function is described to the model, and how it is called."""

from gpt_agent_fsm.tools.box import ToolBox
from gpt_agent_fsm.tools.context import ToolContext
from gpt_agent_fsm.tools.definition import FunctionTool
from gpt_agent_fsm.tools.function import Tool, tool

__all__ = ["FunctionTool", "Tool", "ToolBox", "ToolContext", "tool"]
