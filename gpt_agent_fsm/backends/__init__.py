"""The supported APIs. Each API has one folder, so a third API needs only one new folder.

The HTTP format of an API is called its *wire*. The folder `http` makes the HTTP requests for all APIs. The folder
`shared` has the code that all APIs use to read and send objects. `importing` copies threads from one API to another.

A backend is imported when a program first asks for it, because most programs use only one.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpt_agent_fsm.backends.assistants import AssistantsBackend
    from gpt_agent_fsm.backends.responses import ResponsesBackend

__all__ = ["AssistantsBackend", "ResponsesBackend"]

_MODULES = {"AssistantsBackend": "assistants", "ResponsesBackend": "responses"}


def __getattr__(name: str) -> object:
    """Import a backend when a program first asks for it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
