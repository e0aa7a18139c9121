"""The fields that have the same form in every API: the key, functions, and the settings of an assistant."""

from __future__ import annotations

from typing import Any

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.tools.definition import FunctionTool

__all__ = ["METADATA_KEY", "function_of", "settings_of"]

METADATA_KEY = "gpt_agent_fsm_key"
"""The name of the metadata entry that holds the key of a message or run."""


def function_of(tool: FunctionTool) -> dict[str, Any]:
    """Return the fields that describe a function in every API."""
    # `strict` is always sent, because the APIs differ in their defaults.
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def settings_of(assistant: Assistant) -> dict[str, Any]:
    """Return the fields of an assistant that have the same name in every API."""
    chosen = {
        "instructions": assistant.instructions or None,
        "temperature": assistant.temperature,
        "top_p": assistant.top_p,
    }
    return {
        "model": assistant.model,
        **{name: value for name, value in chosen.items() if value is not None},
        **assistant.options,
    }
