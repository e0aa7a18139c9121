"""The options that a client may ask for: each is passed on to the model, has no effect, or is refused by its name.

The options of runs and of responses are in the `options` of their APIs; this module has what both need. A table gives
each option its default, which the object has if the client did not ask, and its check.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from gpt_agent_fsm.local.http.error_responses import (
    bad_request,
    missing,
    not_offered,
    wrong_type,
    wrong_value,
)
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.storage import Doc

Check = Callable[[Mapping[str, Any], str], object]
"""Returns the value of a field of a body, `None` when it is absent or null. Raises `ApiProblem`."""

Options = dict[str, tuple[object, Check]]
"""The default of each option, and its check."""

TOOL_CHOICES = ("none", "auto", "required")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MAX_STOPS = 4


def choice_or_object(
    body: Mapping[str, Any], name: str, *, choices: tuple[str, ...], kinds: Mapping[str, Check]
) -> object:
    """Return a string, or an object whose `type` is among the kinds; each kind has its own check."""
    value = body.get(name)
    if not isinstance(value, dict):
        if value is not None and not isinstance(value, str):
            raise wrong_type(name, "a string or an object", value)
        return validation.choice(body, name, choices=choices)
    kind = validation.required_text(value, "type", prefix=f"{name}.")
    if kind not in kinds:
        if name == "tool_choice":
            raise not_offered(f"A tool of type '{kind[:100]}' is", f"{name}.type")
        raise wrong_value(f"{name}.type", kind, ", ".join(f"'{each}'" for each in kinds))
    kinds[kind](value, f"{name}.")
    return value


def nothing_more(_value: Mapping[str, Any], _prefix: str) -> None:
    """An object of this kind has no further fields."""


def named(value: Mapping[str, Any], prefix: str, *, within: str = "") -> None:
    """Check the `name` of the object, or of the object in its field `within`."""
    inner = validation.mapping(value, within, prefix=prefix) if within else value
    if inner is None:
        raise missing(prefix + within)
    validation.required_text(inner, "name", prefix=f"{prefix}{within}." if within else prefix)


def optional_boolean(body: Mapping[str, Any], name: str) -> bool | None:
    """Return an optional boolean; `None` when it is absent or null."""
    return None if body.get(name) is None else validation.boolean(body, name, default=False)


def without_effect(check: Check) -> Check:
    """Return a check after which the object has the default, because the value has no effect."""

    def checked(body: Mapping[str, Any], name: str) -> None:
        check(body, name)

    return checked


def refused(body: Mapping[str, Any], name: str) -> None:
    """Refuse any value of an option that this server cannot honour; one that asks for nothing is fine."""
    if body.get(name) not in (None, False, 0, [], {}):
        raise unsupported(name)


def unsupported(name: str) -> Exception:
    """Return the 400 for an option that this server cannot honour."""
    return bad_request(
        f"Unsupported parameter: '{name}' is not supported by this server.", name, "unsupported_parameter"
    )


def _stop(body: Mapping[str, Any], name: str) -> list[str] | None:
    """Return the texts at which an answer ends."""
    value = body.get(name)
    texts = [value] if isinstance(value, str) else value
    if texts is None or texts == []:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise wrong_type(name, "a string or an array of strings that are not empty", value)
    if len(texts) > _MAX_STOPS:
        raise bad_request(
            f"Invalid '{name}': at most {_MAX_STOPS} strings are allowed.", name, "array_above_max_length"
        )
    return texts


_penalty = partial(validation.number, minimum=-2, maximum=2)

# fmt: off
SAMPLING: Options = {
    "temperature": (None, partial(validation.number, minimum=0, maximum=2)),
    "top_p":       (None, partial(validation.number, minimum=0, maximum=1)),
}

# The document of neither API has these. An object has them only if the client asked for them.
_EXTENSIONS: dict[str, Check] = {
    "frequency_penalty": _penalty,
    "presence_penalty":  _penalty,
    "seed":              partial(validation.integer, minimum=-(2**63), maximum=2**63 - 1),
    "stop":              _stop,
}
# fmt: on


# The names under which clients ask for something with other APIs and servers.
_OF_MODELS = frozenset(
    {"audio", "best_of", "chat_template_kwargs", "enable_thinking", "format", "function_call", "functions", "grammar"}
    | {"guided_choice", "guided_grammar", "guided_json", "guided_regex", "ignore_eos", "length_penalty", "logit_bias"}
    | {"logprobs", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_prompt_tokens", "max_tokens"}
    | {"min_p", "min_tokens", "mirostat", "modalities", "n", "num_ctx", "num_predict", "prediction", "reasoning"}
    | {"reasoning_effort", "repeat_penalty", "repetition_penalty", "response_format", "stop_token_ids"}
    | {"structured_outputs", "text", "thinking", "tool_choice", "top_a", "top_k", "top_logprobs", "truncation"}
    | {"truncation_strategy", "typical_p", "verbosity", "web_search_options"}
)


def extensions(body: Mapping[str, Any]) -> Doc:
    """Return those options of the body that the document of neither API has."""
    return {name: check(body, name) for name, check in _EXTENSIONS.items() if name in body}


def chosen(body: Mapping[str, Any], options: Options, defaults: Mapping[str, Any]) -> Doc:
    """Return all these options, each with its default if it is absent or null; `defaults` override the usual ones."""
    read = {name: check(body, name) for name, (_, check) in options.items()}
    return {name: defaults.get(name, options[name][0]) if value is None else value for name, value in read.items()}


def check_names(body: Mapping[str, Any], offered: Collection[str]) -> None:
    """Refuse an option of models that is not among those offered: it must not seem to be in force.

    Other unknown names are ignored.
    """
    for name in sorted(_OF_MODELS.intersection(body).difference(offered)):
        if not (name in ("n", "best_of") and body[name] == 1):  # one answer is what everybody gets
            refused(body, name)


def check_tool_choice(choice: object, tools: list[str], called: Collection[str] = ()) -> None:
    """Refuse a choice that no tool can satisfy; `called` are the functions that the choice names."""
    if choice in (None, "none", "auto"):
        return
    if not tools:
        message = "Invalid value for 'tool_choice': it needs tools, but no tools are specified."
        raise bad_request(message, "tool_choice", "invalid_value")
    for name in called:
        if name not in tools:
            message = f"Invalid value for 'tool_choice': the function '{name[:100]}' is not among the tools."
            raise bad_request(message, "tool_choice", "invalid_value")


def for_model(doc: Doc, tools: list[Doc]) -> dict[str, Any]:
    """Return the options of a run or response that have the same name and value in a `ModelRequest`."""
    sent = {name: doc.get(name) for name in (*SAMPLING, *_EXTENSIONS)}
    # Its absence means the same as true, and some servers know no such option.
    return sent | {"parallel_tool_calls": False if tools and not doc["parallel_tool_calls"] else None}
