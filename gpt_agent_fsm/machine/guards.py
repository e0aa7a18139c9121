"""The questions that the rows of the machine's table ask. None of them changes anything."""

from __future__ import annotations

import json
from typing import Any, cast

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import Message, Run, RunStatus, ToolCall
from gpt_agent_fsm.machine.snapshot import Doubt, Reading, SnapshotFields
from gpt_agent_fsm.machine.unread import is_newest_first, unread
from gpt_agent_fsm.settings import Settings

__all__ = ["BROKEN", "Guards", "decode_arguments"]

_MOST_REPEATS = 5
_LEAST_TRIES_WHEN_MALFORMED = 3
BROKEN = object()
"""What `decode_arguments` returns for text that is no JSON."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def decode_arguments(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a tool call's arguments, or `BROKEN`."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return BROKEN


def _before(ids: list[str], known: tuple[str, ...]) -> int:
    """Return how many ids stand before the first that is known."""
    return next((position for position, id_ in enumerate(ids) if id_ in known), len(ids))


@attrs.define(kw_only=True)
class Guards(SnapshotFields):
    """The working copy of a snapshot during one advance, with the questions asked of it.

    Attributes:
        input: what is being advanced by.
        followed_by: an input that an action wants handled next.
        started_again: True where the run that has just begun was asked for before.
        stopping: True once the agent is to be taken out of the runtime.
    """

    settings: Settings
    input: inputs.Input
    effects: list[effects.Effect] = attrs.field(factory=list)
    events: list[Event] = attrs.field(factory=list)
    followed_by: inputs.Input | None = None
    started_again: bool = False
    stopping: bool = False

    # --- at rest --------------------------------------------------------------------------------

    def is_parked(self) -> bool:
        return self.parked

    def should_look(self) -> bool:
        return self.look

    def has_unread_messages(self) -> bool:
        return self.reading is not None

    def owes_a_run(self) -> bool:
        return self.run_owed

    def has_queued_message(self) -> bool:
        return bool(self.queue)

    def has_request(self) -> bool:
        return self.request is not None

    def request_waits(self) -> bool:
        return self.has_waiting_request

    def has_nothing_to_do(self) -> bool:
        return self.request is None

    # --- the run ---------------------------------------------------------------------------------

    @property
    def seen(self) -> Run:
        """The run that the input speaks of."""
        return cast("inputs.RunSeen", self.input).run

    def run_is_another(self) -> bool:
        return self.seen.id != self.run_id

    def run_is_completed(self) -> bool:
        return self.seen.status is RunStatus.COMPLETED

    def run_is_rate_limited(self) -> bool:
        return self.seen.status is RunStatus.RATE_LIMITED

    def run_may_be_retried(self) -> bool:
        return self.run_is_rate_limited() and self.turn is not None and self.turn.retries_left > 0

    def run_is_out_of_quota(self) -> bool:
        return self.seen.status is RunStatus.OUT_OF_QUOTA

    def run_is_failed(self) -> bool:
        return self.seen.status is RunStatus.FAILED

    def is_to_be_cancelled(self) -> bool:
        return self.cancelling

    def is_saying_farewell(self) -> bool:
        return isinstance(self.request, effects.CancelRun)

    def run_may_exist(self) -> bool:
        """True while a run of ours was asked for and it is not known whether the server has it."""
        asked = self.sent and isinstance(self.request, effects.CreateRun)
        return asked or (self.run_doubt is not None and self.looks_for_our_run())

    # --- tools -----------------------------------------------------------------------------------

    def known(self, call: ToolCall) -> ToolCall | None:
        """Return the call as we took it down, or None for one that was not asked for yet.

        Some servers use an id again in a later round, so a known call must be the same in all it asks.
        """
        return next(
            (c for c in self.tool_calls if (c.id, c.name, c.arguments) == (call.id, call.name, call.arguments)), None
        )

    def is_a_new_round(self) -> bool:
        """True where calls that look like those of the last round are new ones."""
        return self._has_all_outputs() and self.outputs_accepted and self.repeats >= _MOST_REPEATS

    def run_needs_tools(self) -> bool:
        return self.seen.status is RunStatus.NEEDS_TOOLS

    def _has_all_outputs(self) -> bool:
        known = [self.known(call) for call in self.seen.tool_calls]
        return self.run_needs_tools() and all(call is not None and call.output is not None for call in known)

    def outputs_have_arrived(self) -> bool:
        """The run was seen waiting for outputs that the server has taken: what we see is old.

        Seen so often in a row, it is a new round of calls that look the same: some servers count their ids from 0.
        """
        taken = self.outputs_accepted or self.was_a_submission()
        return self._has_all_outputs() and taken and self.repeats < _MOST_REPEATS

    def all_calls_are_answered(self) -> bool:
        """True where nobody has to be asked: the outputs are known, or the arguments are broken."""
        return self.run_needs_tools() and all(
            decode_arguments(call.arguments) is BROKEN
            or ((known := self.known(call)) is not None and known.output is not None and not self.is_a_new_round())
            for call in self.seen.tool_calls
        )

    def _open_calls(self) -> list[str]:
        return [call.id for call in self.tool_calls if call.output is None]

    def answers_an_open_call(self) -> bool:
        return cast("inputs.SubmitToolOutput", self.input).tool_call_id in self._open_calls()

    def is_the_last_output(self) -> bool:
        return self.answers_an_open_call() and len(self._open_calls()) == 1

    # --- runs and messages that are looked for ----------------------------------------------------

    @property
    def listed(self) -> tuple[Run, ...]:
        """The runs that the input brings, newest first."""
        return cast("inputs.RunsListed", self.input).runs

    def our_run(self) -> Run | None:
        """Return the run that our request in doubt created, or None.

        A server that drops metadata is met with a second look at the order: a single run without a key, newer
        than all we know, is ours.
        """
        key = cast("effects.GetLatestRun", self.request).key
        if key is None:
            return None
        for run in self.listed:
            if run.key == key and not self._was_heard(run):
                return run
        # A server that keeps the keys of messages keeps those of runs; not every one does the other way round.
        keys_kept = self.run_keys_kept or self.message_keys_kept or any(run.key for run in self.listed)
        if self.run_doubt is None or keys_kept:
            return None
        newer = _before([run.id for run in self.listed], self.run_doubt.known)
        bounded = newer < len(self.listed) or "" in self.run_doubt.known
        return self.listed[0] if bounded and newer == 1 else None

    def _was_heard(self, run: Run) -> bool:
        """Tell of a run that is told by what it left whether all of that is old: our message is not listed yet."""
        return run.inferred and bool(run.messages) and all(message.id in self.published for message in run.messages)

    def found_our_run(self) -> bool:
        return self.our_run() is not None

    def run_to_adopt(self) -> Run | None:
        """Return the run in progress, or None.

        Where the server has said that a run is in the way, it may be any of those listed (not all servers list the
        newest first), and one that is being cancelled is waited for, too.
        """
        candidates = self.listed if self.tries else self.listed[:1]
        for run in candidates:
            in_the_way = run.status.locks_thread if self.tries else run.status.in_progress
            # One that the server denied before would be lost again, and again be in the way.
            if in_the_way and not self._is_over(run) and not (self.tries and run.id == self.lost_run_id):
                return run
        return None

    def _is_over(self, run: Run) -> bool:
        """Tell of a run that is said to be in progress whether it was seen to end."""
        calls = {call.id for call in run.tool_calls}
        # Where a run may go by several names, its calls tell; elsewhere servers count them from 0 in each run.
        goes_by_others = run.inferred or run.handle is not None
        left_behind = goes_by_others and bool(calls) and calls.issubset(self.ended_calls)
        return left_behind or run.id in self.ended_run_ids

    def found_a_run_to_adopt(self) -> bool:
        return self.run_to_adopt() is not None

    def is_searching(self) -> bool:
        return isinstance(self.request, effects.ListMessages) and self.request.newest_first

    def looks_for_our_run(self) -> bool:
        return isinstance(self.request, effects.GetLatestRun) and self.request.key is not None

    def must_look_again(self) -> bool:
        doubt = self.message_doubt if self.is_searching() else self.run_doubt if self.looks_for_our_run() else None
        return doubt is not None and doubt.looks > 1

    @property
    def page(self) -> tuple[Message, ...]:
        """The messages that the input brings."""
        return cast("inputs.MessagesListed", self.input).page.messages

    def _newer_messages(self) -> tuple[Message, ...]:
        """Messages of the page that are newer than all we knew (a search reads the newest first)."""
        times = [message.created_at for message in self.page if message.created_at is not None]
        if times and times[0] < times[-1]:
            # The oldest first, against what was asked: only the end of the pages is the end.
            return self.page
        return self.page[: _before([message.id for message in self.page], cast("Doubt", self.message_doubt).known)]

    def _reached_known_message(self) -> bool:
        return len(self._newer_messages()) < len(self.page)

    def _look_alikes(self) -> list[Message]:
        """Messages that may be ours on a server that drops metadata."""
        if self.message_keys_kept or any(message.key for message in self.page):
            return []
        return [m for m in self._newer_messages() if m.role == "user" and m.content == self.queue[0].content]

    def our_message(self) -> Message | None:
        """Return the message that our request in doubt posted, or None where it is not there or can not be told."""
        for message in self.page:
            if message.key == self.queue[0].key:
                return message
        alike = self._look_alikes()
        no_older_ones = "" in cast("Doubt", self.message_doubt).known and self._next_after() is None
        bounded = self._reached_known_message() or no_older_ones
        return alike[0] if len(alike) == 1 and bounded else None

    def found_our_message(self) -> bool:
        return self.is_searching() and self.our_message() is not None

    def message_is_unknowable(self) -> bool:
        return self.is_searching() and bool(self._look_alikes())

    def _next_after(self) -> str | None:
        """Where the next page starts, or None at the end; a page that brings nothing new is the end."""
        page = cast("inputs.MessagesListed", self.input).page
        asked_after = cast("effects.ListMessages", self.request).after
        return None if page.next_after == asked_after else page.next_after

    def search_goes_on(self) -> bool:
        if not self.is_searching():
            return False
        ended = self._reached_known_message() or bool(self._look_alikes())
        return not ended and self._next_after() is not None

    # --- messages that are read -------------------------------------------------------------------

    def read_so_far(self) -> tuple[Message, ...]:
        """All messages of the present reading, this page included, each once."""
        before = self.reading.messages if self.reading else ()
        return tuple({message.id: message for message in (*before, *self.page)}.values())

    def has_more_to_read(self) -> bool:
        news = self.reading is not None and len(self.read_so_far()) > len(self.reading.messages)
        return news and self._next_after() is not None

    def cursor_is_not_honoured(self) -> bool:
        """True where listing after the cursor brought nothing, or brought the messages before it."""
        if self.reading is None or self.reading.whole or self.last_message_id is None:
            return False
        read = attrs.evolve(self.reading, messages=self.read_so_far())
        return is_newest_first(read.messages, self.last_message_id, self.posted_since) or not self.unpublished(read)

    def unpublished(self, reading: Reading) -> list[Message]:
        """Return the messages of a reading that are to be published, in order."""
        found = unread(reading, self.last_message_id, self.posted_since)
        return [message for message in found if message.id not in self.published]

    def cursor_is_refused(self) -> bool:
        """True where the server does not know the message after which it was to list."""
        asked_after_cursor = self.request == effects.ListMessages(after=self.last_message_id)
        return asked_after_cursor and self.last_message_id is not None

    # --- requests that did not succeed --------------------------------------------------------------

    def counts_as_try(self) -> bool:
        """True for a request that changes the server; its failures are counted apart from those of looks."""
        return self.request is not None and self.request.changes_server

    @property
    def attempt(self) -> int:
        """1 for the first attempt of the request under way."""
        return 1 + (self.tries if self.counts_as_try() else self.failures)

    def may_try_again(self) -> bool:
        """Polls of an active run are tried for ever, and so is a door that a run at work keeps locked."""
        if isinstance(self.request, effects.GetRun) or self.is_locked():
            return True
        most = self.settings.request_max_attempts
        status = cast("inputs.Failure", self.input).status
        if status is not None and 200 <= status < 300:
            # The answer could not be read: that may be a proxy's hiccup.
            most = max(most, _LEAST_TRIES_WHEN_MALFORMED)
        return self.attempt < most

    def is_locked(self) -> bool:
        return isinstance(self.input, inputs.ThreadBusy) and self.input.locked

    def was_a_submission(self) -> bool:
        return isinstance(self.request, effects.SubmitToolOutputs)

    def was_a_cancel(self) -> bool:
        return isinstance(self.request, effects.CancelRun)

    def outputs_are_out_of_tries(self) -> bool:
        return self.was_a_submission() and self.attempt >= self.settings.tool_output_max_attempts

    def content_is_refused(self) -> bool:
        posting = isinstance(self.request, effects.PostMessage)
        return posting and cast("inputs.RequestRefused", self.input).content_refused

    def outcome_is_in_doubt(self) -> bool:
        return self.sent and self.request is not None and not self.request.repeatable
