"""The interface of a model of the local server. A model is a callable that takes one `ModelRequest`.

A worker calls the model once for each turn of a run, and once for each response. Several workers may call the model at
the same time for different conversations. The model may take as long as it needs. `ModelRequest.cancelled` is set when
the answer is no longer needed.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from attrs import Factory, field, frozen

from gpt_agent_fsm.local.models.answer_parts import (
    Annotation,
    HostedTool,
    annotations,
    hosted_tools,
    optional_text,
    texts,
)

OPTIONS = (
    *("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "reasoning_effort"),
    *("verbosity", "tool_choice", "parallel_tool_calls", "response_format"),
)
"""The names of the fields of a `ModelRequest` that are options."""


def _schema_of(request: "ModelRequest") -> dict[str, Any] | None:
    schema: dict[str, Any] | None = ((request.response_format or {}).get("json_schema") or {}).get("schema")
    return schema


@frozen
class ModelRequest:
    """One request to a model: the conversation so far, and the tools that the model may use.

    `instructions` is the system prompt, or `""` if there is none. `tools` are the tool definitions in the form of chat
    completions. `model` is the requested name of the model.

    `messages` are dicts in the form of chat completions, oldest first, including the tool calls and outputs of earlier
    turns. `role` is `user`, `assistant` or `tool`. `content` is always a `str`, in which several text parts are joined
    by a newline. If a message has more than text, such as images and files, its whole content is also in `parts`, in
    the form of chat completions. The contents of text files are text parts there. An assistant message that called
    tools has `tool_calls`. Each of these calls is answered by a tool message with the call's id as `tool_call_id`. If
    the last message has the role `tool`, the model must continue with the outputs of its calls.

    The options have the names and the values of chat completions. An option is None if the client did not set it.
    """

    instructions: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    model: str
    attempt: int = field(default=1, kw_only=True)
    """The number of this attempt to answer the user's last message, from 1. On a thread, each run after that message is
    an attempt. On a conversation, it is one more than the number of failed responses to that message."""
    max_tokens: int | None = field(default=None, kw_only=True)
    """The maximum number of tokens of the answer; None if there is no limit. If the model's reply has no `usage`, the
    server estimates the tokens by length, and cuts a longer answer."""
    temperature: float | None = field(default=None, kw_only=True)
    top_p: float | None = field(default=None, kw_only=True)
    frequency_penalty: float | None = field(default=None, kw_only=True)
    presence_penalty: float | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    stop: list[str] | None = field(default=None, kw_only=True)
    reasoning_effort: str | None = field(default=None, kw_only=True)
    verbosity: str | None = field(default=None, kw_only=True)
    tool_choice: str | dict[str, Any] | None = field(default=None, kw_only=True)
    """`none`, `required`, or the function to call; None if the model decides. Always None if there are no tools."""
    parallel_tool_calls: bool | None = field(default=None, kw_only=True)
    """False if at most one tool may be called in a turn. Always None if there are no tools."""
    response_format: dict[str, Any] | None = field(default=None, kw_only=True)
    """The form of a structured answer: any JSON object, or JSON that fits `schema`. None if the answer is text."""
    schema: dict[str, Any] | None = field(default=Factory(_schema_of, takes_self=True), kw_only=True)
    """The JSON schema in `response_format`; None if it has no schema."""
    approvals: dict[str, bool] = field(factory=dict, kw_only=True)
    """The decisions about each `ApprovalRequest` in `messages`, by the id of the call: True for approved, False for
    denied. In `messages`, such a request is a tool call. The tool message that answers it says `Approved.` or
    `Denied.`, and the reason if there is one."""
    cancelled: threading.Event = field(factory=threading.Event, kw_only=True, eq=False, repr=False)
    """An event, set when the answer is no longer needed, after a cancel or a close. A later answer is dropped."""

    @property
    def options(self) -> dict[str, Any]:
        """The options that the client has set, by their names. `max_tokens` is not one of them."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def user_message(self) -> str:
        """The text of the user's last message; `""` if the user has sent no message."""
        return next((message["content"] for message in reversed(self.messages) if message["role"] == "user"), "")

    @property
    def outputs(self) -> list[str]:
        """The tool outputs after the user's last message, oldest first. Empty in the first turn after that message."""
        return [each["content"] for each in self._answers if each.get("tool_call_id") not in self.approvals]

    @property
    def decisions(self) -> list[bool]:
        """The decisions after the user's last message, oldest first. Each is True for approved, or False for denied."""
        ids = [each.get("tool_call_id") for each in self._answers]
        return [self.approvals[call_id] for call_id in ids if call_id in self.approvals]

    @property
    def _answers(self) -> list[dict[str, Any]]:
        """The tool messages that follow the user's last message."""
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

    `arguments` is a dict, which is sent as JSON. It may also be a `str`, which is sent unchanged. So a test can send
    text that no client can parse.
    """

    name: str
    arguments: dict[str, Any] | str = field(factory=dict)


@frozen
class ApprovalRequest(ToolCall):
    """A request for a person's approval of a call that the server would make itself.

    Clients see it as a call to a remote (MCP) server that is named `server_label`. After the decision, the model is
    asked again, and finds the decision in `ModelRequest.approvals`. An approved call must be made by the model itself.
    On a thread, one turn may have approval requests or tool calls, but not both.
    """

    server_label: str = "local"


@frozen
class Usage:
    """The numbers of tokens of one turn, as the model itself has counted them."""

    prompt_tokens: int
    completion_tokens: int

    def as_dict(self) -> dict[str, int]:
        """Return the counts in the form that the usage of a run has."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@frozen
class Reply:
    """The answer of a model, if it is more than only a text or only tool calls."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """The tool calls whose outputs the run needs before it continues. In the conversation, `text` comes before them."""
    usage: Usage | None = field(default=None, kw_only=True)
    """The counted tokens. If it is None, the server estimates the tokens."""
    incomplete: str | None = field(default=None, kw_only=True)
    """The reason why the answer ends too soon: `max_completion_tokens` or `content_filter`. If it is not None, the run
    or response ends as incomplete."""
    refusal: str | None = field(default=None, kw_only=True, converter=optional_text)
    """The words with which the model refuses to answer. They come after `text`, which may be empty."""
    reasoning: tuple[str, ...] = field(default=(), kw_only=True, converter=texts)
    """The summary of the model's reasoning. Only a response shows it, and only if the client asked for a summary."""
    annotations: tuple[Annotation, ...] = field(default=(), kw_only=True, converter=annotations)
    """The citations, each of which marks a part of `text`."""
    hosted: tuple[HostedTool, ...] = field(default=(), kw_only=True, converter=hosted_tools)
    """The tools that the service has run itself, and the images that it has made."""


class ModelError(Exception):
    """Raised by a model to make the run or response fail. `code` and `message` become the error of the run or response.

    OpenAI's service uses the codes `server_error`, `rate_limit_exceeded` and `invalid_prompt`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


Model = Callable[[ModelRequest], str | Sequence[ToolCall] | Reply | dict[str, Any] | Iterator[str | Reply]]
"""A model: a callable that answers a `ModelRequest`.

If `response_format` is not None, the model may return a dict. The dict is a structured answer, and is sent as JSON.

A model that returns an iterator, as a generator function does, sends its answer piece by piece. The iterator yields
what `StreamingModel.stream` yields.
"""


@runtime_checkable
class StreamingModel(Protocol):
    """A model that can also yield its answer piece by piece."""

    def stream(self, request: ModelRequest) -> Iterator[str | Reply]:
        """Yield the text of the answer piece by piece, and at the end the whole answer as one `Reply`.

        If the answer is only text, the `Reply` may be left out. Raises `ModelError` to make the run or response fail,
        even after some pieces. A caller that stops reading must close the iterator.
        """


INCOMPLETE = ("max_completion_tokens", "content_filter")
"""The reasons for which an answer may end too soon."""

Outcome = Reply | ModelError
"""The outcome of a request to a model. It is an error, or a reply in which the arguments of tool calls are text."""
