"""What is said: messages that go out, and answers that are read."""

from __future__ import annotations

from typing import cast

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.requests import RequestActions
from gpt_agent_fsm.machine.objects import Message
from gpt_agent_fsm.machine.snapshot import QueuedMessage, Reading, Turn

__all__ = ["MessageActions"]

_REMEMBERED = 50


@attrs.define(kw_only=True)
class MessageActions(RequestActions):
    """The verbs of messages."""

    # --- a message goes out -----------------------------------------------------------------------------

    def queue_message(self) -> None:
        command = cast("inputs.AddUserMessage", self.input)
        self.queue = (*self.queue, QueuedMessage(key=command.key, content=command.content))
        self.parked = False

    def post_message(self) -> None:
        if self.message_doubt is not None:
            self.perform(effects.ListMessages(after=None, newest_first=True))
        else:
            head = self.queue[0]
            self.perform(effects.PostMessage(key=head.key, content=head.content))

    def confirm_message(self) -> None:
        answer = cast("inputs.MessagePosted", self.input)
        self.message_keys_kept = self.message_keys_kept or answer.key_kept
        self._message_is_on_the_thread(answer.message_id)

    def confirm_found_message(self) -> None:
        found = cast("Message", self.our_message())
        self.message_keys_kept = self.message_keys_kept or found.key is not None
        self._message_is_on_the_thread(found.id)

    def _message_is_on_the_thread(self, message_id: str) -> None:
        head, *rest = self.queue
        self.queue = tuple(rest)
        self.last_posted_id = self.posted_since = message_id
        self.message_doubt = None
        self.turn = Turn(key=head.key, runs=1, retries_left=self.settings.rate_limit_max_retries)
        self.run_owed = True
        self.close_request()
        self.events.append(events.UserMessageAdded(id=message_id, thread_id=self.thread_id, content=head.content))

    def drop_message(self) -> None:
        """Let go of a message whose text can never be accepted, so that those behind it can go out."""
        self.report(will_retry=False)
        self.queue = self.queue[1:]
        self.close_request()

    # --- a message is looked for ------------------------------------------------------------------------

    def search_next_page(self) -> None:
        self.perform(effects.ListMessages(after=self._next_after(), newest_first=True))

    def conclude_absence(self) -> None:
        self.message_doubt = None
        self.end_look()

    def give_up_search(self) -> None:
        head = self.queue[0]
        self.report_doubt(
            effects.PostMessage(key=head.key, content=head.content),
            "It can not be told whether the message was posted: the server keeps no metadata, and a message of the "
            "same text is on the thread. It stays at the head of the queue.",
            will_retry=False,
        )
        self._park()

    # --- answers are read -------------------------------------------------------------------------------

    def read_messages(self) -> None:
        self.reading = attrs.evolve(cast("Reading", self.reading), whole=False, messages=())
        self.perform(effects.ListMessages(after=self.last_message_id))

    def read_next_page(self) -> None:
        self.reading = attrs.evolve(cast("Reading", self.reading), messages=self.read_so_far())
        self.failures = 0
        self.perform(effects.ListMessages(after=self._next_after()))

    def read_from_the_start(self) -> None:
        self.reading = attrs.evolve(cast("Reading", self.reading), whole=True, messages=())
        self.failures = 0
        self.perform(effects.ListMessages(after=None))

    def read_without_cursor(self) -> None:
        self.report(will_retry=True)
        self.read_from_the_start()

    def publish_messages(self) -> None:
        reading = attrs.evolve(cast("Reading", self.reading), messages=self.read_so_far())
        for message in self.unpublished(reading):
            self.published = (*self.published, message.id)[-_REMEMBERED:]
            self.last_message_id, self.posted_since = message.id, None
            self.events.append(
                events.AssistantMessageAdded(
                    message_id=message.id,
                    thread_id=self.thread_id,
                    run_id=message.run_id or reading.run_id,
                    assistant_id=message.assistant_id or reading.assistant_id,
                    content=message.content,
                )
            )
        self.reading = None
        self.close_request()
