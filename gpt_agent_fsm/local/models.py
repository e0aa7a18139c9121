"""What a model is to the local server: a callable of one `ModelRequest`.

A model is called on a worker thread, once per turn of a run and once per response, possibly by several threads at once
for different conversations. It may take as long as it likes; `ModelRequest.cancelled` tells it when nobody waits any
more.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import msgspec
from attrs import evolve, field, frozen

logger = logging.getLogger(__name__)


@frozen
class ModelRequest:
    """One question to a model: the conversation so far, and what the model may use.

    `instructions` is the system prompt, `""` when there is none. `messages` are chat-completions dicts, oldest first:
    `role` is `user`, `assistant` or `tool`; `content` is always a `str` (text parts joined by a newline); an assistant
    message that called tools has `tool_calls`, each answered by a tool message with its `tool_call_id`. Only the tool
    calls of the run at hand are among them (of responses: those after the user's last message), so that a last message
    with role `tool` means "here are your outputs". `tools` are the tool definitions as chat completions take them,
    `model` is the name that was asked for.
    """

    instructions: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    model: str
    attempt: int = field(default=1, kw_only=True)
    """1 in the first run over the user's last message, 2 in the run that repeats it, and so on; for responses: one more
    than those which failed over it."""
    max_tokens: int | None = field(default=None, kw_only=True)
    """How many tokens the answer may have; a longer one is cut by its length, unless the model has counted them."""
    cancelled: threading.Event = field(factory=threading.Event, kw_only=True, eq=False, repr=False)
    """Set when nobody waits any more, as after a cancel, or the server closes: what is returned then is thrown away."""

    @property
    def user_message(self) -> str:
        """The text of the user's last message, `""` when the user has not said anything."""
        return next((message["content"] for message in reversed(self.messages) if message["role"] == "user"), "")

    @property
    def outputs(self) -> list[str]:
        """The tool outputs since the user's last message, oldest first; empty in the first turn after it."""
        return [message["content"] for message in self.messages if message["role"] == "tool"]


@frozen
class ToolCall:
    """A tool the model wants called.

    `arguments` is a dict, sent as JSON; a `str` is sent as it is, so that a test can send what no client can parse.
    """

    name: str
    arguments: dict[str, Any] | str = field(factory=dict)


@frozen
class Usage:
    """The tokens of one turn, as whoever made the answer counted them."""

    prompt_tokens: int
    completion_tokens: int

    def as_dict(self) -> dict[str, int]:
        """Return them in the form of a run's usage."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@frozen
class Reply:
    """What a model returns that has more to tell than a text or its tool calls."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """What the run waits for before it goes on; `text` was then said on the way."""
    usage: Usage | None = field(default=None, kw_only=True)
    """None where it was not counted, so that it has to be estimated."""
    incomplete: str | None = field(default=None, kw_only=True)
    """Why the answer ends too soon, `max_completion_tokens` or `content_filter`; the run ends as incomplete."""


class ModelError(Exception):
    """Raised by a model to fail the run or response: `code` and `message` become its error.

    The codes that OpenAI's service knows are `server_error`, `rate_limit_exceeded` and `invalid_prompt`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


Model = Callable[[ModelRequest], str | Sequence[ToolCall] | Reply]


@runtime_checkable
class StreamingModel(Protocol):
    """A model that can also hand out its answer while it makes it."""

    def stream(self, request: ModelRequest) -> Iterator[str | Reply]:
        """Yield the text of the answer piece by piece, and at the end the whole of it as one `Reply`.

        The `Reply` may be left out where there is nothing to say but the text. Raises `ModelError` to fail the run,
        also amid the pieces. Whoever does not read on has to close the iterator.
        """


INCOMPLETE = ("max_completion_tokens", "content_filter")
"""Why an answer may end too soon."""

CHARACTERS_PER_TOKEN = 4
"""How long a token is said to be where tokens are counted."""

Outcome = Reply | ModelError
"""What came of asking a model: a reply whose tool calls have text for arguments, or an error."""


def listen(pieces: Iterable[str | Reply], hear: Callable[[str], object]) -> Reply:
    """Hand each piece of text to `hear` as it comes, and return the reply; raises what the stream and `hear` raise."""
    said: list[str] = []
    with contextlib.ExitStack() as stack:
        if close := getattr(pieces, "close", None):
            stack.callback(close)
        for piece in pieces:
            if isinstance(piece, Reply):
                return piece
            if piece:
                said.append(piece)
                hear(piece)
    return Reply("".join(said))


def echo(request: ModelRequest) -> str:
    """Answer with a sentence that contains the user's last message; what a server without a model does."""
    return f"You said: {request.user_message}"


def ask(model: Model, request: ModelRequest, hear: Callable[[str], object] | None = None) -> Outcome:
    """Ask the model and return what came of it; never raises, whatever the model does.

    With `hear`, a model that can is asked for pieces, and each is handed on as it comes. The reply begins with them.
    """
    said: list[str] = []
    try:
        if hear is not None and isinstance(model, StreamingModel):
            answer: object = listen(_heard(model.stream(request), said), hear)
        else:
            answer = model(request)
    except ModelError as error:
        # A subclass may have left its fields out.
        code, message = getattr(error, "code", "server_error"), getattr(error, "message", type(error).__name__)
        return ModelError(_encodable(code), _encodable(message))
    except BaseException as error:
        # Also an exit() in a model: it must not end a thread of the server.
        logger.warning("The model raised %s", type(error).__name__, exc_info=True)
        return ModelError("server_error", f"The model raised {type(error).__name__}.")
    try:
        return _as_said(_checked(answer), "".join(said))
    except (TypeError, ValueError, RecursionError) as error:
        logger.warning("The model returned what it must not: %s", error)
        return ModelError("server_error", _encodable(error))


def _heard(pieces: Iterable[str | Reply], said: list[str]) -> Iterator[str | Reply]:
    """Yield the pieces as they can be sent, and keep the texts."""
    with contextlib.ExitStack() as stack:
        if close := getattr(pieces, "close", None):
            stack.callback(close)
        for piece in pieces:
            if isinstance(piece, Reply):
                yield piece
            elif isinstance(piece, str):
                said.append(_encodable(piece))
                yield said[-1]
            else:
                raise TypeError(f"A piece of an answer has to be a str or a Reply, but this one is a {type(piece)}.")


def _as_said(reply: Reply, said: str) -> Reply:
    """Return the reply; what was handed out already has precedence over a text that begins otherwise."""
    return reply if reply.text.startswith(said) else evolve(reply, text=said)


def usage(request: ModelRequest, reply: Reply) -> dict[str, int]:
    """Return the tokens of one model turn in the form of a run's; estimated by length when the model has not counted.

    An estimate is at least one.
    """
    if reply.usage is not None:
        return reply.usage.as_dict()
    written = len(reply.text) + sum(len(call.name) + len(call.arguments) for call in reply.calls)
    read = sum(len(message["content"]) for message in request.messages) + len(request.instructions)
    return Usage(1 + read // CHARACTERS_PER_TOKEN, 1 + written // CHARACTERS_PER_TOKEN).as_dict()


def longest(tokens: int) -> int:
    """Return how many characters a text of at most so many tokens has, as long as tokens are estimated."""
    return tokens * CHARACTERS_PER_TOKEN - 1


def cut(reply: Reply, tokens: int | None) -> Reply:
    """Return a reply with at most so many tokens, which is incomplete when it was longer.

    Tool calls are never cut, and neither is what the model has counted: it knows better.
    """
    if tokens is None or reply.calls or reply.usage is not None or len(reply.text) <= longest(tokens):
        return reply
    return evolve(reply, text=reply.text[: longest(tokens)], incomplete="max_completion_tokens")


def _checked(answer: object) -> Reply:
    if isinstance(answer, str):
        return Reply(_encodable(answer))
    if isinstance(answer, Reply):
        return _checked_reply(answer)
    if isinstance(answer, list | tuple) and answer and all(isinstance(call, ToolCall) for call in answer):
        return Reply(calls=tuple(_checked_call(call) for call in answer))
    got = "an empty one" if answer in ([], ()) else f"a {type(answer).__name__}"
    raise TypeError(
        f"A model has to return a str, a Reply or a list of at least one ToolCall, but this one returned {got}."
    )


def is_count(value: object) -> TypeGuard[int]:
    """Tell whether a value can be a number of tokens that every client can read."""
    return type(value) is int and 0 <= value < 2**53


def _checked_reply(reply: Reply) -> Reply:
    if not isinstance(reply.text, str) or not all(isinstance(call, ToolCall) for call in reply.calls):
        raise TypeError("A Reply has to have a str as its text and ToolCalls as its calls.")
    if not isinstance(reply.usage, Usage | None) or reply.incomplete not in (None, *INCOMPLETE):
        raise TypeError(f"A Reply has to have a Usage or None as its usage, and be incomplete by one of {INCOMPLETE}.")
    if reply.usage is not None and not (
        is_count(reply.usage.prompt_tokens) and is_count(reply.usage.completion_tokens)
    ):
        raise TypeError("A Usage has to count its tokens in whole numbers of at least 0.")
    # The arguments of a call that was cut off may be anything.
    calls = () if reply.incomplete else tuple(_checked_call(call) for call in reply.calls)
    return evolve(reply, text=_encodable(reply.text), calls=calls)


def _checked_call(call: ToolCall) -> ToolCall:
    if not isinstance(call.name, str) or not call.name.strip():
        raise TypeError("A ToolCall has to have a name.")
    if isinstance(call.arguments, str):
        return ToolCall(_encodable(call.name), _encodable(call.arguments))
    if not isinstance(call.arguments, dict):
        raise TypeError(f"The arguments of ToolCall {call.name} have to be a dict or a str.")
    try:
        arguments = msgspec.json.encode(call.arguments).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"The arguments of ToolCall {call.name} cannot be written as JSON: {error}") from error
    return ToolCall(_encodable(call.name), arguments)


def _encodable(value: object) -> str:
    """Return the text with lone surrogates, which no UTF-8 can hold, replaced by question marks."""
    return str(value).encode("utf-8", "replace").decode()
