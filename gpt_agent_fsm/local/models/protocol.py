"""The model of the local server: a callable of one `ModelRequest`.

A model is called on a worker, once per turn of a run and once per response, possibly by several workers at once for
different conversations. It may take as long as it likes; `ModelRequest.cancelled` is set when the answer is not wanted
any more.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen


@frozen
class ModelRequest:
    """One request to a model: the conversation so far, and the tools that the model may use.

    `instructions` is the system prompt, `""` when there is none. `messages` are chat-completions dicts, oldest first:
    `role` is `user`, `assistant` or `tool`; `content` is always a `str` (text parts joined by a newline); an assistant
    message that called tools has `tool_calls`, each answered by a tool message with its `tool_call_id`. Only the tool
    calls of the run at hand are among them (of responses: those after the user's last message), so that a last message
    with role `tool` means "here are your outputs". `tools` are the tool definitions as chat completions take them,
    `model` is the requested name.
    """

    instructions: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    model: str
    attempt: int = field(default=1, kw_only=True)
    """1 in the first run over the user's last message, 2 in the run that repeats it, and so on; for responses: one more
    than those which failed over it."""
    max_tokens: int | None = field(default=None, kw_only=True)
    """The most tokens that the answer may have; a longer one is cut by length, unless the model has counted them."""
    cancelled: threading.Event = field(factory=threading.Event, kw_only=True, eq=False, repr=False)
    """Set when the answer is not wanted any more, after a cancel or a close: it is then dropped."""

    @property
    def user_message(self) -> str:
        """The text of the user's last message, `""` when there is none."""
        return next((message["content"] for message in reversed(self.messages) if message["role"] == "user"), "")

    @property
    def outputs(self) -> list[str]:
        """The tool outputs since the user's last message, oldest first; empty in the first turn after it."""
        return [message["content"] for message in self.messages if message["role"] == "tool"]


@frozen
class ToolCall:
    """A tool call that the model asks for.

    `arguments` is a dict, sent as JSON; a `str` is sent as it is, so that a test can send what no client can parse.
    """

    name: str
    arguments: dict[str, Any] | str = field(factory=dict)


@frozen
class Usage:
    """The tokens of one turn, as counted by the maker of the answer."""

    prompt_tokens: int
    completion_tokens: int

    def as_dict(self) -> dict[str, int]:
        """Return them in the form of the usage of a run."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@frozen
class Reply:
    """The answer of a model that has more to report than a text or its tool calls."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """The tool calls that the run waits for before it continues; `text` then comes before them."""
    usage: Usage | None = field(default=None, kw_only=True)
    """None if it was not counted and must be estimated."""
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
    """A model that can also yield its answer while it makes it."""

    def stream(self, request: ModelRequest) -> Iterator[str | Reply]:
        """Yield the text of the answer piece by piece, and at the end the whole of it as one `Reply`.

        The `Reply` may be left out if there is only text. Raises `ModelError` to fail the run, even between the pieces.
        A caller that stops reading must close the iterator.
        """


INCOMPLETE = ("max_completion_tokens", "content_filter")
"""The reasons for which an answer may end too soon."""

Outcome = Reply | ModelError
"""The result of asking a model: a reply whose tool calls have text for arguments, or an error."""
