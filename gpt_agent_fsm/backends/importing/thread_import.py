"""Imports a thread: reads the thread, fills a conversation with its messages, and verifies the conversation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import attrs

from gpt_agent_fsm.backends.assistants import AssistantsBackend
from gpt_agent_fsm.backends.importing.conversation_copy import ConversationCopy
from gpt_agent_fsm.backends.importing.files import SharedFiles
from gpt_agent_fsm.backends.importing.items import Plan, plan_for
from gpt_agent_fsm.backends.importing.retries import Retries
from gpt_agent_fsm.backends.importing.thread import read_messages
from gpt_agent_fsm.backends.responses import ResponsesBackend
from gpt_agent_fsm.settings import Settings

__all__ = ["ThreadImport", "import_thread"]


@attrs.frozen(kw_only=True)
class ThreadImport:
    """The current state of an import.

    Attributes:
        conversation_id: the id of the conversation. To resume the import, pass it as `into`.
        copied: the number of messages that are known to be in the conversation.
        total: the number of messages that will be in the conversation at the end.
        left_out: the number of message parts that cannot be copied, by their kind, such as "image_file" or
            "attachment".
        messages_left_out: the number of messages that are not copied, because they have no part to copy or an unknown
            role.
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
    """Copy the messages of a thread into a conversation, oldest first, and return the final state.

    Texts, refusals, and users' images that are given by URL are copied. If one server has both APIs, two more kinds of
    parts are copied by their file ids: users' images that are files, and users' files that are attached for file
    search. Everything else is left out and counted. The thread is not changed, and should have no active run.

    Without `into`, the import creates a conversation whose metadata name the thread. If `into` is the conversation of
    an interrupted import, only the missing messages are added to the conversation. These include messages that were
    added to the thread after the interruption. At the end the conversation is read again, to check that it has each
    message once, in order.

    Blocks until the import is done. Transient errors are retried according to `settings`. `sleep` is called with the
    seconds of each pause. `report` is called with the current state when the contents of the conversation are known,
    and after each request that adds messages to it. An exception from `report` ends the import.

    Raises `InvalidThreadId` for an unknown thread or conversation, `NotAnImport` for a conversation with other
    contents, `ValueError` for a blank id, and any other `ApiError`. The import can always be resumed with the reported
    `conversation_id`. If `report` was never called, nothing was copied. If the request that creates the conversation
    gets no HTTP answer, an empty conversation with an unknown id may remain.
    """
    for name, backend, kind in (("source", source, AssistantsBackend), ("target", target, ResponsesBackend)):
        if not isinstance(backend, kind):
            wrong = type(backend).__name__
            raise TypeError(f"import_thread: the {name} must be of {kind.__name__}, not of {wrong}")
    if not thread_id.strip() or (into is not None and not into.strip()):
        raise ValueError("import_thread: the ids of the thread and of the conversation must not be blank")
    retries = Retries(settings or Settings(), sleep)
    plan = plan_for(read_messages(thread_id, source, retries), SharedFiles(source, target, retries))
    copy = ConversationCopy(thread_id, plan.items, target._http, retries)
    if into is None:
        copy.begin()
    else:
        retries.call(partial(target.get_thread, into, timeout=retries.timeout))
        copy.resume(into)
    return _fill(copy, plan, report, retries)


def _fill(
    copy: ConversationCopy, plan: Plan, report: Callable[[ThreadImport], object], retries: Retries
) -> ThreadImport:
    standing = ThreadImport(
        conversation_id=copy.conversation_id,
        copied=copy.taken,
        total=len(plan.items),
        left_out=plan.left_out,
        messages_left_out=plan.messages_left_out,
    )
    report(standing)
    while copy.taken < standing.total:
        retries.call(copy.add_next)
        standing = attrs.evolve(standing, copied=copy.taken)
        report(standing)
    retries.call(copy.verify)
    return standing
