"""The conversation that a thread is copied into. It is created or resumed, then filled, then verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from gpt_agent_fsm.backends.http import HttpClient, segment
from gpt_agent_fsm.backends.importing.items import essence_of
from gpt_agent_fsm.backends.importing.lists import entries, get_page
from gpt_agent_fsm.backends.importing.retries import Retries
from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.backends.shared.converter import Page, learn_page
from gpt_agent_fsm.backends.shared.values import lenient_text, required_id
from gpt_agent_fsm.errors import GptAgentError, OutcomeUnknown, TransientError

__all__ = ["IMPORTED_FROM", "ConversationCopy", "NotAnImport"]

IMPORTED_FROM = "gpt_agent_fsm_imported_from"
"""The name of the metadata entry in which a conversation keeps the id of the copied thread."""

_MAX_ITEMS = 20
_PAUSES = (0.1, 0.2, 0.5, 1.0)
"""The pauses in seconds between two reads of the items. A server may list items a little after it has accepted them."""


class NotAnImport(GptAgentError):
    """The messages in the conversation are not the first messages of the thread, so the import has stopped."""


@attrs.frozen(kw_only=True)
class _Item:
    id: str = attrs.field(default=None, converter=required_id)
    role: str | None = attrs.field(default=None, converter=lenient_text)
    content: Any = None


class _ItemPage(Page):
    pass


# If an item of the list cannot be read, the list must not be compared with the thread.
learn_page(wire.converter, _ItemPage, _Item, whole=True)


class ConversationCopy:
    """A conversation that is being filled with the items of a thread. After an error, a method may be called again.

    Attributes:
        taken: the number of items that are known to be in the conversation.
    """

    def __init__(self, thread_id: str, items: Sequence[Mapping[str, Any]], http: HttpClient, retries: Retries) -> None:
        self.conversation_id: str = ""
        self.taken: int = 0
        self._thread_id, self._items, self._http, self._retries = thread_id, items, http, retries
        self._listed: dict[str, None] = {}
        """The ids of the conversation's items that the server has listed, in order."""
        self._in_doubt: OutcomeUnknown | None = None
        """The error of a request without an HTTP answer, until it is known whether the request took effect."""

    @property
    def _path(self) -> str:
        return f"/conversations/{segment(self.conversation_id)}"

    def begin(self) -> None:
        """Create an empty conversation.

        If the HTTP answer is lost, call this method again. The conversation whose HTTP answer was lost stays empty.
        """
        body = {"metadata": wire.metadata(**{IMPORTED_FROM: self._thread_id})}
        create = partial(self._http.post, "/conversations", body, wire.Conversation, timeout=self._retries.timeout)
        self.conversation_id = self._retries.call(create).id

    def resume(self, conversation_id: str) -> None:
        """Continue with this conversation, and count its items.

        Raises `NotAnImport` if the items do not match the messages of the thread.
        """
        self.conversation_id = conversation_id
        read = partial(self._http.get, self._path, wire.Conversation, timeout=self._retries.timeout)
        imported_from = lenient_text((self._retries.call(read).metadata or {}).get(IMPORTED_FROM))
        if imported_from not in (None, self._thread_id):
            raise self._not_an_import(f"it is an import of the thread {imported_from!r}")
        # The server may not yet list the items that were added a moment ago.
        self._retries.call(partial(self._search, len(self._items), _PAUSES))
        self.taken = len(self._listed)

    def add_next(self) -> None:
        """Add the next items. If this raises an `ApiError`, the method may be called again."""
        batch = self._items[self.taken : self.taken + _MAX_ITEMS]
        if self._in_doubt is None:
            try:
                self._http.post(f"{self._path}/items", {"items": batch}, wire.Added, timeout=self._retries.timeout)
            except OutcomeUnknown as error:
                self._in_doubt = error
            else:
                self.taken += len(batch)
                return
        self._settle(self._in_doubt, self.taken + len(batch))

    def verify(self) -> None:
        """Check that the conversation contains all items and nothing else. Raises an error if it does not."""
        self._search(len(self._items), _PAUSES)
        self._check_listed(len(self._items))

    def _settle(self, doubt: OutcomeUnknown, expected: int) -> None:
        # A request that is still in flight takes effect within `outcome_grace`, or never.
        grace = (self._retries.settings.outcome_grace,) if doubt.in_flight else ()
        self._search(expected, (*_PAUSES, *grace))
        self._check_listed(self.taken)
        self._in_doubt = None
        if len(self._listed) == self.taken:
            raise doubt
        self.taken = len(self._listed)

    def _check_listed(self, count: int) -> None:
        if len(self._listed) < count:
            sentence = f"The conversation took {count} items, but lists only {len(self._listed)} of them."
            raise TransientError(None, None, sentence)

    def _search(self, count: int, pauses: Sequence[float]) -> None:
        """Read the conversation until it lists `count` items, or until the `pauses` are used up.

        Before each further read, wait for the next of the `pauses`.
        """
        self._read_on()
        for pause in pauses:
            if len(self._listed) >= count:
                return
            self._retries.sleep(pause)
            self._read_on()

    def _read_on(self) -> None:
        """Read the items after the last item that was read.

        Raise `NotAnImport` if an item does not match the next message of the thread.
        """
        fetch = partial(get_page, self._http, f"{self._path}/items", _ItemPage, self._retries.timeout)
        for item in entries(fetch, next(reversed(self._listed), None)):
            if item.id in self._listed:
                continue  # the server ignores `after`
            number = len(self._listed)
            if number == len(self._items):
                raise self._not_an_import(f"it has more items than the {number} messages of the thread")
            expected = self._items[number]
            if essence_of(item.role, item.content) != essence_of(expected["role"], expected["content"]):
                raise self._not_an_import(f"its item {number + 1} differs from the thread's message at that place")
            self._listed[item.id] = None

    def _not_an_import(self, reason: str) -> NotAnImport:
        what = f"The conversation {self.conversation_id!r} is not an import of the thread {self._thread_id!r}"
        return NotAnImport(f"{what}: {reason}. It was left as it is.")
