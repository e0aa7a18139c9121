"""The assistants that a program has given to the backend. The server itself keeps no assistants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.errors import AccessDenied
from gpt_agent_fsm.tools import Tool
from gpt_agent_fsm.tools.output import Output

__all__ = ["KnownAssistants"]

_OURS = {"conversation", "input", "metadata", "previous_response_id", "store", "stream"}
"""The fields of a request that the backend itself sets."""


class KnownAssistants:
    """The assistants by their ids. The program may change its mapping at any time.

    Raises `ValueError` if a value of the mapping is not an assistant, or if an assistant has a wrong option.
    """

    def __init__(self, assistants: Mapping[str, Assistant]) -> None:
        if not isinstance(assistants, Mapping) or not all(map(_is_entry, assistants.items())):
            raise ValueError("ResponsesBackend: assistants must map assistant ids to gpt_agent_fsm.Assistant objects")
        for assistant_id, assistant in assistants.items():
            if problem := _options_problem(assistant_id, assistant):
                raise ValueError(f"ResponsesBackend: {problem}")
        self._assistants = assistants

    def __getitem__(self, assistant_id: str) -> Assistant:
        """Return the assistant with this id. Raises `AccessDenied` if there is none, or if it has a wrong option."""
        assistant = self._assistants.get(assistant_id)
        if not isinstance(assistant, Assistant):
            known = ", ".join(map(repr, self._assistants)) or "none at all"
            problem = f"ResponsesBackend has no assistant {assistant_id!r}; it has {known}."
        elif wrong := _options_problem(assistant_id, assistant):
            problem = f"ResponsesBackend: {wrong}."
        else:
            return assistant
        # A person must fix this. With `AccessDenied`, messages and tool outputs are kept until then.
        raise AccessDenied(None, "unknown_assistant", problem)

    @property
    def ids(self) -> list[str]:
        """The ids of the assistants."""
        return list(self._assistants)

    @property
    def functions(self) -> tuple[Tool[..., Any], ...]:
        """The functions of the assistants, each once."""
        return tuple(dict.fromkeys(tool for each in self._assistants.values() for tool in each.functions))

    @property
    def outputs(self) -> Mapping[str, Output]:
        """The ids of the assistants that have an `output`, each with the form of its answers."""
        return {id_: each.output for id_, each in self._assistants.items() if each.output is not None}


def _is_entry(entry: tuple[object, object]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Assistant)


def _options_problem(assistant_id: str, assistant: Assistant) -> str | None:
    taken = sorted(_OURS & set(assistant.options))
    return f"{assistant_id!r} must leave {', '.join(taken)} out of its options" if taken else None
