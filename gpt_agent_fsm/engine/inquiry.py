"""Find the answer to one message among the events of its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from gpt_agent_fsm import events
from gpt_agent_fsm.engine.answer import Answer
from gpt_agent_fsm.engine.spoken_text import SpokenText
from gpt_agent_fsm.errors import RunError
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.objects import Failure, Usage
from gpt_agent_fsm.machine.reasons import as_sentence
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.tools.output import Output

__all__ = ["Inquiry"]

_CONTENT_REFUSED = "content_refused"


class Inquiry:
    """Follows one message from its acceptance to the end of its run.

    If the run is rate limited, the inquiry follows the run that replaces it.

    Workers call `hear` for each event of the thread, in order, and `observe` after each tick. The OS thread that waits
    for the answer reads the attributes.

    Attributes:
        key: the message's key.
        assistant_id: the id of the assistant of the message's run; None before the run starts.
        is_over: True if there is a complete answer, or an error.
        is_parked: True while the queue is parked and the message still has no answer and no error.
        text: the text of the answer while it is written.

    Args:
        on_text: a function that is called when a piece of the text has come. It is called on a worker.
    """

    def __init__(self, thread_id: str, key: str, on_text: Callable[[], None] = lambda: None) -> None:
        self._on_text = on_text
        self.text: SpokenText = SpokenText()
        self._thread_id = thread_id
        self.key = key
        self._lock = threading.Lock()
        self._is_posted = False
        self._was_discarded = False
        self._run_ids: list[str] = []
        self.assistant_id: str | None = None
        self._messages: list[events.AssistantMessageAdded] = []
        self._calls: list[events.ToolCallRequested] = []
        self._usage = Usage()
        self._completed = False
        self._next_turn = False
        self._refusal: events.RequestFailed | None = None
        """The last event about a failed request that is not retried; None if there was none since the message was
        accepted."""
        self._error: RunError | None = None
        self.is_over: bool = False
        self.is_parked: bool = False
        self._failure: Failure | None = None
        """The failure that parked the queue."""
        self._is_behind = False
        """True if the failure concerns an earlier message, so that this message could not be sent."""

    # --- on workers ---------------------------------------------------------------------------------------

    def hear(self, event: events.Event) -> None:
        """Take one event of the thread into account."""
        with self._lock:
            if self._error is not None or self._next_turn:
                return
            match event:
                case events.UserMessageAdded(key=key):
                    if self._is_posted and not self._run_ids:
                        self._fail_without_run()
                    self._next_turn = self._is_posted
                    self._is_posted = self._is_posted or key == self.key
                case events.MessagesDiscarded(keys=keys) if self.key in keys:
                    self._was_discarded = True
                    self._fail("discarded", "The message was discarded before it was sent.")
                case events.RequestFailed(will_retry=False):
                    self._refusal = event
                case _ if self._is_posted:
                    self._hear_of_run(event)
                case _:
                    pass

    def _hear_of_run(self, event: events.Event) -> None:
        """Take into account an event after the message was posted. The next run that starts is the message's run."""
        match event:
            case events.RunStarted(id=run_id):
                if self._completed:
                    self._next_turn = True
                else:
                    self._run_ids.append(run_id)
                    self.text.start_again()
                    self.assistant_id = event.assistant_id
            case events.RunFailed(id=run_id, code=code, message=message) if run_id is None or run_id in self._run_ids:
                self._fail(code, message)
            case events.RateLimitRetriesExhausted(run_id=run_id) if run_id in self._run_ids:
                self._fail("rate_limit_exceeded", "The run was rate limited, and no retries are left.")
            case events.ToolCallOutputSubmissionFailed(run_id=run_id) if run_id in self._run_ids:
                self._fail(*self._refused())
            case events.RunCompleted(id=run_id) if run_id in self._run_ids:
                self._completed = True
                self._usage = Usage(
                    prompt_tokens=event.prompt_tokens,
                    completion_tokens=event.completion_tokens,
                    total_tokens=event.total_tokens,
                    runs=1,
                )
            case events.AssistantMessageAdded(run_id=run_id, older=False) if run_id in self._run_ids:
                self._messages.append(event)
                self.text.add_message(event)
                self._on_text()
            case events.AssistantMessageDelta(run_id=run_id) if run_id in self._run_ids:
                self.text.add_delta(event)
                self._on_text()
            case events.ToolCallRequested(run_id=run_id) if run_id in self._run_ids:
                self._calls.append(event)
            case _:
                pass

    def _fail(self, code: str | None, message: str) -> None:
        run_id = self._run_ids[-1] if self._run_ids else None
        self._error = RunError(code or "request_failed", message, self._thread_id, run_id)

    def _refused(self) -> tuple[str | None, str]:
        refusal = self._refusal
        return (None, "The request failed.") if refusal is None else (refusal.code, refusal.message)

    def observe(self, snapshot: Snapshot, waiting: Iterable[inputs.Command]) -> None:
        """Update the attributes after a tick. Before this call, pass each event up to this snapshot to `hear`.

        `waiting`: the accepted commands that the snapshot does not contain yet.
        """
        with self._lock:
            parked = snapshot.outbox.parked and snapshot.settled
            if self._completed:
                self._next_turn = self._next_turn or self._has_all_messages(snapshot)
            elif not parked and self._was_taken_in(waiting) and self._gets_no_run(snapshot):
                self._fail_without_run()
            self.is_over = self._error is not None or self._next_turn
            self.is_parked = parked and not self.is_over and self._was_taken_in(waiting)
            if self.is_parked:
                self._failure, self._is_behind = snapshot.failure, self._waits_behind_another(snapshot)

    def _was_taken_in(self, waiting: Iterable[inputs.Command]) -> bool:
        """Return whether the snapshot already contains the message, so that its command no longer waits."""
        commands = (each for each in waiting if isinstance(each, inputs.AddUserMessage))
        return self._is_posted or all(command.key != self.key for command in commands)

    def _has_all_messages(self, snapshot: Snapshot) -> bool:
        reading = snapshot.cursor.reading
        if reading is None or reading.run_id not in self._run_ids:
            return True
        if reading.postponed:
            code, message = self._refused()
            self._fail(code, f"The run has completed, but its messages could not be read. {as_sentence(message)}")
        return reading.postponed

    def _gets_no_run(self, snapshot: Snapshot) -> bool:
        """Return whether the message was dropped, or is on the thread and gets no run."""
        if self._is_posted:
            turn = snapshot.outbox.turn
            return not self._run_ids and (turn is None or turn.key != self.key)
        return self._refusal is not None and all(queued.key != self.key for queued in snapshot.queue)

    def _waits_behind_another(self, snapshot: Snapshot) -> bool:
        """Return whether an earlier message, or its run, must be sent before this message."""
        first = snapshot.outbox.turn or next(iter(snapshot.queue), None)
        return not self._is_posted and first is not None and first.key != self.key

    def _fail_without_run(self) -> None:
        if self._refusal is not None:
            self._fail(_CONTENT_REFUSED, self._refusal.message)
        else:
            self._fail("discarded", "The message is on the thread, but its run was discarded before it was created.")

    # --- on the caller's OS thread -----------------------------------------------------------------------------

    def check_parked(self) -> None:
        """Raise `RunError` if the queue is still parked, or if the message was discarded."""
        if self._was_discarded:
            then = "The message was not sent, and it was withdrawn."
            if self._is_behind:
                about = "An earlier message has failed, and waits for another attempt."
                then = f"{about} {then} If nobody needs the earlier message, call discard_queue()."
        elif not self.is_parked:
            return
        elif self._is_posted:
            then = "The message is on the thread. The next command tries again; discard_queue() gives its run up."
        else:
            then = "The message may have been sent; it stays in the queue, and the next command tries again."
        failure = self._failure or Failure(code=None, message="The queue is parked.")
        run_id = self._run_ids[-1] if self._run_ids else None
        sentences = f"{as_sentence(failure.message)} {then}"
        raise RunError(failure.code or "request_failed", sentences, self._thread_id, run_id)

    def answer(self, output: Output | None = None) -> Answer:
        """Return the answer. Raise `RunError` if there is none. `output` is the form that the answer should have."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if not self._completed:
                raise RunError("lost", "The run has ended without a result.", self._thread_id, None)
            return Answer(
                text="\n".join(message.content for message in self._messages if message.content),
                messages=tuple(self._messages),
                run_id=self._run_ids[-1],
                usage=self._usage,
                tool_calls=tuple(self._calls),
                thread_id=self._thread_id,
                output=output,
            )
