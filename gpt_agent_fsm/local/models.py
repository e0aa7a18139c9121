"""What a model is to the local server: a callable of one `ModelRequest`.

A model is called on a worker thread, once per turn of a run and once per response, possibly by several threads at once
for different conversations. It may take as long as it likes; `ModelRequest.cancelled` tells it when nobody waits any
more.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from attrs import field, frozen

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


Model = Callable[[ModelRequest], str | Sequence[ToolCall]]

CHARACTERS_PER_TOKEN = 4
"""How long a token is said to be where tokens are counted."""

Outcome = str | list[ToolCall] | ModelError
"""What came of asking a model: an answer, tool calls (whose arguments are text now), or an error."""


def echo(request: ModelRequest) -> str:
    """Answer with a sentence that contains the user's last message; what a server without a model does."""
    return f"You said: {request.user_message}"


def ask(model: Model, request: ModelRequest) -> Outcome:
    """Call the model and return what came of it; never raises, whatever the model does."""
    try:
        answer = model(request)
    except ModelError as error:
        return ModelError(_encodable(error.code), _encodable(error.message))
    except BaseException as error:
        # Also an exit() in a model: it must not end a thread of the server.
        logger.warning("The model raised %s", type(error).__name__, exc_info=True)
        return ModelError("server_error", f"The model raised {type(error).__name__}.")
    try:
        return _checked(answer)
    except (TypeError, ValueError, RecursionError) as error:
        logger.warning("The model returned what it must not: %s", error)
        return ModelError("server_error", _encodable(error))


def estimated_usage(request: ModelRequest, outcome: str | Sequence[ToolCall]) -> dict[str, int]:
    """Return the tokens of one model turn, as no model counts them: estimated by length, and at least one.

    The arguments of tool calls are text already.
    """
    written = outcome if isinstance(outcome, str) else "".join(f"{call.name}{call.arguments}" for call in outcome)
    read = sum(len(message["content"]) for message in request.messages) + len(request.instructions)
    prompt, completion = 1 + read // CHARACTERS_PER_TOKEN, 1 + len(written) // CHARACTERS_PER_TOKEN
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _checked(answer: object) -> Outcome:
    if isinstance(answer, str):
        return _encodable(answer)
    if isinstance(answer, list | tuple) and answer and all(isinstance(call, ToolCall) for call in answer):
        return [_checked_call(call) for call in answer]
    got = "an empty one" if answer in ([], ()) else f"a {type(answer).__name__}"
    raise TypeError(f"A model has to return a str or a list of at least one ToolCall, but this one returned {got}.")


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
