"""What a model is to the local server: a callable of one `ModelRequest`.

A model is called on a worker thread, once per turn of a run and once per response, possibly by several threads at once
for different conversations. It may take as long as it likes; `ModelRequest.cancelled` is set when nobody waits any
more.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen


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
    """What a model returns if it has more to report than a text or its tool calls."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """What the run waits for before it continues; `text` was then said on the way."""
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
        even between the pieces. A caller who stops reading has to close the iterator.
        """


INCOMPLETE = ("max_completion_tokens", "content_filter")
"""Why an answer may end too soon."""

Outcome = Reply | ModelError
"""The result of asking a model: a reply whose tool calls have text for arguments, or an error."""
