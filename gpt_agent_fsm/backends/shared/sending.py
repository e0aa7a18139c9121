"""Builds the fields that have the same form in every API: the key, functions, and the settings of an assistant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.tools.definition import FunctionTool

__all__ = ["METADATA_KEY", "form_of", "function_of", "settings_of", "with_options"]

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


def with_options(assistant: Assistant, options: Mapping[str, Any]) -> Assistant:
    """Return the assistant for one run.

    A model and instructions in the run's options replace the assistant's. Additional instructions are appended.
    """
    texts = [options.get("instructions", assistant.instructions), options.get("additional_instructions", "")]
    return attrs.evolve(
        assistant,
        model=options.get("model", assistant.model),
        instructions="\n\n".join(text for text in texts if text),
    )


def form_of(assistant: Assistant, options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the form of the answer, from a run's options or else from the assistant. Return None for text."""
    own: Mapping[str, Any] | None = options.get("output")
    return own if own is not None or assistant.output is None else assistant.output.to_json()
