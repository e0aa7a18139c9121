"""Threads and runs: the Assistants API, version 2, as self-hosted servers and Azure offer it.

The backend reads the fields that it needs, ignores the rest, and raises a clear error if a needed field is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends.assistants import wire
from gpt_agent_fsm.backends.assistants.hosted_tools import HostedTools
from gpt_agent_fsm.backends.assistants.removal import removal_explained
from gpt_agent_fsm.backends.assistants.sending_parts import message_with_parts, refused_parts
from gpt_agent_fsm.backends.assistants.streaming import RunEvents, first_run
from gpt_agent_fsm.backends.http import Auth, client_from_env, segment
from gpt_agent_fsm.backends.http.event_stream import EventStream, closed_if_it_fails
from gpt_agent_fsm.backends.http.exchange import limits_of
from gpt_agent_fsm.backends.http.files import HttpFiles
from gpt_agent_fsm.backends.http.outcomes import as_unknown_thread, unusable
from gpt_agent_fsm.backends.http.text_stream import StreamSwitch, TextStream
from gpt_agent_fsm.backends.shared.order import ListOrder
from gpt_agent_fsm.backends.shared.refused_text import name_refused_text
from gpt_agent_fsm.backends.shared.values import is_another_id
from gpt_agent_fsm.errors import ApiError, RequestRefused, explains_keywords
from gpt_agent_fsm.ports import (
    RUN_OPTIONS,
    CallLimits,
    MessagePage,
    Part,
    Run,
    RunPage,
    RunRequest,
    RunStream,
    Timeout,
    ToolOutputsRequest,
)
from gpt_agent_fsm.tools import Tool, ToolBox
from gpt_agent_fsm.tools.output import Output

__all__ = ["AssistantsBackend"]

_PAGE = 100


@explains_keywords
class AssistantsBackend(HttpFiles):
    """The API of threads and runs.

    Args:
        base_url: the part of the address before `/threads`. The default is `OPENAI_BASE_URL`, or else OpenAI's own
            address.
        api_key: the API key; None if the server needs no key. The default is `OPENAI_API_KEY`, unless `auth` is given
            or `headers` contain a key.
        organization, project: the ids that are sent with each request. The defaults are `OPENAI_ORG_ID` and
            `OPENAI_PROJECT_ID`.
        auth: a callable that returns a bearer token, or a `requests` `AuthBase`. It is used instead of a key. The
            backend calls it before each request, on any OS thread, so it may renew or cache a token. If the server
            refuses a request with a 401, the backend calls `auth` again and repeats the request once.
        headers, params: the headers and URL parameters that are added to each request. Azure expects its key in the
            header `api-key` and requires the parameter `api-version`.

    Raises `ValueError` for an invalid address, key or `auth`. OpenAI removed this API from its own service
    on 2026-08-26.
    """

    api = "Assistants"
    run_options = RUN_OPTIONS

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        organization: str | None = None,
        project: str | None = None,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        self._published: dict[str, Assistant] = {}
        """The assistants that this backend has published, by their ids."""
        self._http = client_from_env(
            base_url,
            api_key,
            auth=auth,
            organization=organization,
            project=project,
            headers={"OpenAI-Beta": "assistants=v2", **(headers or {})},
            params=params or {},
            resource="/threads",
            converter=wire.converter,
        )

        self._stream_switch = StreamSwitch()
        self._hosted_tools = HostedTools()
        self._order_of_runs = ListOrder(wire.are_runs_oldest_first)
        self._order_of_messages = ListOrder(wire.are_messages_oldest_first)

    def account(self, salt: bytes) -> str:
        """See `AccountBackend`."""
        return self._http.account(salt)

    def __repr__(self) -> str:
        return f"AssistantsBackend(base_url={self._http.base_url!r})"

    def create_thread(self, *, timeout: Timeout) -> str:
        """See `Backend.create_thread`."""
        with removal_explained(self._http.base_url):
            return self._http.post("/threads", {}, wire.Thread, timeout=timeout).id

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """See `Backend.get_thread`."""
        try:
            with removal_explained(self._http.base_url):
                self._http.get(_thread(thread_id), wire.Thread, timeout=timeout)
        except ApiError as error:
            invalid = as_unknown_thread(error, thread_id, self._http.base_url)
            if invalid is None:
                raise
            raise invalid from error

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """See `Backend.list_runs`. The listed runs show their keys in their metadata, so `key` changes nothing."""
        del key, retry_of
        limits = limits_of(timeout)

        def get(order: str, **params: str) -> wire.RunPage:
            # At least two runs are needed to see in which order the server lists them.
            params |= {"limit": str(max(limit, 2)), "order": order}
            page = self._http.get(f"{_thread(thread_id)}/runs", wire.RunPage, params=params, timeout=limits)
            _check_thread("GET", thread_id, *page.data)
            return page

        page = self._order_of_runs.newest_first(
            get("desc"), oldest=lambda: get("asc"), after=lambda last: get("desc", after=last)
        )
        return RunPage(runs=tuple(run.to_run() for run in page.data[:limit]))

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """See `Backend.post_message`."""
        return self._post(thread_id, wire.NewMessage(content=content, metadata=wire.key_metadata(key)), key, timeout)

    def refused_parts(self, parts: Sequence[Part]) -> str | None:
        """See `PartsBackend.refused_parts`."""
        return refused_parts(parts)

    def post_parts(self, thread_id: str, parts: Sequence[Part], *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """See `PartsBackend.post_parts`."""
        return self._post(thread_id, message_with_parts(parts, key), key, timeout)

    def _post(self, thread_id: str, body: object, key: str, timeout: Timeout) -> tuple[str, bool]:
        try:
            message = self._http.post(f"{_thread(thread_id)}/messages", body, wire.Message, timeout=timeout)
        except RequestRefused as error:
            name_refused_text(error)
            raise
        _check_thread("POST", thread_id, message)
        return message.id, message.to_message().key == key

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """See `Backend.create_run`."""
        # Each run takes all its input from the thread, even a run that replaces another run.
        return self._post_run(request.thread_id, "", wire.new_run(request), timeout)

    def create_run_streamed(self, request: RunRequest, *, timeout: Timeout) -> tuple[Run, RunStream | None]:
        """See `StreamingBackend.create_run_streamed`."""
        return self._stream_run(request, "", wire.new_run(request), timeout)

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """See `Backend.get_run`."""
        del handle, in_doubt  # this API needs only the id
        limits, path = limits_of(timeout), _run(thread_id, run_id)
        answer = self._http.get(path, wire.Run, timeout=limits)
        _check_thread("GET", thread_id, answer)
        return self._hosted_tools.added_to(answer.to_run(), answer, self._http, path, limits)

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """See `Backend.submit_tool_outputs`."""
        return self._post_run(request.thread_id, _outputs_of(request.run_id), wire.tool_outputs(request), timeout)

    def submit_tool_outputs_streamed(
        self, request: ToolOutputsRequest, *, timeout: Timeout
    ) -> tuple[Run, RunStream | None]:
        """See `StreamingBackend.submit_tool_outputs_streamed`."""
        return self._stream_run(request, _outputs_of(request.run_id), wire.tool_outputs(request), timeout)

    def open_stream(
        self, thread_id: str, run_id: str, *, handle: str | None, after: int | None, timeout: Timeout
    ) -> None:
        """See `StreamingBackend.open_stream`. Only a request that creates or continues a run can open a stream."""

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """See `Backend.list_messages`."""
        limits = limits_of(timeout)

        def get(order: str, last: str | None) -> wire.MessagePage:
            params = {"limit": str(_PAGE), "order": order, **({} if last is None else {"after": last})}
            page = self._http.get(f"{_thread(thread_id)}/messages", wire.MessagePage, params=params, timeout=limits)
            _check_thread("GET", thread_id, *page.data)
            return page

        page = get("desc" if newest_first else "asc", after)
        if newest_first and after is None:
            page = self._order_of_messages.newest_first(
                page, oldest=lambda: get("asc", None), after=lambda last: get("desc", last)
            )
        return MessagePage(messages=tuple(message.to_message() for message in page.data), next_after=page.next_after)

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """See `Backend.cancel_run`."""
        del handle
        return self._post_run(thread_id, f"/{segment(run_id)}/cancel", {}, timeout)

    def publish(self, assistant: Assistant, assistant_id: str | None = None, *, timeout: float = 30.0) -> str:
        """Create or update an assistant on the server, and return its id.

        With `assistant_id`, the assistant with this id is updated. Without it, the newest assistant on the server with
        the same name is updated. If there is none, or if `assistant` has no name, a new assistant is created.

        Blocks for one request. If the method searches for a name, it blocks for one more request per hundred assistants
        on the server. Each request takes at most `timeout` seconds. Raises an `ApiError` if a request fails. Raises
        `ValueError` if two functions of published assistants have the same name. After an `OutcomeUnknown`, `publish`
        can safely be called again if the assistant has a name.
        """
        with removal_explained(self._http.base_url):
            if assistant_id is None and assistant.name is not None:
                assistant_id = self._assistant_called(assistant.name, timeout)
            others = [each for id_, each in self._published.items() if id_ != assistant_id]
            ToolBox(
                [tool for each in (*others, assistant) for tool in each.functions]
            )  # raises for two functions of one name
            path = "/assistants" if assistant_id is None else f"/assistants/{segment(assistant_id)}"
            published = self._http.post(path, wire.assistant_fields(assistant), wire.Assistant, timeout=timeout).id
        self._published[published] = assistant
        return published

    @property
    def functions(self) -> tuple[Tool[..., Any], ...]:
        """The functions of the assistants that this backend has published. They answer tool calls in a runtime."""
        return tuple(dict.fromkeys(tool for each in self._published.values() for tool in each.functions))

    @property
    def outputs(self) -> Mapping[str, Output]:
        """The ids of the published assistants that have an `output`, each with the form of its answers."""
        return {id_: each.output for id_, each in self._published.items() if each.output is not None}

    def _assistant_called(self, name: str, timeout: Timeout) -> str | None:
        """Return the id of the newest assistant with this name, or None if there is none."""
        params, seen = {"limit": str(_PAGE), "order": "desc"}, set[str]()
        while True:
            page = self._http.get("/assistants", wire.AssistantPage, params=params, timeout=timeout)
            found = next((assistant.id for assistant in page.data if assistant.name == name), None)
            # A page without any new assistant is the last page, whatever the server says.
            if found is not None or page.next_after is None or seen.issuperset(each.id for each in page.data):
                return found
            seen.update(each.id for each in page.data)
            params["after"] = page.next_after

    def close(self) -> None:
        """See `Backend.close`."""
        self._http.close()

    def _stream_run(
        self, request: RunRequest | ToolOutputsRequest, action: str, body: Mapping[str, Any], timeout: Timeout
    ) -> tuple[Run, RunStream | None]:
        limits, thread_id = limits_of(timeout), request.thread_id

        def streamed() -> tuple[Run, RunStream | None]:
            path = f"{_thread(thread_id)}/runs{action}"
            answer = self._http.stream("POST", path, {**body, "stream": True}, wire.Run, timeout=limits)
            return _streamed(thread_id, answer, limits)

        def plainly() -> tuple[Run, RunStream | None]:
            return self._post_run(thread_id, action, body, limits), None

        model = request.options.get("model") or f"assistant {request.assistant_id}"
        return self._stream_switch.make(model, streamed, plainly)

    def _post_run(self, thread_id: str, action: str, body: object, timeout: Timeout) -> Run:
        answer = self._http.post(f"{_thread(thread_id)}/runs{action}", body, wire.Run, timeout=timeout)
        _check_thread("POST", thread_id, answer)
        return answer.to_run()


def _streamed(thread_id: str, answer: wire.Run | EventStream, limits: CallLimits) -> tuple[Run, RunStream | None]:
    """Return a run and its stream. There is no stream if the server has answered with the run alone."""
    if isinstance(answer, wire.Run):
        _check_thread("POST", thread_id, answer)
        return answer.to_run(), None
    with closed_if_it_fails(answer):
        run = first_run(answer, limits)
        _check_thread("POST", thread_id, run)
    return run.to_run(), TextStream(answer, RunEvents(thread_id))


def _check_thread(method: str, thread_id: str, *answers: wire.Run | wire.Message) -> None:
    """Raise an error if an answer is about another thread, because a proxy or connection has mixed up two answers."""
    for answer in answers:
        if is_another_id(answer.thread_id, thread_id):
            sentence = f"The answer to {method} for {thread_id} is about another thread ({answer.thread_id})."
            raise unusable(method, 200, sentence, unreadable=True)


def _thread(thread_id: str) -> str:
    return f"/threads/{segment(thread_id)}"


def _outputs_of(run_id: str) -> str:
    return f"/{segment(run_id)}/submit_tool_outputs"


def _run(thread_id: str, run_id: str) -> str:
    return f"{_thread(thread_id)}/runs/{segment(run_id)}"
