"""Describes how a simulated server differs from OpenAI's server. Some real servers and models differ in these ways."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from gpt_agent_fsm.errors import OutcomeUnknown, RequestRefused

__all__ = ["Cancels", "Habits", "Refusal"]

_T = TypeVar("_T")
_MESSAGES_PER_TICK = 3

Cancels: TypeAlias = Literal["obeyed", "refused", "ignored", "lost", "endless", "taken", "overtaken"]
"""What a server does if a client cancels a run.

`obeyed`: it ends the run. `refused`: it answers 400. `ignored`: it answers 200, but the run continues. `lost`: it never
answers. `endless`: the run stays in the status `cancelling`. `taken`: it ends the run, and also accepts the cancel of a
response that has already ended. `overtaken`: a rate limit ends the run just before the cancel arrives, and the server
answers 400.
"""


@attrs.frozen(kw_only=True)
class Refusal:
    """The HTTP error with which a server always refuses a certain text.

    Attributes:
        of_message: True if the message itself is refused; False if only the run for the message is refused.
    """

    status: int = 400
    code: str | None = None
    param: str | None = None
    of_message: bool = False

    def error(self) -> RequestRefused:
        """Return the error that the HTTP client raises."""
        return RequestRefused(self.status, self.code, "The text is refused.", param=self.param)


@attrs.frozen(kw_only=True)
class Habits:
    """How a server differs from OpenAI's server. By default it does not differ.

    Attributes:
        cancels: what the server does if a client cancels a run.
        order: the order in which the server lists entries: the one that is requested, or always the same. A server that
            always lists the newest messages first shows when they were created; without times, nobody could tell. So
            this concerns threads, and not conversations, whose items have no times.
        ignores_cursor: True if the server lists all messages on one page, whatever cursor and limit are requested.
        lists_context: True if the input items of a response include all earlier items of the conversation.
        outdated_polls: the number of polls that still show that a run waits for outputs, after the server has accepted
            these outputs.
        refusals: the texts of user messages that are always refused, each with its error.
        hides_sources: True if the server lists images and files without their content, address and id.
        respells_arguments: True if the server writes the arguments of a call differently each time, with other spaces.
        copies_keys: True if the server copies the key in a run's metadata to the messages of the run.
        leaves_out_calls: True if every second poll of a run that waits for several outputs omits the last call. This
            concerns threads, because the output of a response no longer changes.
        coarse_times: True if the server gives several messages of a thread the same time, and sorts messages only by
            their times. So it lists messages of the same time oldest first in both orders. This concerns servers that
            list in the requested order: without different times, nobody could tell in which order another one lists.
        forgets_runs: True if every fourth poll of a run is answered as if there was no such run.
    """

    cancels: Cancels = "obeyed"
    order: Literal["requested", "oldest first", "newest first"] = "requested"
    ignores_cursor: bool = False
    lists_context: bool = False
    outdated_polls: int = 0
    refusals: Mapping[str, Refusal] = attrs.field(factory=dict)
    hides_sources: bool = False
    respells_arguments: bool = False
    copies_keys: bool = False
    leaves_out_calls: bool = False
    coarse_times: bool = False
    forgets_runs: bool = False
    _polls: Counter[str] = attrs.field(factory=Counter, init=False, eq=False, repr=False)
    _times: Iterator[int] = attrs.field(factory=itertools.count, init=False, eq=False, repr=False)

    def lists_newest_first(self, requested: str | None) -> bool:
        """Return whether the server lists the newest entries first. `requested` is the parameter `order`."""
        return requested != "asc" if self.order == "requested" else self.order == "newest first"

    def check_message(self, text: str) -> None:
        """Raise the error if the server refuses a message with this text."""
        self._check(text, of_message=True)

    def check_run(self, text: str) -> None:
        """Raise the error if the server refuses a run that answers this text."""
        self._check(text, of_message=False)

    def _check(self, text: str, *, of_message: bool) -> None:
        refusal = self.refusals.get(text)
        if refusal is not None and refusal.of_message is of_message:
            raise refusal.error()

    def shown(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message or another item in the form in which the server lists it."""
        message = self.spelt_item(message)
        content = message.get("content")
        if not self.hides_sources or not isinstance(content, list):
            return message
        shown = [part if "text" in part else {"type": part["type"]} for part in content]
        return {name: value for name, value in message.items() if name != "attachments"} | {"content": shown}

    def spelt(self, arguments: str) -> str:
        """Return the arguments of a call as the server writes them this time."""
        if self.respells_arguments:
            with contextlib.suppress(ValueError):
                return json.dumps(json.loads(arguments), indent=(None, 1, 2)[next(self._times) % 3])
        return arguments

    def spelt_item(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return an item of a conversation as the server writes it this time."""
        is_call = item.get("type") == "function_call"
        return {**item, "arguments": self.spelt(item["arguments"])} if is_call else item

    def shown_calls(self, calls: Sequence[_T]) -> Sequence[_T]:
        """Return the calls of a run that the server shows in this poll."""
        if self.leaves_out_calls and len(calls) > 1 and next(self._times) % 2:
            return calls[:-1]
        return calls

    def time_of(self, number: int) -> int:
        """Return the time of a thread's message with this number."""
        return number // _MESSAGES_PER_TICK if self.coarse_times else number

    def newest_first(self, messages: Sequence[_T]) -> list[_T]:
        """Return the messages of a thread, which are given oldest first, as the server lists them newest first."""
        numbers = range(len(messages))
        if self.coarse_times:
            return [messages[number] for number in sorted(numbers, key=lambda number: -self.time_of(number))]
        return [messages[number] for number in reversed(numbers)]

    def check_poll(self, run_id: str) -> None:
        """Raise an error if the server does not find the run this time."""
        self._polls[run_id] += 1
        if self.forgets_runs and self._polls[run_id] % 4 == 0:
            raise RequestRefused(404, None, f"No run found with id '{run_id}'.")

    def check_cancel(self) -> None:
        """Raise an error if the server refuses or loses the cancel of a run in progress."""
        if self.cancels == "refused":
            raise RequestRefused(400, None, "Runs cannot be cancelled here.")
        if self.cancels == "lost":
            raise OutcomeUnknown(None, None, "The cancel was not answered.", in_flight=True)
