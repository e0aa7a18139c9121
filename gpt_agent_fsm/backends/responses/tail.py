"""Infers the last run of a conversation from its newest items. This is needed if no response id is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import attrs

from gpt_agent_fsm.backends.responses.asks import ENDED, describe
from gpt_agent_fsm.backends.responses.wire import Item, answers_of, asking, calls_of
from gpt_agent_fsm.ports import Run, RunStatus, ToolCall

__all__ = ["Tail"]


@attrs.frozen(kw_only=True)
class Tail:
    """The newest items of a conversation, oldest first.

    Attributes:
        items: the items after the last user message.
        before: the items up to the last user message, including this message.
    """

    items: tuple[Item, ...]
    before: tuple[Item, ...]

    @classmethod
    def of(cls, newest_first: Sequence[Item]) -> Tail:
        """Return the tail of a conversation, given its newest items."""
        said = (n for n, item in enumerate(newest_first) if item.is_message and item.role == "user")
        since = next(said, len(newest_first))
        return cls(items=tuple(newest_first[:since][::-1]), before=tuple(newest_first[since:][::-1]))

    @property
    def newest_message_id(self) -> str:
        """The id of the newest message in the tail; "" if the tail has no message."""
        ids = (item.id for item in (*self.items[::-1], *self.before[::-1]) if item.is_message and item.id)
        return next(ids, "")

    @property
    def open_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the last run that have no output yet."""
        return calls_of(self.open)

    @property
    def open(self) -> tuple[Item, ...]:
        """The items of the last run that need an answer from the client and have none."""
        return self._open_among(self.items)

    def asks_for_more_than(self, calls: Collection[str]) -> bool:
        """Return whether the last run needs an answer to an item whose id is not among `calls`."""
        return any(item.asked_id not in calls for item in self.open)

    @property
    def left_open(self) -> tuple[Item, ...]:
        """The items from before the last run that need an answer and have none. Nobody will answer them."""
        return self._open_among(self.before)

    def _open_among(self, items: Sequence[Item]) -> tuple[Item, ...]:
        every_open = {id(item) for item in self._every_open}
        return tuple(item for item in items if id(item) in every_open)

    @property
    def _every_open(self) -> tuple[Item, ...]:
        """The items of the tail that need an answer from the client and have none.

        Some servers count the ids of calls from 0 in each round of calls. If an id occurs several times, only an answer
        that follows the item is its answer.
        """
        every = (*self.before, *self.items)
        times = Counter(item.asked_id for item in asking(every))
        answers = {item.answered_id: place for place, item in enumerate(every) if item.answered_id is not None}
        return tuple(
            item
            for place, item in enumerate(every)
            if item.closing is not None
            and (item.asked_id not in answers or (times[item.asked_id] > 1 and answers[item.asked_id] < place))
        )

    def unanswered(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """Return those of `items` that need an answer from the client and have none in the tail."""
        answered = self.answered - {item.asked_id for item in self._every_open}
        return tuple(item for item in asking(items) if item.asked_id not in answered)

    @property
    def was_ended(self) -> bool:
        """True if the last run was ended while it waited for tools.

        In this case, its calls have answers, and nothing follows the answers.
        """
        last = self.items[-1] if self.items else None
        return last is not None and last.answered_id is not None and last.output == ENDED

    @property
    def answered(self) -> set[str | None]:
        """The ids of the items that the client has answered."""
        return {item.answered_id for item in (*self.before, *self.items)} - {None}

    def has_answered(self, outputs: Collection[str] | None = ()) -> bool:
        """Return whether the assistant has answered the last message and the tool outputs with the ids `outputs`.

        If it is unknown which outputs were sent, `outputs` is None. In this case, the result is False while a call has
        no output.
        """
        if outputs is None and self.open:
            return False
        return self._has_spoken and self.answered.issuperset(outputs or ())

    @property
    def _has_spoken(self) -> bool:
        """True if the assistant has said something, or has asked for something, after the last answer of the client."""
        spoken = (item.closing is not None or item.role == "assistant" for item in self._last_turn)
        return all(item.status != "in_progress" for item in self.items) and any(spoken)

    def has_outputs_of(self, run: Run) -> bool:
        """Return whether a run has continued, that is, whether one of the calls that it waited for has an output."""
        return any(self._has_output(call) for call in run.tool_calls)

    def _has_output(self, call: ToolCall) -> bool:
        every = (*self.before, *self.items)
        same = [place for place, item in enumerate(every) if item.closing is not None and item.asked_id == call.id]
        equal = [
            place
            for place in same
            if (other := every[place].to_call()) is not None and call.asks_for_the_same_as(other)
        ]
        if same and not equal:
            return False  # the call is not listed yet, and an earlier one had its id
        # If another call has the id, only an output that follows the call is its output.
        since = equal[-1] if len(same) > 1 else -1
        return any(item.answered_id == call.id for item in every[since + 1 :])

    def without(self, items: Sequence[Item]) -> Tail:
        """Return the tail without these items."""
        ids = {item.id for item in items}
        return attrs.evolve(self, items=tuple(item for item in self.items if item.id not in ids))

    @property
    def _last_turn(self) -> tuple[Item, ...]:
        """The items after the last answer of the client."""
        since = max((n for n, item in enumerate(self.items) if item.answered_id is not None), default=-1)
        return self.items[since + 1 :]

    def to_run(self, run_id: str | None = None, key: str | None = None) -> Run | None:
        """Return the last run as inferred from its items. Return None if nothing follows the last user message.

        If no `run_id` is given, the run gets the id of the first item of its last turn. The run has no handle, and its
        usage is unknown.
        """
        run_id = run_id or next((item.id for item in (*self._last_turn, *self.items) if item.id), None)
        if run_id is None or not self.items:
            return None
        if self.open:
            needs, kinds = RunStatus.NEEDS_TOOLS, [item.type for item in self.open]
            calls, unsupported = self.open_calls, describe(kinds)
            said = answers_of(self._last_turn, run_id, None)
            return Run(
                id=run_id,
                status=needs,
                tool_calls=calls,
                unsupported=unsupported,
                key=key,
                messages=said,
                inferred=True,
            )
        if self.was_ended:
            message = "The run was cancelled."
            return Run(id=run_id, status=RunStatus.FAILED, code="cancelled", message=message, key=key, inferred=True)
        messages = answers_of(self.items, run_id, None)
        return Run(id=run_id, status=RunStatus.COMPLETED, key=key, messages=messages, inferred=True)

    def standing_of(self, run: Run) -> Run | None:
        """Return the current state of a run that asks for tools.

        Return None if the conversation continued without this run.
        """
        asked = {call.id for call in run.tool_calls}
        # Calls that are not listed yet change nothing, because the response itself contains its calls.
        listed = asked & {call.id for call in calls_of(self.items)}
        if not listed and asked & {call.id for call in calls_of(self.before)}:
            return None
        has_continued = all(self._has_output(call) for call in run.tool_calls if call.id in listed)
        is_past = self.was_ended or (self._has_spoken and has_continued)
        return self.to_run(run.id, run.key) if listed and is_past else run
