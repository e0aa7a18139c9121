"""Conversations and responses: the wire that OpenAI's Assistants API was succeeded by.

A thread is a conversation. A run is a chain of background, stored responses, one for each turn of the model: it is
called by the id of the first, and its handle is the id of the last. What is done about requests whose answer was lost
stands in `docs/decisions/0004-runs-over-responses.md`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends import responses_wire as wire
from gpt_agent_fsm.backends.http import client_from_env, segment
from gpt_agent_fsm.backends.problems import unknown_thread
from gpt_agent_fsm.backends.shapes import METADATA_KEY, lenient_id
from gpt_agent_fsm.backends.tail import Tail
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, RequestRefused, TransientError
from gpt_agent_fsm.objects import MessagePage, Run, RunPage, RunStatus, ToolCall, Usage

__all__ = ["ResponsesBackend"]

log = logging.getLogger(__name__)

_PAGE = 100
_MOST_ITEMS = 20
_NO_OUTPUT = re.compile(r"no tool output found", re.I)
_INPUT_MISSING = re.compile(r"\binput\b.*(required|missing|must be provided)|missing.*\binput\b", re.I | re.S)
_ENDED = '{"error":"The run that asked for this was ended before its output was used."}'
_OURS = {"conversation", "input", "metadata", "previous_response_id", "store", "stream"}
_MOST_REMEMBERED = 10_000


class _Budget:
    """The time that the requests of one operation share, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(self._until - time.monotonic(), 0.001)


class ResponsesBackend:
    """The API of conversations and responses.

    Args:
        base_url: ends where `/responses` begins; `OPENAI_BASE_URL`, else OpenAI's own address.
        api_key: `OPENAI_API_KEY`, unless `headers` hold a key; None where the server wants none.
        assistants: who may answer, by the assistant ids that `connect` and `set_assistant_id` are given. It is looked
            into for each request, so that a mapping may be changed.
        organization, project: `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`.
        headers, params: added to each request.

    Raises `ValueError` for an address, a key or assistants that can not be right.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        assistants: Mapping[str, Assistant],
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(assistants, Mapping) or not all(map(_is_entry, assistants.items())):
            raise ValueError("ResponsesBackend: assistants must map assistant ids to gpt_agent_fsm.Assistant objects")
        for assistant_id, assistant in assistants.items():
            if taken := sorted(_OURS & set(assistant.options)):
                raise ValueError(f"ResponsesBackend: {assistant_id!r} must leave {', '.join(taken)} out of its options")
        self._assistants = assistants
        self._sends_empty_input = False
        """The server has said that it wants an input, if only an empty one."""
        self._usages: dict[str, Usage] = {}
        """What runs that were lately seen waiting for tools have taken up to then."""
        self._http = client_from_env(
            base_url,
            api_key,
            organization=organization,
            project=project,
            headers=headers or {},
            params=params or {},
            resource="/responses",
            converter=wire.converter,
        )

    def __repr__(self) -> str:
        return f"ResponsesBackend(base_url={self._http.base_url!r}, assistants={list(self._assistants)!r})"

    # --- threads --------------------------------------------------------------------------------------------

    def create_thread(self, *, timeout: float) -> str:
        """See `Backend.create_thread`."""
        return self._http.post("/conversations", {}, wire.Conversation, timeout=timeout).id

    def get_thread(self, thread_id: str, *, timeout: float) -> None:
        """See `Backend.get_thread`."""
        try:
            self._conversation(thread_id, timeout)
        except RequestRefused as error:
            invalid = unknown_thread(error, thread_id, self._http.base_url)
            if invalid is None:
                raise
            raise invalid from error

    def _conversation(self, thread_id: str, timeout: float) -> wire.Conversation:
        return self._http.get(_thread(thread_id), wire.Conversation, timeout=timeout)

    # --- messages ---------------------------------------------------------------------------------------------

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: float) -> tuple[str, bool]:
        """See `Backend.post_message`. Items carry no metadata, so no key is kept."""
        del key
        added = self._add(thread_id, [wire.user_message(content)], timeout)
        message_id = next((item.id for item in reversed(added) if item.id), None)
        if message_id is None:
            raise OutcomeUnknown(200, None, "The server has taken the message, but does not say what its id is.")
        return message_id, False

    def _add(self, thread_id: str, items: Sequence[Mapping[str, Any]], timeout: float) -> Sequence[wire.Item]:
        return self._http.post(f"{_thread(thread_id)}/items", {"items": items}, wire.Added, timeout=timeout).data

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: float) -> MessagePage:
        """See `Backend.list_messages`."""
        page = self._items(thread_id, timeout, after=after, newest_first=newest_first)
        return MessagePage(
            messages=tuple(item.to_message() for item in page.data if item.is_message), next_after=page.next_after
        )

    def _items(
        self, thread_id: str, timeout: float, *, after: str | None = None, newest_first: bool = True
    ) -> wire.ItemPage:
        params = {"limit": str(_PAGE), "order": "desc" if newest_first else "asc"}
        if after is not None:
            params["after"] = after
        return self._http.get(f"{_thread(thread_id)}/items", wire.ItemPage, params=params, timeout=timeout)

    def _tail(self, thread_id: str, timeout: float) -> Tail:
        return Tail.of(self._items(thread_id, timeout).data)

    # --- runs ---------------------------------------------------------------------------------------------------

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, repeats: str | None = None, timeout: float
    ) -> RunPage:
        """See `Backend.list_runs`. The API lists no responses, so at most the last run is found.

        It is found by the note that `create_run` leaves in the conversation's metadata, or else by what it left on
        the conversation: tool calls without an output, and, where `key` is looked for, an answer.
        """
        del limit
        budget = _Budget(timeout)
        noted = lenient_id(self._conversation(thread_id, budget.left).metadata.get(wire.RUN))
        tail = self._tail(thread_id, budget.left)
        run = None if noted is None else self._noted_run(noted, tail, budget)
        if key is not None and (run is None or run.key != key):
            given = {} if repeats is None else self._given(repeats, budget)
            if tail.has_answered(given):
                run = tail.to_run(key=key)
        elif run is None and tail.open_calls:
            run = tail.to_run()
        return RunPage(runs=() if run is None else (run,), newest_message_id=tail.newest_message_id)

    def _noted_run(self, response_id: str, tail: Tail, budget: _Budget) -> Run | None:
        """Return the run whose response was made last, as far as it can be told from here; None if it is gone."""
        try:
            run = self._response(response_id, budget.left).to_run()
        except RequestRefused:
            return None
        return tail.standing_of(run) if run.status is RunStatus.NEEDS_TOOLS else run

    def _response(self, response_id: str, timeout: float) -> wire.Response:
        return self._http.get(_response(response_id), wire.Response, timeout=timeout)

    def create_run(
        self, thread_id: str, assistant_id: str, *, key: str, repeats: str | None = None, timeout: float
    ) -> Run:
        """See `Backend.create_run`."""
        budget = _Budget(timeout)
        outputs: list[dict[str, Any]] = []
        if repeats is not None:
            # A response that failed has left nothing on the conversation, so it is given its input again.
            given, tail = self._given(repeats, budget), self._tail(thread_id, budget.left)
            if tail.has_answered(given):
                # A request that was given up on has landed: what is wanted has happened.
                return cast("Run", tail.to_run(key=key))
            outputs = [wire.call_output(*pair) for pair in given.items() if pair[0] not in tail.answered]
        about = wire.metadata(**{METADATA_KEY: key, wire.ASSISTANT: assistant_id})
        try:
            response = self._create(thread_id, assistant_id, outputs, about, budget)
        except RequestRefused as error:
            self._make_way(thread_id, error, budget, repeating=repeats is not None)
            response = self._create(thread_id, assistant_id, outputs, about, budget)
        self._note(thread_id, response.id, budget)
        return response.to_run()

    def _make_way(self, thread_id: str, error: RequestRefused, budget: _Budget, *, repeating: bool) -> None:
        """Answer the calls for whose sake a response was refused; raise if there is nothing to be done, or not yet."""
        if not repeating and not _NO_OUTPUT.search(error.message):
            raise error
        tail = self._tail(thread_id, budget.left)
        # A repetition brings the outputs of the last run's calls along, once these are listed.
        left_open = (*tail.left_open, *(() if repeating else tail.open_calls))
        look_again = TransientError(error.status, error.code, error.message, error.request_id)
        if not left_open:
            # Somebody has answered them meanwhile, or they are not listed yet.
            raise look_again from error
        try:
            # A run that ended while it waited for tools has left calls that nobody will ever answer.
            self._close_calls(thread_id, left_open, budget)
        except RequestRefused as refusal:
            raise look_again from refusal

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: float
    ) -> Run:
        """See `Backend.get_run`. What is in doubt, or has no handle, is told by what is on the conversation."""
        budget = _Budget(timeout)
        if handle is None:
            left = self._tail(thread_id, budget.left).to_run(run_id)
            return self._response(run_id, budget.left).to_run(run_id) if left is None else left
        run = self._response(handle, budget.left).to_run(run_id)
        if in_doubt and run.status.in_progress:
            run = self._settled(run, thread_id, handle, budget)
        if run.status is RunStatus.NEEDS_TOOLS and run.handle is not None:
            self._remember_usage(run)
        return run

    def _settled(self, run: Run, thread_id: str, handle: str, budget: _Budget) -> Run:
        """Return how a run stands of which it is not known whether it went on, or was started twice."""
        tail = self._tail(thread_id, budget.left)
        if run.status is RunStatus.NEEDS_TOOLS:
            return tail.standing_of(run) or Run(id=run.id, status=RunStatus.COMPLETED)
        if not tail.has_answered(self._given(handle, budget)):
            return run
        # The first attempt has answered already: the second is not needed.
        log.info("%s: %s was created twice; it is cancelled for the answer that is there", thread_id, handle)
        try:
            self._http.post(f"{_response(handle)}/cancel", {}, wire.Response, timeout=budget.left)
        except RequestRefused:
            return run
        return cast("Run", tail.to_run(run.id))

    def _remember_usage(self, run: Run) -> None:
        self._usages[run.id] = run.usage
        while len(self._usages) > _MOST_REMEMBERED:
            self._usages.pop(next(iter(self._usages)), None)

    def _usage_until(self, run_id: str, handle: str | None, budget: _Budget) -> Usage:
        usage = self._usages.get(run_id)
        if usage is not None or handle is None:
            return usage or Usage()
        return self._response(handle, budget.left).usage_so_far

    def submit_tool_outputs(
        self,
        thread_id: str,
        run_id: str,
        outputs: Sequence[tuple[str, str]],
        *,
        assistant_id: str = "",
        handle: str | None = None,
        timeout: float,
    ) -> Run:
        """See `Backend.submit_tool_outputs`. The outputs are the input of the response that goes on with the run."""
        budget = _Budget(timeout)
        said = [wire.call_output(call_id, output) for call_id, output in outputs]
        usage = self._usage_until(run_id, handle, budget)
        about = wire.metadata(
            **{wire.RUN: run_id, wire.ASSISTANT: assistant_id, wire.USAGE: wire.usage_text(usage)},
        )
        response = self._create(thread_id, assistant_id, said, about, budget)
        self._note(thread_id, response.id, budget)
        # Not every server keeps metadata.
        run = attrs.evolve(response, metadata={**about, **response.metadata}).to_run(run_id)
        if run.status is RunStatus.NEEDS_TOOLS:
            self._remember_usage(run)
        return run

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: float) -> Run:
        """See `Backend.cancel_run`. Calls that the run waits for are answered with an error."""
        budget = _Budget(timeout)
        response_id = handle or run_id
        left_open = self._tail(thread_id, budget.left).open_calls if handle is None else ()
        if left_open:
            return self._end(thread_id, run_id, left_open, budget)
        try:
            path = f"{_response(response_id)}/cancel"
            run = self._http.post(path, {}, wire.Response, timeout=budget.left).to_run(run_id)
        except ApiError as error:
            # What is over can not be cancelled; some servers refuse that with 409.
            if not isinstance(error, RequestRefused) and error.status != 409:
                raise
            run = self._response(response_id, budget.left).to_run(run_id)
            if run.status is not RunStatus.NEEDS_TOOLS:
                raise
        if run.status is not RunStatus.NEEDS_TOOLS:
            return run
        answered = self._tail(thread_id, budget.left).answered
        return self._end(thread_id, run_id, [call for call in run.tool_calls if call.id not in answered], budget)

    def _end(self, thread_id: str, run_id: str, left_open: Sequence[ToolCall], budget: _Budget) -> Run:
        """End a run that waits for tools, which nothing on the server does work for."""
        self._close_calls(thread_id, left_open, budget)
        return Run(id=run_id, status=RunStatus.FAILED, code="cancelled", message="The run was cancelled.")

    def close(self) -> None:
        """See `Backend.close`."""
        self._http.close()

    # --- responses --------------------------------------------------------------------------------------------

    def _create(
        self,
        thread_id: str,
        assistant_id: str,
        said: Sequence[Mapping[str, Any]] | None,
        about: Mapping[str, str],
        budget: _Budget,
    ) -> wire.Response:
        assistant = self._assistant(assistant_id)
        if not said:
            said = [] if self._sends_empty_input else None
        body = wire.new_response(assistant, thread_id, said, about)
        try:
            return self._http.post("/responses", body, wire.Response, timeout=budget.left)
        except RequestRefused as error:
            complaint = f"{error.param} {error.message}"
            if said is not None or error.status not in (400, 422) or not _INPUT_MISSING.search(complaint):
                raise
            self._sends_empty_input = True
        return self._http.post("/responses", {**body, "input": []}, wire.Response, timeout=budget.left)

    def _assistant(self, assistant_id: str) -> Assistant:
        assistant = self._assistants.get(assistant_id)
        if assistant is None:
            known = ", ".join(map(repr, self._assistants)) or "none at all"
            sentence = f"ResponsesBackend was given no assistant {assistant_id!r}; it knows {known}."
            raise RequestRefused(None, "unknown_assistant", sentence)
        return assistant

    def _given(self, response_id: str, budget: _Budget) -> dict[str, str]:
        """Return the outputs that a response was given, by the ids of their calls."""
        path, params = f"{_response(response_id)}/input_items", {"limit": str(_PAGE), "order": "asc"}
        try:
            items = self._http.get(path, wire.ItemPage, params=params, timeout=budget.left).data
        except RequestRefused:
            return {}  # forgotten, or kept by no server of this kind
        return {item.call_id: item.output for item in items if item.call_id and isinstance(item.output, str)}

    def _close_calls(self, thread_id: str, calls: Sequence[ToolCall], budget: _Budget) -> None:
        """Answer calls that were left open, so that the conversation can go on."""
        closing = [wire.call_output(call.id, _ENDED) for call in calls]
        for start in range(0, len(closing), _MOST_ITEMS):
            self._add(thread_id, closing[start : start + _MOST_ITEMS], budget.left)

    def _note(self, thread_id: str, response_id: str, budget: _Budget) -> None:
        """Leave a note on the conversation, by which a program without our store can find the run."""
        try:
            metadata = {**self._conversation(thread_id, budget.left).metadata, wire.RUN: response_id}
            self._http.post(_thread(thread_id), {"metadata": metadata}, wire.Conversation, timeout=budget.left)
        except ApiError as error:
            # The run goes on without it, and we know its id.
            log.debug("%s: no note was left about %s: %s", thread_id, response_id, error)


def _is_entry(entry: tuple[object, object]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Assistant)


def _thread(thread_id: str) -> str:
    return f"/conversations/{segment(thread_id)}"


def _response(response_id: str) -> str:
    return f"/responses/{segment(response_id)}"
