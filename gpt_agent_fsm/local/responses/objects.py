"""Conversations and responses, with every field that clients of the Responses API expect. Items are in `items`."""

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import bad_request, not_offered
from gpt_agent_fsm.local.responses.options import INSTEAD, NAMES, RESPONSE, UNSEEN, check_tool_choice
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.options import check_names, chosen, extensions
from gpt_agent_fsm.local.shared.storage import Doc

MIN_OUTPUT_TOKENS = 16
"""The smallest `max_output_tokens` that a client may send."""


def conversation(body: Doc) -> Doc:
    """Return a new conversation without its items, which are separate objects."""
    return {
        "id": ids.new_id("conv"),
        "object": "conversation",
        "created_at": ids.now(),
        "metadata": validation.metadata(body),
    }


def response(body: Doc) -> Doc:
    """Return the queued response for the body of a request. Raises `ApiProblem`.

    This function does not check whether the response's conversation exists.
    """
    check_names(body, NAMES, INSTEAD)
    if body.get("prompt") is not None:
        raise not_offered("A stored prompt is", "prompt")
    store = validation.boolean(body, "store", default=True)
    background = validation.boolean(body, "background", default=False)
    if background and not store:
        raise bad_request("Background mode requires 'store' to be true.", "background", "invalid_value")
    chosen(body, UNSEEN, {})
    made = {
        "id": ids.new_id("resp"),
        "object": "response",
        "created_at": ids.now(),
        "status": "queued",
        "background": background,
        "completed_at": None,
        "conversation": _conversation(body),
        "error": None,
        "incomplete_details": None,
        "instructions": validation.text(body, "instructions"),
        "max_output_tokens": validation.integer(body, "max_output_tokens", minimum=MIN_OUTPUT_TOKENS),
        "model": validation.required_text(body, "model"),
        "output": [],
        "previous_response_id": validation.text(body, "previous_response_id"),
        "store": store,
        "tools": _tools(body),
        "usage": None,
        "metadata": validation.metadata(body),
        **chosen(body, RESPONSE, {}),
        **extensions(body),
    }
    check_tool_choice(made)
    return made


def nested(tools: list[Doc]) -> list[Doc]:
    """Return the tools of a response in the form of chat completions and the Assistants API."""
    return [{"type": "function", "function": _definition(tool)} for tool in tools]


def _definition(tool: Doc) -> Doc:
    return {name: value for name, value in tool.items() if name != "type" and value is not None}


def usage(estimated: dict[str, int]) -> Doc:
    """Convert the usage of a turn from the form of the Assistants API into the form of the Responses API."""
    return {
        "input_tokens": estimated["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": estimated["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": estimated["total_tokens"],
    }


def _conversation(body: Doc) -> Doc | None:
    """Return the conversation that a body names by an id, or by an object with an id. Return None if it names none."""
    if isinstance(body.get("conversation"), str):
        return {"id": validation.required_text(body, "conversation")}
    named = validation.mapping(body, "conversation")
    return None if named is None else {"id": validation.required_text(named, "id", prefix="conversation.")}


def _tools(body: Doc) -> list[Doc]:
    tools = validation.tool_objects(body) or []
    return [_tool(tool, f"tools[{index}].") for index, tool in enumerate(tools)]


def _tool(tool: Doc, prefix: str) -> Doc:
    validation.check_function(tool, prefix)
    # `strict` is null unless the client asked for it, because strict models refuse most schemas.
    return {"type": "function"} | {name: tool.get(name) for name in ("name", "description", "parameters", "strict")}
