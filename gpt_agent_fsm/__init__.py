"""Drive conversations with hosted agents: one explicit finite state machine per thread.

::

    from gpt_agent_fsm import Runtime
    from gpt_agent_fsm.backends import AssistantsBackend

    with Runtime(AssistantsBackend()) as runtime:
        print(runtime.start("asst_1").ask("Hello", timeout=60))
"""

import logging

from gpt_agent_fsm import errors, events, ports, signals
from gpt_agent_fsm.agent import Agent, Answer
from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.events.parts import Citation, File, Image, Text
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.tools import FunctionTool, ToolContext, tool

__all__ = [
    "Agent",
    "Answer",
    "Assistant",
    "Citation",
    "File",
    "FunctionTool",
    "Image",
    "Runtime",
    "Settings",
    "State",
    "Text",
    "ToolContext",
    "errors",
    "events",
    "ports",
    "signals",
    "tool",
]

for _class, *_methods in ((Assistant,), (FunctionTool,), (Runtime, "connect", "start"), (Settings,)):
    errors.explains_keywords(_class, *_methods)

# Log lines are shown only if the program configures logging, as is usual for libraries.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> str:
    """Return `__version__`. The version is read only when a program asks for it."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - this import is slow, and most programs do not need it

    return version("gpt-agent-fsm")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
