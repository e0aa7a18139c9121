"""From a thread of the Assistants wire to a conversation: what OpenAI told people to write themselves.

The whole thread is read first. What the conversation holds is its beginning at any time, so that an import can go on
from wherever it was cut off: what is there is counted, and what is missing is added. A request whose answer was lost is
settled in the same way, and so is the question, at the end, whether all has arrived.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.assistants import wire as assistants_wire
from gpt_agent_fsm.backends.http import HttpClient, segment
from gpt_agent_fsm.backends.responses import ResponsesBackend, wire
from gpt_agent_fsm.backends.shared.converter import Page, learn_page
from gpt_agent_fsm.backends.shared.values import (
    lenient_mapping,
    lenient_number,
    lenient_text,
    required_id,
    text_of,
)
from gpt_agent_fsm.engine.retrying import call_with_retries
from gpt_agent_fsm.errors import ApiError, GptAgentError, OutcomeUnknown, RequestRefused, ThreadBusy, TransientError
from gpt_agent_fsm.settings import Settings

__all__ = ["IMPORTED_FROM", "NotAnImport", "ThreadImport", "import_thread"]

log = logging.getLogger(__name__)

T = TypeVar("T")
_random = random.Random()  # noqa: S311 - jitter, no secret

IMPORTED_FROM = "gpt_agent_fsm_imported_from"
"""The name under which a conversation's metadata keeps the id of its thread."""

_PAGE = 100
_MOST_ITEMS = 20
_PAUSES = (0.1, 0.2, 0.5, 1.0)
"""Seconds between two looks at a conversation, where items may be listed a little later than they were taken."""
_LONGEST_WAIT = 300.0
"""Seconds that a server may ask to wait; who is asked for more gives up, and the import is to be taken up later."""


class NotAnImport(GptAgentError):
    """The conversation holds something else than the beginning of the thread. Nothing was added after this was seen."""


@attrs.frozen(kw_only=True)
class ThreadImport:
    """An import as it stands.

    Attributes:
        conversation_id: what to give as `into` to go on with it.
        copied: how many messages the conversation holds, as far as is known.
        total: how many it will hold in the end.
        left_out: how many parts of messages can not be copied, by their kind: "image_file", "attachment", ...
        messages_left_out: how many messages are not copied, since nothing is left of them, or nobody knows their role.
    """

    conversation_id: str
    copied: int
    total: int
    left_out: Mapping[str, int]
    messages_left_out: int


def import_thread(
    thread_id: str,
    source: AssistantsBackend,
    target: ResponsesBackend,
    *,
    into: str | None = None,
    settings: Settings | None = None,
    report: Callable[[ThreadImport], object] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> ThreadImport:
    """Copy the messages of a thread into a conversation, oldest first, and return how it stands when all are there.

    Texts and refusals are copied, and the images by URL of users; the rest is left out and counted. The thread is not
    changed, and should have no active run. The conversation is a new one whose metadata name the thread, or `into`,
    that of an import which was interrupted: only what is missing is added to it, also what was said on the thread
    since. At the end it is read again: all messages are there, once, in order.

    Blocks until it is done. Transient errors are tried again as `settings` say; `sleep` is called with seconds.
    `report` is called with the import as it stands once it is known what the conversation holds, and after each request
    that adds to it; what it raises ends the import.

    Raises `InvalidThreadId` for a thread or conversation that is not there, `NotAnImport` for a conversation that holds
    something else, `ValueError` for a blank id, and any other `ApiError`. Whatever ends it, it can be taken up again
    with the `conversation_id` that was reported. Without a report nothing was copied; where the request that creates
    the conversation was not answered, there may be an empty one that nobody knows of.
    """
    if not thread_id.strip() or (into is not None and not into.strip()):
        raise ValueError("import_thread: the ids of the thread and of the conversation must not be blank")
    patience = _Patience(settings or Settings(), sleep)
    messages = _messages(thread_id, source, patience)
    left_out: Counter[str] = Counter()
    items = [item for message in messages if (item := _item_of(message, left_out)) is not None]
    copy = _Copy(thread_id, items, target._http, patience)
    if into is None:
        copy.begin()
    else:
        patience.insist(partial(target.get_thread, into, timeout=patience.timeout))
        copy.take_up(into)
    standing = ThreadImport(
        conversation_id=copy.conversation_id,
        copied=copy.taken,
        total=len(items),
        left_out=dict(left_out),
        messages_left_out=len(messages) - len(items),
    )
    report(standing)
    while copy.taken < len(items):
        patience.insist(copy.add_next)
        standing = attrs.evolve(standing, copied=copy.taken)
        report(standing)
    patience.insist(copy.verify)
    return standing


# --- what is read ------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Message:
    id: str = attrs.field(default=None, converter=required_id)
    role: str | None = attrs.field(default=None, converter=lenient_text)
    content: Any = None
    attachments: Any = None
    created_at: float | None = attrs.field(default=None, converter=lenient_number)


@attrs.frozen(kw_only=True)
class _Item:
    id: str = attrs.field(default=None, converter=required_id)
    role: str | None = attrs.field(default=None, converter=lenient_text)
    content: Any = None


class _MessagePage(Page):
    pass


class _ItemPage(Page):
    pass


# A list that cannot be read whole must not be copied in part.
learn_page(assistants_wire.converter, _MessagePage, _Message, whole=True)
learn_page(wire.converter, _ItemPage, _Item, whole=True)


# --- the thread ------------------------------------------------------------------------------------------


def _messages(thread_id: str, source: AssistantsBackend, patience: _Patience) -> list[_Message]:
    """Return all messages of a thread, oldest first."""
    # Some servers list nothing for a thread that is not there.
    patience.insist(partial(source.get_thread, thread_id, timeout=patience.timeout))
    get = partial(_page, source._http, f"/threads/{segment(thread_id)}/messages", _MessagePage, patience.timeout)
    messages: list[_Message] = list(_entries(lambda after: patience.insist(partial(get, after))))
    times = [message.created_at for message in messages if message.created_at is not None]
    if times and times[0] > times[-1]:
        messages.reverse()  # the server ignores the order it is asked for
    return messages


# --- what becomes of a message -----------------------------------------------------------------------------

_ROLES = ("user", "assistant", "system", "developer")


def _item_of(message: _Message, left_out: Counter[str]) -> dict[str, Any] | None:
    """Return the item that a message becomes, or None where nothing is left of it; count what is left out."""
    content = message.content
    given = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    parts: list[dict[str, Any]] = []
    for part in given:
        copied = _parts_of(lenient_mapping(part), message.role)
        parts += copied or []
        if copied is None:
            left_out[_kind(part)] += 1
    if isinstance(message.attachments, list) and message.attachments:
        left_out["attachment"] += len(message.attachments)
    if not parts or message.role not in _ROLES:
        return None
    return {"type": "message", "role": message.role, "content": parts}


def _parts_of(part: Mapping[str, Any], role: str | None) -> list[dict[str, Any]] | None:
    """Return what a part becomes, nothing for an empty text, or None for what can not be copied."""
    speaks = role == "assistant"
    match {"type": "text", **part}:
        case {"type": "text" | "input_text" | "output_text", "text": {"value": str(text)} | str(text)}:
            copied = {"type": "output_text", "text": text, "annotations": []}
            if not speaks:
                copied = {"type": "input_text", "text": text}
            return [copied] if text else []
        case {"type": "refusal", "refusal": str(text)} if speaks:
            return [{"type": "refusal", "refusal": text}]
        case {"type": "image_url", "image_url": {"url": str(url), **more}} if not speaks:
            return [{"type": "input_image", "image_url": url, "detail": lenient_text(more.get("detail")) or "auto"}]
    return None


def _kind(part: object) -> str:
    kind = lenient_text(lenient_mapping(part).get("type"))
    return kind if kind is not None and kind.isidentifier() else "unknown"


# --- the conversation -----------------------------------------------------------------------------------------


def _essence(role: str | None, content: object) -> tuple[str | None, str]:
    """Return what is compared of a message; servers differ in how they keep white space and parts."""
    return role, " ".join(text_of(content).split())


class _Copy:
    """A conversation that is being filled. After an error, each method may be called again and goes on.

    Attributes:
        taken: how many of the items the conversation holds, as far as is known.
    """

    def __init__(
        self, thread_id: str, items: Sequence[Mapping[str, Any]], http: HttpClient, patience: _Patience
    ) -> None:
        self.conversation_id = ""
        self.taken = 0
        self._thread_id, self._items, self._http, self._patience = thread_id, items, http, patience
        self._listed: dict[str, None] = {}
        """The ids of those that were seen there, in order."""
        self._doubt: OutcomeUnknown | None = None
        """The request that was not answered, until it is known what came of it."""

    @property
    def _path(self) -> str:
        return f"/conversations/{segment(self.conversation_id)}"

    def begin(self) -> None:
        """Create the conversation, empty: harmless to repeat, as one that nobody knows of holds nothing."""
        body = {"metadata": wire.metadata(**{IMPORTED_FROM: self._thread_id})}
        create = partial(self._http.post, "/conversations", body, wire.Conversation, timeout=self._patience.timeout)
        self.conversation_id = self._patience.insist(create).id

    def take_up(self, conversation_id: str) -> None:
        """Count what is there; raises `NotAnImport`."""
        self.conversation_id = conversation_id
        read = partial(self._http.get, self._path, wire.Conversation, timeout=self._patience.timeout)
        imported_from = lenient_text(self._patience.insist(read).metadata.get(IMPORTED_FROM))
        if imported_from not in (None, self._thread_id):
            raise self._not_an_import(f"it is one of the thread {imported_from!r}")
        # What was added a moment ago may be listed late.
        self._patience.insist(partial(self._look_for, len(self._items), _PAUSES))
        self.taken = len(self._listed)

    def add_next(self) -> None:
        """Add some more items; raises what may be tried again where none came to be there."""
        batch = self._items[self.taken : self.taken + _MOST_ITEMS]
        if self._doubt is None:
            try:
                self._http.post(f"{self._path}/items", {"items": batch}, wire.Added, timeout=self._patience.timeout)
            except OutcomeUnknown as error:
                self._doubt = error
            else:
                self.taken += len(batch)
                return
        self._settle(self._doubt, self.taken + len(batch))

    def verify(self) -> None:
        """Return if all items are there and nothing else."""
        self._look_for(len(self._items), _PAUSES)
        self._check_listed(len(self._items))

    def _settle(self, doubt: OutcomeUnknown, expected: int) -> None:
        # What is still on its way arrives within the grace, or never.
        grace = (self._patience.settings.outcome_grace,) if doubt.in_flight else ()
        self._look_for(expected, (*_PAUSES, *grace))
        self._check_listed(self.taken)
        self._doubt = None
        if len(self._listed) == self.taken:
            raise doubt
        self.taken = len(self._listed)

    def _check_listed(self, count: int) -> None:
        if len(self._listed) < count:
            sentence = f"The conversation took {count} items, but lists only {len(self._listed)} of them."
            raise TransientError(None, None, sentence)

    def _look_for(self, count: int, pauses: Sequence[float]) -> None:
        """Look until so many items are listed, or the pauses are over."""
        self._look()
        for pause in pauses:
            if len(self._listed) >= count:
                return
            self._patience.sleep(pause)
            self._look()

    def _look(self) -> None:
        """Read on after the last item that was seen; raise `NotAnImport` for one that does not belong there."""
        fetch = partial(_page, self._http, f"{self._path}/items", _ItemPage, self._patience.timeout)
        for item in _entries(fetch, next(reversed(self._listed), None)):
            if item.id in self._listed:
                continue  # the server ignores `after`
            number = len(self._listed)
            if number == len(self._items):
                raise self._not_an_import(f"it has more items than the {number} messages of the thread")
            expected = self._items[number]
            if _essence(item.role, item.content) != _essence(expected["role"], expected["content"]):
                raise self._not_an_import(f"its item {number + 1} is something else than the thread's message there")
            self._listed[item.id] = None

    def _not_an_import(self, reason: str) -> NotAnImport:
        what = f"The conversation {self.conversation_id!r} is not an import of the thread {self._thread_id!r}"
        return NotAnImport(f"{what}: {reason}. It was left as it is.")


# --- lists, and patience ------------------------------------------------------------------------------------------


def _page(client: HttpClient, path: str, shape: type[Page], timeout: float, after: str | None) -> Page:
    params = {"limit": str(_PAGE), "order": "asc", **({} if after is None else {"after": after})}
    return client.get(path, shape, params=params, timeout=timeout)


def _entries(fetch: Callable[[str | None], Page], after: str | None = None) -> Iterator[Any]:
    """Yield the entries of all pages after `after`, each once, however often the server repeats it."""
    seen: set[str] = set()
    while True:
        page = fetch(after)
        fresh = {entry.id: entry for entry in page.data if entry.id not in seen}
        yield from fresh.values()
        if page.next_after is None:
            return
        if not fresh:
            if len(page.data) == _PAGE:
                # All of them, or the first of many: this is no place to guess.
                sentence = f"The server gives the same {_PAGE} entries for each page of a list, so the rest is unknown."
                raise RequestRefused(None, None, sentence)
            return
        seen.update(fresh)
        after = page.next_after


@attrs.frozen
class _Patience:
    settings: Settings
    sleep: Callable[[float], object]

    @property
    def timeout(self) -> float:
        """Seconds that a request may take."""
        return self.settings.request_timeout

    def insist(self, request: Callable[[], T]) -> T:
        """Make a request, again and again while that may help."""
        return call_with_retries(
            request,
            settings=self.settings,
            longest_wait=_LONGEST_WAIT,
            sleep=self.sleep,
            rng=_random,
            on_failure=_log_failure,
            retry_on=(TransientError, ThreadBusy),
        )


def _log_failure(error: ApiError, _attempt: int, pause: float | None) -> None:
    if pause is not None:
        log.warning("Trying again in %.1f seconds: %s", pause, error)
