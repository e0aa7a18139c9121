"""Reads the thread that is copied: all its messages, oldest first."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from gpt_agent_fsm.backends.assistants import AssistantsBackend, wire
from gpt_agent_fsm.backends.http import segment
from gpt_agent_fsm.backends.importing.lists import entries, get_page
from gpt_agent_fsm.backends.importing.retries import Retries
from gpt_agent_fsm.backends.shared.converter import Page, learn_page
from gpt_agent_fsm.backends.shared.values import lenient_number, lenient_text, required_id

__all__ = ["ThreadMessage", "read_messages"]


@attrs.frozen(kw_only=True)
class ThreadMessage:
    """A message of the thread, with the data of all parts that may be copied."""

    id: str = attrs.field(default=None, converter=required_id)
    role: str | None = attrs.field(default=None, converter=lenient_text)
    content: Any = None
    attachments: Any = None
    created_at: float | None = attrs.field(default=None, converter=lenient_number)


class _MessagePage(Page):
    pass


# If a message of the list cannot be read, nothing must be copied.
learn_page(wire.converter, _MessagePage, ThreadMessage, whole=True)


def read_messages(thread_id: str, source: AssistantsBackend, retries: Retries) -> list[ThreadMessage]:
    """Return all messages of a thread, oldest first. Raises `InvalidThreadId` if there is no such thread."""
    # Check that the thread exists, because some servers return an empty list for an unknown thread.
    retries.call(partial(source.get_thread, thread_id, timeout=retries.timeout))
    get = partial(get_page, source._http, f"/threads/{segment(thread_id)}/messages", _MessagePage, retries.timeout)
    messages: list[ThreadMessage] = list(entries(lambda after: retries.call(partial(get, after))))
    times = [message.created_at for message in messages if message.created_at is not None]
    if times and times[0] > times[-1]:
        messages.reverse()  # the server ignores the requested order
    return messages
