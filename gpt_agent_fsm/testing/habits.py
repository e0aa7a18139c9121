"""The habits of a simulated server that differ from those of the real one, as some servers and models have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from gpt_agent_fsm.errors import OutcomeUnknown, RequestRefused

__all__ = ["Cancels", "Habits", "Refusal"]

Cancels: TypeAlias = Literal["obeyed", "refused", "ignored", "lost", "endless", "taken"]
"""What a server does with the cancel of a run: it ends the run, answers 400, answers 200 while the run continues, never
answers, or stays in the status `cancelling` forever. `taken`: it even accepts the cancel of a response that has ended.
"""


@attrs.frozen(kw_only=True)
class Refusal:
    """The HTTP error with which a server always refuses a text.

    Attributes:
        of_message: True if the message itself is refused, False if only its run is.
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
    """What a server does in its own way; by default nothing.

    Attributes:
        cancels: what it does with the cancel of a run.
        ignores_order: it lists the oldest entries first, even if the newest are requested.
        lists_context: the input items of a response include the conversation before it.
        refusals: for each text of a user message, the error with which it is always refused.
    """

    cancels: Cancels = "obeyed"
    ignores_order: bool = False
    lists_context: bool = False
    refusals: Mapping[str, Refusal] = attrs.field(factory=dict)

    def check_message(self, text: str) -> None:
        """Raise an error if a message with this text is refused."""
        self._check(text, of_message=True)

    def check_run(self, text: str) -> None:
        """Raise an error if a run that answers this text is refused."""
        self._check(text, of_message=False)

    def _check(self, text: str, *, of_message: bool) -> None:
        refusal = self.refusals.get(text)
        if refusal is not None and refusal.of_message is of_message:
            raise refusal.error()

    def check_cancel(self) -> None:
        """Raise an error if the cancel of a run in progress is refused or lost."""
        if self.cancels == "refused":
            raise RequestRefused(400, None, "Runs cannot be cancelled here.")
        if self.cancels == "lost":
            raise OutcomeUnknown(None, None, "The cancel was not answered.", in_flight=True)
