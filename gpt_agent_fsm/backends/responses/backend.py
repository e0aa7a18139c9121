"""The backend for conversations and responses, the successor of OpenAI's Assistants API.

A thread is a conversation. A run is a chain of stored background responses, one for each turn of the model. The id of
the run is the id of its first response, and the handle of the run is the id of its last response.
`docs/decisions/0004-runs-over-responses.md` says how the library finds out whether a request with a lost HTTP answer
took effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import attrs

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends.http import Auth, client_from_env
from gpt_agent_fsm.backends.http.event_stream import EventStream
from gpt_agent_fsm.backends.http.files import HttpFiles
from gpt_agent_fsm.backends.http.outcomes import as_unknown_thread, unusable
from gpt_agent_fsm.backends.http.text_stream import StreamSwitch, TextStream
from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.backends.responses.asks import decision
from gpt_agent_fsm.backends.responses.conversation import Conversation
from gpt_agent_fsm.backends.responses.earlier_attempts import make_way, unless_answered
from gpt_agent_fsm.backends.responses.known_assistants import KnownAssistants
from gpt_agent_fsm.backends.responses.known_metadata import KnownMetadata
from gpt_agent_fsm.backends.responses.last_runs import last_runs
from gpt_agent_fsm.backends.responses.refusals import asks_for_input
from gpt_agent_fsm.backends.responses.sending_parts import refused_parts, user_message
from gpt_agent_fsm.backends.responses.streaming import ResponseEvents
from gpt_agent_fsm.backends.responses.unsupported import conversations_explained, without_empty_input
from gpt_agent_fsm.backends.shared.order import ListOrder
from gpt_agent_fsm.backends.shared.refused_text import name_refused_text
from gpt_agent_fsm.backends.shared.sending import METADATA_KEY
from gpt_agent_fsm.errors import ApiError, RequestRefused, TransientError, explains_keywords
from gpt_agent_fsm.ports import (
    RUN_OPTIONS,
    MessagePage,
    Part,
    Run,
    RunPage,
    RunRequest,
    RunStatus,
    RunStream,
    Text,
    Timeout,
    ToolOutputsRequest,
    Usage,
)
from gpt_agent_fsm.tools import Tool
from gpt_agent_fsm.tools.output import Output

__all__ = ["ResponsesBackend"]

R = TypeVar("R", RunRequest, ToolOutputsRequest)
_MAX_REMEMBERED = 10_000
_MIN_QUOTE = 8


@explains_keywords
class ResponsesBackend(HttpFiles):
    """The API of conversations and responses.

    Args:
        base_url: the part of the address before `/responses`. The default is `OPENAI_BASE_URL`, or else OpenAI's own
            address.
        api_key: the API key; None if the server needs no key. The default is `OPENAI_API_KEY`, unless `auth` is given
            or `headers` contain a key.
        assistants: a mapping whose keys are the ids that you pass to `connect` and `set_assistant_id`, and whose values
            are `Assistant` objects. The backend reads the mapping for each request, so you may change it.
        organization, project: the ids that are sent with each request. The defaults are `OPENAI_ORG_ID` and
            `OPENAI_PROJECT_ID`.
        auth: a callable that returns a bearer token, or a `requests` `AuthBase`. It is used instead of a key. The
            backend calls it before each request, on any OS thread, so it may renew or cache a token. If the server
            refuses a request with a 401, the backend calls `auth` again and repeats the request once.
        headers, params: the headers and URL parameters that are added to each request.

    Raises `ValueError` for an invalid address, key, `auth` or assistants.
    """

    api = "Responses"
    run_options = RUN_OPTIONS

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        assistants: Mapping[str, Assistant],
        organization: str | None = None,
        project: str | None = None,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        self._assistants = KnownAssistants(assistants)
        self._sends_empty_input = False
        """True after the server has said that a request must have an input. The backend then sends an empty input."""
        self._stream_switch = StreamSwitch()
        self._order = ListOrder(wire.are_items_oldest_first)
        self._known_metadata = KnownMetadata()
        self._lock = threading.Lock()
        self._usages: dict[str, Usage] = {}
        """For each run that was recently waiting for tools, the tokens that it had used until then."""
        self._http = client_from_env(
            base_url,
            api_key,
            auth=auth,
            organization=organization,
            project=project,
            headers=headers or {},
            params=params or {},
            resource="/responses",
            converter=wire.converter,
        )

    def account(self, salt: bytes) -> str:
        """See `AccountBackend`."""
        return self._http.account(salt)

    def __repr__(self) -> str:
        return f"ResponsesBackend(base_url={self._http.base_url!r}, assistants={self._assistants.ids!r})"

    def _on(self, thread_id: str, timeout: Timeout, *, streams: bool = False) -> Conversation:
        switch = self._stream_switch if streams else None
        return Conversation(self._http, thread_id, timeout, self._order, self._known_metadata, streams=switch)

    # --- threads and messages -------------------------------------------------------------------------------

    def create_thread(self, *, timeout: Timeout) -> str:
        """See `Backend.create_thread`."""
        with conversations_explained(self._http, timeout, absent=(404, 405, 501)):
            created = self._http.post("/conversations", {}, wire.Conversation, timeout=timeout)
        if created.metadata is not None:
            self._known_metadata.read(created.id, created.metadata)
        return created.id

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """See `Backend.get_thread`."""
        try:
            with conversations_explained(self._http, timeout):
                self._on(thread_id, timeout).metadata()
        except RequestRefused as error:
            invalid = as_unknown_thread(error, thread_id, self._http.base_url)
            if invalid is None:
                raise
            raise invalid from error

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """See `Backend.post_message`. Items have no metadata, so the server cannot keep the key."""
        del key
        return self._post(thread_id, user_message([Text(content)]), timeout)

    def refused_parts(self, parts: Sequence[Part]) -> str | None:
        """See `PartsBackend.refused_parts`."""
        return refused_parts(parts)

    def post_parts(self, thread_id: str, parts: Sequence[Part], *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """See `PartsBackend.post_parts`. Items have no metadata, so the server cannot keep the key."""
        del key
        return self._post(thread_id, user_message(parts), timeout)

    def _post(self, thread_id: str, item: Mapping[str, Any], timeout: Timeout) -> tuple[str, bool]:
        try:
            added = self._on(thread_id, timeout).add([item])
        except RequestRefused as error:
            name_refused_text(error)
            raise
        message_id = next((item.id for item in reversed(added) if item.id), None)
        if message_id is None:
            raise unusable("POST", 200, "The server has accepted the message, but its answer has no id.")
        return message_id, False

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """See `Backend.list_messages`."""
        conversation = self._on(thread_id, timeout)
        page = conversation.items(after=after, newest_first=newest_first)
        while page.next_after not in (None, after) and not any(item.is_message for item in page.data):
            # A page may contain tool calls but no messages. In this case, the next page is read.
            after = page.next_after
            page = conversation.items(after=after, newest_first=newest_first)
        in_order = -1 if newest_first else 1
        return MessagePage(messages=wire.messages_of(page.data[::in_order])[::in_order], next_after=page.next_after)

    # --- listing and polling runs -----------------------------------------------------------------------------

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """See `Backend.list_runs`. The API cannot list responses, so this method finds at most the last two runs.

        The method finds the last run by the response id in the conversation's metadata, where a program without a
        durable store leaves it. If this id does not lead to the run, the method infers the run from the items that the
        run has added to the conversation: tool calls without an output or, if `key` is given, an answer.
        """
        del limit
        return last_runs(self._on(thread_id, timeout), key, retry_of)

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """See `Backend.get_run`.

        If the run is in doubt (`in_doubt`) or has no handle, its state is inferred from the items of the conversation.
        """
        conversation = self._on(thread_id, timeout)
        if handle is None:
            tail = conversation.tail()
            run = tail.to_run(run_id) or conversation.response(run_id).to_run(run_id)
            # If the run has continued before a later user message, the response that continued it is not known.
            return Run(id=run_id, status=RunStatus.COMPLETED) if tail.has_outputs_of(run) else run
        response = conversation.response(handle)
        run = response.to_run(run_id)
        if in_doubt and run.status is RunStatus.NEEDS_TOOLS:
            run = conversation.tail().standing_of(run) or Run(id=run_id, status=RunStatus.COMPLETED)
        elif in_doubt and run.status.in_progress:
            run = unless_answered(conversation, response, run)
        if run.status is RunStatus.NEEDS_TOOLS and run.handle is not None:
            self._remember_usage(run)
        return run

    def _remember_usage(self, run: Run) -> None:
        with self._lock:
            self._usages[run.id] = run.usage
            while len(self._usages) > _MAX_REMEMBERED:
                del self._usages[next(iter(self._usages))]

    def _usage_until(self, run_id: str, handle: str | None, conversation: Conversation) -> Usage:
        with self._lock:
            usage = self._usages.get(run_id)
        if usage is not None or handle is None:
            return usage or Usage()
        try:
            return conversation.response(handle).usage_so_far
        except RequestRefused:
            return Usage()  # the run can continue without a count

    # --- starting and continuing runs ---------------------------------------------------------------------------

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """See `Backend.create_run`."""
        return self._create_run(self._on(request.thread_id, timeout), request)

    def create_run_streamed(self, request: RunRequest, *, timeout: Timeout) -> tuple[Run, RunStream | None]:
        """See `StreamingBackend.create_run_streamed`."""
        return self._streamed(self._on(request.thread_id, timeout, streams=True), request, self._create_run)

    def _create_run(self, conversation: Conversation, request: RunRequest) -> Run:
        outputs: list[Mapping[str, Any]] = []
        if request.retry_of is not None:
            # A failed response leaves nothing on the conversation. So the response that replaces it gets the same
            # input.
            given, tail = conversation.outputs_given_to(request.retry_of), conversation.tail()
            if tail.has_answered(given):
                # An earlier attempt, whose HTTP answer was lost, has taken effect: the assistant has answered.
                if tail.open and not tail.asks_for_more_than(request.ended_calls):
                    raise TransientError(None, None, "the server does not list the newest outputs yet")
                return cast("Run", tail.to_run(key=request.key))
            if given is None:
                outputs = [item.closing for item in tail.open if item.closing is not None]
            else:
                outputs = [item for call_id, item in given.items() if call_id not in tail.answered]
        about = wire.metadata(**{METADATA_KEY: request.key, wire.ASSISTANT: request.assistant_id})
        options = wire.continued(request.options) if outputs else request.options
        try:
            response = self._create(conversation, request, outputs, about, options)
        except RequestRefused as error:
            if (run := make_way(conversation, error, request)) is not None:
                return run
            response = self._create(conversation, request, outputs, about, options)
        conversation.leave_note(response.id, durable=request.durable)
        return response.to_run()

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """See `Backend.submit_tool_outputs`. The outputs are the input of a new response, which continues the run."""
        return self._continue_run(self._on(request.thread_id, timeout), request)

    def submit_tool_outputs_streamed(
        self, request: ToolOutputsRequest, *, timeout: Timeout
    ) -> tuple[Run, RunStream | None]:
        """See `StreamingBackend.submit_tool_outputs_streamed`."""
        return self._streamed(self._on(request.thread_id, timeout, streams=True), request, self._continue_run)

    def open_stream(
        self, thread_id: str, run_id: str, *, handle: str | None, after: int | None, timeout: Timeout
    ) -> RunStream | None:
        """See `StreamingBackend.open_stream`."""
        response_id = handle or run_id
        events = self._on(thread_id, timeout).stream_of(response_id, after)
        if events is None:
            return None
        reader = ResponseEvents(response_id, after, is_whole=after is None)
        return self._text_stream(thread_id, response_id, events, reader)

    def _streamed(
        self, conversation: Conversation, request: R, make: Callable[[Conversation, R], Run]
    ) -> tuple[Run, RunStream | None]:
        """Return the run that `make` creates or continues, together with its stream."""
        try:
            run = make(conversation, request)
        except BaseException:
            conversation.close_stream()
            raise
        events, conversation.events = conversation.events, None
        if events is None:
            return run, None
        response_id = run.handle or run.id
        reader = ResponseEvents(response_id, conversation.last_event, is_whole=True)
        return run, self._text_stream(request.thread_id, response_id, events, reader)

    def _text_stream(self, thread_id: str, response_id: str, events: EventStream, reader: ResponseEvents) -> RunStream:
        def reopen(position: int, timeout: Timeout) -> EventStream | None:
            return self._on(thread_id, timeout).stream_of(response_id, position)

        return TextStream(events, reader, reopen)

    def _continue_run(self, conversation: Conversation, request: ToolOutputsRequest) -> Run:
        said: list[Mapping[str, Any]] = [wire.call_output(*pair) for pair in request.outputs]
        said += [decision(*pair) for pair in request.decisions]
        usage = wire.usage_text(self._usage_until(request.run_id, request.handle, conversation))
        about = wire.metadata(**{wire.RUN: request.run_id, wire.ASSISTANT: request.assistant_id, wire.USAGE: usage})
        try:
            response = self._create(conversation, request, said, about, wire.continued(request.options))
        except RequestRefused:
            tail = conversation.tail()
            left = tail.to_run(request.run_id)
            if left is None or not tail.answered.issuperset(id_ for id_, _ in (*request.outputs, *request.decisions)):
                raise
            # The outputs are on the conversation, so an earlier attempt has succeeded.
            return left
        conversation.leave_note(response.id, durable=request.durable)
        # Not every server keeps metadata.
        run = attrs.evolve(response, metadata={**about, **response.metadata}).to_run(request.run_id)
        if run.status is RunStatus.NEEDS_TOOLS:
            self._remember_usage(run)
        return run

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """See `Backend.cancel_run`.

        If the run waits for outputs of tool calls, the backend sends an error as each output.
        """
        conversation = self._on(thread_id, timeout)
        cancelled = Run(id=run_id, status=RunStatus.FAILED, code="cancelled", message="The run was cancelled.")
        if handle is None and ((tail := conversation.tail()).open or tail.was_ended):
            conversation.close_items(tail.open)
            return cancelled
        try:
            response = conversation.cancel(handle or run_id)
        except RequestRefused:
            response = conversation.response(handle or run_id)
            if response.to_run(run_id).status is not RunStatus.NEEDS_TOOLS:
                raise
        if not wire.asking(response.output):
            return response.to_run(run_id)
        # While a run waits for tools, the server has nothing to cancel, whatever it answers.
        conversation.close_items(conversation.tail().unanswered(response.output))
        return cancelled

    @property
    def functions(self) -> tuple[Tool[..., Any], ...]:
        """The functions of the assistants. They answer tool calls in a runtime."""
        return self._assistants.functions

    @property
    def outputs(self) -> Mapping[str, Output]:
        """The ids of the assistants that have an `output`, each with the form of its answers."""
        return self._assistants.outputs

    def close(self) -> None:
        """See `Backend.close`."""
        self._http.close()

    def _create(
        self,
        conversation: Conversation,
        request: RunRequest | ToolOutputsRequest,
        said: Sequence[Mapping[str, Any]],
        about: Mapping[str, str],
        options: Mapping[str, Any],
    ) -> wire.Response:
        assistant = self._assistants[request.assistant_id]
        sent = said or ([] if self._sends_empty_input else None)
        body = wire.new_response(assistant, request.thread_id, sent, about, options)
        try:
            return conversation.create(body)
        except ApiError as error:
            for text in filter(None, (assistant.instructions, body.get("instructions"))):
                if len(text) >= _MIN_QUOTE:
                    # Some servers repeat the refused request in the error, so the assistant's instructions are removed
                    # from it.
                    error.message = error.message.replace(text, "...")
            if said or not asks_for_input(error):
                raise
            if "input" in body:
                raise without_empty_input(self._http, error) from error
            self._sends_empty_input = True
        return self._create(conversation, request, said, about, options)
