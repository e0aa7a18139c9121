"""Calls a model, and checks its answer. Every exception of the model becomes a `ModelError`."""

import contextlib
import copy
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from attrs import evolve

from gpt_agent_fsm.local.models import answer_parts
from gpt_agent_fsm.local.models.protocol import (
    INCOMPLETE,
    ApprovalRequest,
    Model,
    ModelError,
    ModelRequest,
    Outcome,
    Reply,
    StreamingModel,
    ToolCall,
    Usage,
)
from gpt_agent_fsm.local.models.structured import misfit
from gpt_agent_fsm.local.models.surrogates import SurrogateJoiner, encodable
from gpt_agent_fsm.local.models.tokens import is_count
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)

_END: Any = object()
"""Marks the end of a stream that has yielded no reply."""


def ask(
    model: Model,
    request: ModelRequest,
    on_chunk: Callable[[str], object] | None = None,
    *,
    strict_schemas: bool = False,
) -> Outcome:
    """Ask the model and return the outcome. Never raises an error, whatever the model does.

    If `on_chunk` is given, a `StreamingModel` is asked for a stream. Otherwise the model is called, and may return an
    iterator of pieces. Each chunk of text is passed to `on_chunk` immediately, and the text of the reply always begins
    with these chunks. With `strict_schemas`, the outcome is an error if the client asked for JSON and the answer does
    not have the requested form.
    """
    chunks: list[str] = []
    try:
        if on_chunk is not None and isinstance(model, StreamingModel):
            answer: object = listen(model.stream(_copied(request)), on_chunk, chunks)
        else:
            answer = model(_copied(request))
            if isinstance(answer, Iterator):
                answer = listen(answer, on_chunk or _ignore, chunks)
    except ModelError as error:
        return _encodable_error(error)
    except BaseException as error:
        # Even exit() in a model must not end an OS thread of the server.
        logger.warning("The model raised %s", type(error).__name__, exc_info=True)
        return ModelError("server_error", f"The model raised {type(error).__name__}; the server's log says where.")
    try:
        reply = _as_said(_checked(answer, request), "".join(chunks))
        return (misfit(request, reply) if strict_schemas else None) or reply
    except (TypeError, ValueError, RecursionError) as error:
        logger.warning("The model returned an invalid answer: %s", error)
        return ModelError("server_error", encodable(error))
    except BaseException as error:
        # Parts of an answer may be objects of the model's own classes, which may do anything.
        logger.warning("The check of the model's answer raised %s", type(error).__name__, exc_info=True)
        return ModelError("server_error", "The model returned an invalid answer.")


def _ignore(_chunk: str) -> None:
    """Do nothing with a chunk, because no client follows the answer."""


def _copied(request: ModelRequest) -> ModelRequest:
    """Return a copy of the request for the model.

    The model may change the copy. The original is needed to check the model's answer.
    """
    form, schema = copy.deepcopy((request.response_format, request.schema))
    return evolve(request, messages=[*map(dict, request.messages)], response_format=form, schema=schema)


def _encodable_error(error: ModelError) -> ModelError:
    try:
        # A subclass of `ModelError` may not have set these fields.
        code, message = getattr(error, "code", "server_error"), getattr(error, "message", type(error).__name__)
        translated = ModelError(encodable(code), encodable(message))
    except BaseException as unusable:
        logger.warning("The error of the model raised %s", type(unusable).__name__, exc_info=True)
        return ModelError("server_error", f"The model raised {type(error).__name__}.")
    translated.__cause__ = error.__cause__
    return translated


def _as_said(reply: Reply, received: str) -> Reply:
    """Return the reply, with a text that begins with the chunks that were already sent.

    If the reply's own text does not begin with these chunks, the chunks are the whole text.
    """
    return reply if reply.text.startswith(received) else evolve(reply, text=received)


def listen(pieces: Iterable[str | Reply], on_chunk: Callable[[str], object], chunks: list[str] | None = None) -> Reply:
    """Pass each chunk of a stream's text to `on_chunk` immediately, append it to `chunks`, and return the reply.

    Exceptions of the stream and of `on_chunk` are not caught.
    """
    chunks, characters = [] if chunks is None else chunks, SurrogateJoiner()
    with contextlib.ExitStack() as stack:
        if close := getattr(pieces, "close", None):
            stack.callback(close)
        for piece in itertools.chain(pieces, [_END]):
            if not isinstance(piece, Reply | str) and piece is not _END:
                raise TypeError(f"A piece of an answer must be a str or a Reply, but this one is a {type(piece)}.")
            if text := encodable(characters.add(piece) if isinstance(piece, str) else characters.rest()):
                chunks.append(text)
                on_chunk(text)
            if isinstance(piece, Reply):
                return piece
    return Reply("".join(chunks))


def _checked(answer: object, request: ModelRequest) -> Reply:
    if isinstance(answer, str):
        return Reply(encodable(answer))
    if isinstance(answer, dict) and request.response_format is not None:
        return Reply(_json(answer, "The object that a model returned"))
    if isinstance(answer, Reply):
        return _checked_reply(answer)
    if isinstance(answer, list | tuple) and answer and all(isinstance(call, ToolCall) for call in answer):
        return Reply(calls=tuple(_checked_call(call) for call in answer))
    got = "an empty one" if answer in ([], ()) else f"a {type(answer).__name__}"
    raise TypeError(
        "A model must return a str, a Reply, a list of at least one ToolCall or an iterator of pieces (or a dict, if "
        f"the client asked for JSON), but this one returned {got}."
    )


def _checked_reply(reply: Reply) -> Reply:
    # The calls may be a generator, which can be read only once.
    made = tuple(reply.calls) if isinstance(reply.calls, Iterable) else (reply.calls,)
    if not isinstance(reply.text, str) or not all(isinstance(call, ToolCall) for call in made):
        raise TypeError("A Reply must have a str as its text and ToolCalls as its calls.")
    if not isinstance(reply.usage, Usage | None) or reply.incomplete not in (None, *INCOMPLETE):
        raise TypeError(
            f"The usage of a Reply must be a Usage or None, and its incomplete must be None or one of {INCOMPLETE}."
        )
    if reply.usage is not None and not (
        is_count(reply.usage.prompt_tokens) and is_count(reply.usage.completion_tokens)
    ):
        raise TypeError("A Usage must count its tokens in whole numbers of at least 0.")
    # In an incomplete reply, the arguments of a call may be cut off.
    calls = () if reply.incomplete else tuple(_checked_call(call) for call in made)
    text = encodable(reply.text)
    answer_parts.check_annotations(text, reply.annotations)
    return evolve(reply, text=text, calls=calls)


def _checked_call(call: ToolCall) -> ToolCall:
    if not isinstance(call.name, str) or not call.name.strip():
        raise TypeError("A ToolCall must have a name.")
    if isinstance(call, ApprovalRequest):
        if not isinstance(call.server_label, str) or not call.server_label.strip():
            raise TypeError("An ApprovalRequest must have a server_label.")
        call = evolve(call, server_label=encodable(call.server_label))
    if isinstance(call.arguments, str):
        return evolve(call, name=encodable(call.name), arguments=encodable(call.arguments))
    if not isinstance(call.arguments, dict):
        raise TypeError(f"The arguments of ToolCall {call.name} must be a dict or a str.")
    arguments = _json(call.arguments, f"The arguments of ToolCall {call.name}")
    return evolve(call, name=encodable(call.name), arguments=arguments)


def _json(value: dict[str, object], what: str) -> str:
    try:
        # msgspec would write null for a number that JSON does not have.
        builtins = msgspec.to_builtins(value, str_keys=True)
        text = json.dumps(builtins, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode().decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{what} cannot be written as JSON: {error}") from error
