"""The model of the local server: a callable that takes one `ModelRequest`.

A model is called on a worker, once per turn of a run and once per response. Several workers may call it at once for
different conversations. It may take as long as it needs; `ModelRequest.cancelled` is set when the answer is no longer
needed.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import Factory, field, frozen

OPTIONS = (
    *("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "reasoning_effort"),
    *("verbosity", "tool_choice", "parallel_tool_calls", "response_format"),
)
"""The names of the options of a request."""


def _schema_of(request: "ModelRequest") -> dict[str, Any] | None:
    schema: dict[str, Any] | None = ((request.response_format or {}).get("json_schema") or {}).get("schema")
    return schema


@frozen
class ModelRequest:
    """One request to a model: the conversation so far, and the tools that the model may use.

    `instructions` is the system prompt, `""` when there is none. `messages` are chat-completions dicts, oldest first:
    `role` is `user`, `assistant` or `tool`; `content` is always a `str` (text parts joined by a newline); an assistant
    message that called tools has `tool_calls`, each answered by a tool message with its `tool_call_id`. A message with
    more than text, such as images, has all of it in `parts`, also in the form of chat completions. The calls and
    outputs of earlier turns are among the messages, too; a last message with the role `tool` means "here are your
    outputs". `tools` are the tool definitions in the form of chat completions, and `model` is the requested name.

    The options have the names and the values of chat completions; each is None if the client did not ask for it.
    """

    instructions: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    model: str
    attempt: int = field(default=1, kw_only=True)
    """On a thread, 1 in the first run after the user's last message, 2 in the second, and so on. On a conversation, the
    number of responses to that message that have failed, plus 1."""
    max_tokens: int | None = field(default=None, kw_only=True)
    """The maximum number of tokens of the answer; None if there is no limit. A longer answer is cut by length, unless
    the model has counted the tokens."""
    temperature: float | None = field(default=None, kw_only=True)
    top_p: float | None = field(default=None, kw_only=True)
    frequency_penalty: float | None = field(default=None, kw_only=True)
    presence_penalty: float | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    stop: list[str] | None = field(default=None, kw_only=True)
    reasoning_effort: str | None = field(default=None, kw_only=True)
    verbosity: str | None = field(default=None, kw_only=True)
    tool_choice: str | dict[str, Any] | None = field(default=None, kw_only=True)
    """`none`, `required`, or the function to call; None if the model decides. There are tools if it is set."""
    parallel_tool_calls: bool | None = field(default=None, kw_only=True)
    """False if at most one tool may be called in a turn. There are tools if it is set."""
    response_format: dict[str, Any] | None = field(default=None, kw_only=True)
    """The form of a structured answer: any JSON object, or JSON that fits `schema`."""
    schema: dict[str, Any] | None = field(default=Factory(_schema_of, takes_self=True), kw_only=True)
    """The JSON schema of the answer, as `response_format` has it; None if there is none."""
    approvals: dict[str, bool] = field(factory=dict, kw_only=True)
    """Whether a person has approved each `ApprovalRequest` in `messages`, by the id of the call. Such a request is
    there as a tool call, and its tool message says `Approved.` or `Denied.`, with the reason if there is one."""
    cancelled: threading.Event = field(factory=threading.Event, kw_only=True, eq=False, repr=False)
    """Set when the answer is no longer needed, after a cancel or a close; the answer is then dropped."""

    @property
    def options(self) -> dict[str, Any]:
        """The options that the client asked for, by their names; `max_tokens` is not among them."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def user_message(self) -> str:
        """The text of the user's last message, `""` when there is none."""
        return next((message["content"] for message in reversed(self.messages) if message["role"] == "user"), "")

    @property
    def outputs(self) -> list[str]:
        """The tool outputs since the user's last message, oldest first; empty in the first turn after it."""
        return [each["content"] for each in self._answers if each.get("tool_call_id") not in self.approvals]

    @property
    def decisions(self) -> list[bool]:
        """The `approvals` since the user's last message, oldest first: True or False for each."""
        ids = [each.get("tool_call_id") for each in self._answers]
        return [self.approvals[call_id] for call_id in ids if call_id in self.approvals]

    @property
    def _answers(self) -> list[dict[str, Any]]:
        """The tool messages since the user's last message."""
        answers: list[dict[str, Any]] = []
        for message in self.messages:
            if message["role"] == "user":
                answers.clear()
            elif message["role"] == "tool":
                answers.append(message)
        return answers


@frozen
class ToolCall:
    """A tool call that the model asks for.

    `arguments` is a dict, sent as JSON. A `str` is sent unchanged, so that a test can send text that no client can
    parse.
    """

    name: str
    arguments: dict[str, Any] | str = field(factory=dict)


@frozen
class ApprovalRequest(ToolCall):
    """A call that the server would make itself, and for which it asks a person first.

    Clients see it as a call of a remote (MCP) server with this label. The model is asked again when the decision is
    there, see `ModelRequest.approvals`: to make the call is up to the model. On a thread, one turn has either such
    requests or tool calls.
    """

    server_label: str = "local"


@frozen
class Usage:
    """The token counts of one turn, as the model has counted them."""

    prompt_tokens: int
    completion_tokens: int

    def as_dict(self) -> dict[str, int]:
        """Return them in the form of the usage of a run."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@frozen
class Reply:
    """The answer of a model that returns more than a text or tool calls."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """The tool calls that the run waits for before it continues; `text` then comes before them."""
    usage: Usage | None = field(default=None, kw_only=True)
    """None if the tokens were not counted and must be estimated."""
    incomplete: str | None = field(default=None, kw_only=True)
    """Why the answer ends too soon, `max_completion_tokens` or `content_filter`; the run ends as incomplete."""


class ModelError(Exception):
    """Raised by a model to make the run or response fail: `code` and `message` become its error.

    The codes that OpenAI's service knows are `server_error`, `rate_limit_exceeded` and `invalid_prompt`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


Model = Callable[[ModelRequest], str | Sequence[ToolCall] | Reply | dict[str, Any]]
"""A dict is a structured answer, which is sent as JSON; a model may return it if `response_format` is set."""


@runtime_checkable
class StreamingModel(Protocol):
    """A model that can also yield its answer while it makes it."""

    def stream(self, request: ModelRequest) -> Iterator[str | Reply]:
        """Yield the text of the answer piece by piece, and at the end the whole answer as one `Reply`.

        The `Reply` may be left out if there is only text. Raises `ModelError` to fail the run, even between the pieces.
        A caller that stops reading must close the iterator.
        """


INCOMPLETE = ("max_completion_tokens", "content_filter")
"""The reasons for which an answer may end too soon."""

Outcome = Reply | ModelError
"""The result of asking a model: a reply whose tool calls have text for arguments, or an error."""
