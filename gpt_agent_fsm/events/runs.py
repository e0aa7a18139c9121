"""The events of messages and runs."""

from __future__ import annotations

import attrs

from gpt_agent_fsm.events.parts import Part, plain_text

__all__ = [
    "AssistantMessageAdded",
    "AssistantMessageDelta",
    "MessagesDiscarded",
    "OrganizationQuotaExceeded",
    "RateLimitRetriesExhausted",
    "RateLimited",
    "RunCompleted",
    "RunFailed",
    "RunStarted",
    "UserMessageAdded",
]


@attrs.frozen(kw_only=True)
class UserMessageAdded:
    """A user message was added to the thread on the server.

    Attributes:
        id: the message's id on the server.
        content: the message's texts, joined by a newline.
        key: the key that `Agent.add_user_message` returned for the message; None in records that an earlier version of
            the library has saved.
        parts: the `Text`, `Image` and `File` objects of the message, in order; empty if the message is only text. If an
            image or a file was sent as data, the part contains the `digest` instead of the data.
    """

    id: str
    thread_id: str
    content: str
    key: str | None = None
    parts: tuple[Part, ...] = ()


@attrs.frozen(kw_only=True)
class MessagesDiscarded:
    """`Agent.discard_queue` dropped user messages that were not sent.

    Attributes:
        keys: the keys that `Agent.add_user_message` returned for the messages, in order.
    """

    thread_id: str
    keys: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RunStarted:
    """A run was created for the thread. An adopted run, which the library found on the server, has no such event.

    Attributes:
        id: the run's id.
    """

    id: str
    thread_id: str
    assistant_id: str


@attrs.frozen(kw_only=True)
class RunCompleted:
    """The run completed. Its messages follow as `AssistantMessageAdded`.

    Attributes:
        id: the run's id.
        prompt_tokens: how many tokens the server counted in the prompt; 0 if the server sent no count.
        completion_tokens: how many tokens the server counted in the model's output; 0 if the server sent no count.
        total_tokens: how many tokens the server counted in all; 0 if the server sent no count.
    """

    id: str
    thread_id: str
    assistant_id: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@attrs.frozen(kw_only=True)
class AssistantMessageAdded:
    """The assistant added a message.

    Attributes:
        message_id: the message's id on the server. It becomes the agent's `last_message_id`.
        run_id: the run that the server names for the message; if it names none, the current run.
        assistant_id: the assistant that the server names for the message; if it names none, that of the current run.
        content: all text parts, joined by a newline. It is empty if the message contains only a refusal, an image or a
            file.
        refusal: why the assistant refused to answer, in its own words; None if it did not refuse.
        parts: the `Text`, `Image` and `File` objects of the message, in order. Each `Text` contains its citations.
        older: True if the message does not belong to the current run: the server names no run for it, and it is older
            than the user message that the current run answers.
        reasoning: the model's summary of the reasoning that led to the message; None if there is none. Only a server of
            the Responses API sends it, and only if the options of the assistant ask for it, for example
            `options={"reasoning": {"summary": "auto"}}`.
    """

    message_id: str
    thread_id: str
    run_id: str
    assistant_id: str
    content: str
    refusal: str | None = None
    parts: tuple[Part, ...] = attrs.field(
        default=attrs.Factory(lambda event: plain_text(event.content), takes_self=True)
    )
    older: bool = False
    reasoning: str | None = None


@attrs.frozen(kw_only=True)
class AssistantMessageDelta:
    """The assistant has written more of a message. This event comes while the run is in progress.

    It is sent only if the run is read as a stream; see `Agent.stream` and `Runtime.connect`. It is not part of the
    thread's history, and the signal `event` does not send it. If you join the texts of all pieces of a message, you get
    the message's content or the beginning of it. `AssistantMessageAdded` follows with the whole content.

    Attributes:
        message_id: the id of the message on the server.
        index: the number of this piece of the message, counted from 0.
        text: the piece.
    """

    thread_id: str
    run_id: str
    message_id: str
    index: int
    text: str


@attrs.frozen(kw_only=True)
class RunFailed:
    """The run failed and is not started again. The next user message starts a new run.

    Attributes:
        id: the run's id; None if the run was cancelled before it was created.
        code: `last_error.code`, else `incomplete_details.reason`, else the run's final status. If the library itself
            ended the run: `timeout`, `cancelled`, `max_tool_rounds`, `unsupported_action` or `not_found`.
        message: a text for people. It is never blank.
    """

    id: str | None
    thread_id: str
    assistant_id: str
    code: str
    message: str


@attrs.frozen(kw_only=True)
class RateLimited:
    """The run was rate limited. While retries remain, a new run is started after `rate_limit_retry_delay`.

    Attributes:
        run_id: the run that failed.
        retries_remaining: how many more times a new run may be started. With the default settings: 10, then 9, down to
            0.
    """

    run_id: str
    thread_id: str
    assistant_id: str
    retries_remaining: int


@attrs.frozen(kw_only=True)
class RateLimitRetriesExhausted:
    """The last retry was also rate limited. The state is `failed`. No `RunFailed` is sent.

    Attributes:
        run_id: the last run that failed.
    """

    run_id: str
    thread_id: str
    assistant_id: str


@attrs.frozen(kw_only=True)
class OrganizationQuotaExceeded:
    """The account's balance or spend limit is used up. A person must act. The state is `failed`.

    Attributes:
        run_id: the id of the run that failed, or None if no run could be started. `RunFailed` follows only if a run
            failed.
    """

    run_id: str | None
    thread_id: str
    assistant_id: str
