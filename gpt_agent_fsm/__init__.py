"""Drive conversations with hosted agents: one explicit finite state machine per thread.

::

    from gpt_agent_fsm import Runtime
    from gpt_agent_fsm.backends import AssistantsBackend

    with Runtime(AssistantsBackend()) as runtime:
        print(runtime.start("asst_1").ask("Hello", timeout=60))

A public name is imported when a program first asks for it. So what needs little of the library starts quickly: the help
of the command line, the embedded server, and a program that uses one backend.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt_agent_fsm import errors, events, ports, signals
    from gpt_agent_fsm.agent import Agent, Answer
    from gpt_agent_fsm.assistant import Assistant
    from gpt_agent_fsm.events.parts import Citation, File, Image, Text
    from gpt_agent_fsm.machine.states import State
    from gpt_agent_fsm.runtime import Runtime
    from gpt_agent_fsm.settings import Settings
    from gpt_agent_fsm.tools import FunctionTool, ToolContext, tool

    __version__: str

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

_MODULES = {
    "Agent": "agent",
    "Answer": "agent",
    "Assistant": "assistant",
    "Citation": "events.parts",
    "File": "events.parts",
    "FunctionTool": "tools",
    "Image": "events.parts",
    "Runtime": "runtime",
    "Settings": "settings",
    "State": "machine.states",
    "Text": "events.parts",
    "ToolContext": "tools",
    "tool": "tools",
}
"""The modules of the public names that are no modules themselves."""

# Log lines are shown only if the program configures logging, as is usual for libraries.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    """Import a public name, or read `__version__`, when a program first asks for it."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - this import is slow, and most programs do not need it

        return version("gpt-agent-fsm")
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
