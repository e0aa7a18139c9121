"""Drive one thread: accept commands into its inbox, and handle them in ticks."""

from __future__ import annotations

import contextlib
import threading

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.agenda import Agenda, longest_pause
from gpt_agent_fsm.engine.alarms import Alarms
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.context import DriverContext, Outcome, driven_elsewhere, not_alive
from gpt_agent_fsm.engine.deciding import Decider, Permit
from gpt_agent_fsm.engine.explaining import explain
from gpt_agent_fsm.engine.inbox import Inbox
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.listener import Listener
from gpt_agent_fsm.engine.protocols import CallLimits, Lease, Saved
from gpt_agent_fsm.engine.sending import Sender
from gpt_agent_fsm.engine.tool_desk import ToolDesk
from gpt_agent_fsm.engine.waiters import Waiters
from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.logs import Log, get_logger, must_propagate
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.waits import open_calls
from gpt_agent_fsm.settings import Settings

__all__ = ["Driver"]

log: Log = get_logger(__name__)


class Driver:
    """Drives one thread in this runtime. Only ticks change the snapshot, and at most one tick runs at a time."""

    __slots__ = (
        "__weakref__",
        "_agenda",
        "_alarms",
        "_context",
        "_decider",
        "_desk",
        "_inbox",
        "_ledger",
        "_left",
        "_listener",
        "_lock",
        "_taken",
        "_ticking",
        "announcer",
        "begun",
        "door",
        "last_command",
        "lock",
        "settings",
        "stop_reason",
        "takes_over",
        "thread_id",
        "waiters",
    )

    def __init__(self, context: DriverContext, snapshot: Snapshot, settings: Settings) -> None:
        self._context = context
        self.thread_id: str = snapshot.thread_id
        own = (snapshot, context.store, context.clock, context.webhooks, context.trace)
        self._ledger = Ledger(*own, is_shared=context.shared is not None)
        self.settings: Settings = settings
        self._listener = Listener(context.backend, context.streams, self.thread_id)
        # Reentrant: the garbage collector may end an abandoned `AnswerStream` at any line, even while the lock is held.
        self._lock = threading.RLock()
        """Shared with the objects below, because an idle thread should take little memory. Held only for a few lines.
        In these lines, no other lock is taken, and the store is not called, which may take long."""
        shared = context.shared
        self.announcer: Announcer = Announcer(self.thread_id, context.store, self._listener, self._lock, shared)
        self.stop_reason: str | None = None
        self._taken: StoreTaken | None = None
        """The error that says that another process drives the thread now; None if none does."""
        self.takes_over: bool = True
        """False if an earlier driver of this runtime has already announced the thread's open calls."""
        self.begun: bool = False
        self.lock: threading.RLock = threading.RLock()
        """Held while the driver begins, and while it is removed."""
        self._inbox = Inbox(self.thread_id, context.store, context.trace, shared)
        self.door: threading.RLock = self._inbox.door
        self._agenda = Agenda(context.clock, context.random)
        self._alarms = Alarms(self._agenda, self._ledger, context.webhooks, self._listener, self._lock)
        self._desk = ToolDesk(context.tooling, self.thread_id)
        self.last_command: int = 0
        self._ticking = self._left = False
        self._decider = Decider(self._inbox, self._ledger, self._agenda, self._alarms, self._listener, self.announcer)
        self.waiters: Waiters = Waiters(self._lock)
        """Notified after each tick, and when the driver stops."""

    # --- from any OS thread ------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot of the thread."""
        return self._ledger.snapshot

    @property
    def lease(self) -> Lease | None:
        """The right to drive the thread. The driver has it from before it begins until its last tick has ended."""
        return self._ledger.lease

    @lease.setter
    def lease(self, lease: Lease | None) -> None:
        self._ledger.lease = lease

    @property
    def _sender(self) -> Sender:
        """Made for each use, because an idle thread should take little memory."""
        return Sender(self._context, self.thread_id, self._ledger, self._agenda, self._listener)

    @property
    def tenant(self) -> str:
        """See `OfTenant.tenant`."""
        return self.snapshot.tenant

    def check_alive(self) -> None:
        """Raise `AgentNotAlive` if the driver was stopped, and `StoreTaken` if another process drives the thread."""
        if self.stop_reason is not None or self._taken is not None:
            raise not_alive(self.thread_id, self.stop_reason, self._taken)

    def accept(self, command: inputs.Command) -> None:
        """Save a command, and return when the store has it. Raises `AgentNotAlive` if the driver was stopped."""
        with self.door:
            self.check_alive()
            try:
                self._inbox.accept(command)
            except StoreError as error:
                self._taken = error if isinstance(error, StoreTaken) else None
                if self.begun:
                    # The next tick stops the driver in two cases: another process has taken the store, or the thread is
                    # idle and the driver has stayed only because of this command.
                    self._context.ownership.wake(self.thread_id)
                raise
            self.last_command = self._context.gate.stamp()

    def send(self, command: inputs.Command) -> None:
        """Save a command and wake the driver."""
        self.accept(command)
        self._context.ownership.wake(self.thread_id)

    def join(self, handler: signals.Handler | None, replay_after: int | None, *, stream: bool = False) -> None:
        """See `Announcer.join`; the next tick replays the history."""
        self.announcer.join(handler, replay_after, stream=stream)
        self._context.ownership.wake(self.thread_id)

    def note_commands(self) -> None:
        """Note that another process may have accepted commands for the thread. The next tick reads them."""
        self._inbox.note_commands()

    def commands(self) -> list[inputs.Command]:
        """Return the commands that the snapshot does not contain yet, oldest first."""
        return [command for _, command in self._inbox.waiting()]

    def stop(self, reason: str, taken: StoreTaken | None = None) -> None:
        """Accept no more commands, and end after the current tick. Idempotent. `taken`: as in `not_alive`."""
        with self._lock:
            self._taken = self._taken or taken
            self.stop_reason = self.stop_reason or reason
        self.waiters.notify()

    def stop_if_quiet(self, reason: str) -> bool:
        """Stop, unless a command waits or is being accepted at this moment. Return whether the driver has stopped."""
        with self._inbox.shut_if_empty() as is_shut:
            if is_shut:
                self.stop(reason)
        return is_shut

    def is_quiet(self) -> bool:
        """Return whether no command waits."""
        return self._inbox.is_empty

    def is_settled(self) -> bool:
        """Return whether no run is active, and nothing is queued, in flight, unread or unannounced."""
        with self._lock:
            busy = self._decider.facts or self._ticking or not self.begun or not self.announcer.is_done
            return self.is_quiet() and not busy and self.snapshot.settled

    @property
    def has_come_to_rest(self) -> bool:
        """True if the last tick has left nothing to do. Unlike `has_work`, this is read between ticks."""
        return self.begun and not self._decider.facts and not self.has_work

    @property
    def has_stopped(self) -> bool:
        """True after the driver was stopped. If the store was taken, False until the end of the driver's last tick."""
        return self._left or self.stop_reason not in (None, "store_taken")

    def try_again(self, *, unpark: bool) -> None:
        """See `gate.Waiting.try_again`."""
        self._alarms.try_again(unpark=unpark)
        self._context.ownership.wake(self.thread_id)

    def describe(self) -> str:
        """See `Task.describe`."""
        handler, request = self.announcer.handler, self.snapshot.request
        doing = "at rest" if request is None else f"in request {request.operation}"
        return f"thread {self.thread_id} {doing if handler is None else f'in handler {signals.name_of(handler)}'}"

    def explain(self) -> str:
        """See `Agent.explain`."""
        agenda, now = self._agenda, self._context.clock.time()
        if self.snapshot.settled and not self.is_quiet():
            return "The thread is about to carry out a command that was accepted."
        return " ".join(explain(self.snapshot, self.settings, now, agenda.due_time, held=agenda.held_by_gate))

    def answers(self, name: str) -> bool:
        """Return whether a function of this program answers calls with this name."""
        return self._context.tooling.find(name) is not None

    @property
    def has_work(self) -> bool:
        """True while there is unfinished work or an unannounced event."""
        return not (self.is_quiet() and self.snapshot.settled and self.announcer.is_done)

    @property
    def outlook(self) -> str:
        """See `Ledger.outlook`."""
        return self._ledger.outlook

    def withdraw(self) -> None:
        """Stop a driver that has not begun, and remove its traces from the data that drivers share."""
        self.stop("not_connected")
        self._ledger.close()

    # --- beginning --------------------------------------------------------------------------------------

    def follow(self, former: Driver) -> None:
        """Show the snapshot of the thread's former driver, until that driver has ended and this driver begins."""
        self._ledger.snapshot = former.snapshot

    def begin(self, saved: Saved | None = None, command: inputs.Command | None = None, *answers: inputs.Input) -> None:
        """Take over the thread's data and inbox from the store. Announce nothing yet.

        The caller must hold `lock` and `door`. Call this method once, before the first tick or at the start of that
        tick. `saved`: the data in the store, if the caller has already read them. `command` and the `answers` to the
        requests that follow from it are handled in the first decision. Pass answers only for a thread without data.
        """
        saved, clock = saved or self._context.store.load(self.thread_id), self._context.clock
        if saved is not None:
            self._ledger.take_over(saved, self.settings)
            self._inbox.take_over(saved.inbox)
            if saved.inbox:
                self.last_command = self._context.gate.stamp()
            # The open calls that another runtime announced and that no function answers are announced again.
            calls = open_calls(self.snapshot) if self.takes_over else ()
            self.announcer.take_over(saved, [call for call in calls if not self.answers(call.name)])
            remaining = 0.0 if saved.due is None else saved.due - clock.time()
            if remaining > 0 and self.snapshot.has_waiting_request:
                self._agenda.due = clock.monotonic() + min(remaining, longest_pause(self.snapshot, self.settings))
            else:
                self._decider.facts += (inputs.Resume(),)
        if command is not None and self.is_quiet():
            # The caller relies on the command only after this method, so it needs no place of its own in the store.
            self._decider.facts += (command, *answers)
            self.last_command = self._context.gate.stamp()
        elif command is not None:
            self.accept(command)
        try:
            self._advance()
        finally:
            # Only now, so that a tick does not decide at the same time. If the commit fails, the next tick repeats it.
            self.begun = True

    @property
    def wanted(self) -> effects.Request | None:
        """The request that the next tick will make, or None."""
        return self._agenda.request

    def answer_wanted(self, fact: inputs.Input) -> None:
        """Use `fact` as the answer to the next request, so that this request is not made.

        Call this method only between `begin` and the first tick.
        """
        self._agenda.request = None
        self._decider.facts += (fact,)
        self._advance()

    # --- the tick ----------------------------------------------------------------------------------------

    def tick(self) -> Outcome:
        """Announce events, handle inputs, and make a request, or two if no handler must be called in between.

        Raises only errors for which `must_propagate` is true.
        """
        with self._lock:
            self._ticking = True
        try:
            if self.stop_reason is None and self._taken is not None:
                return Outcome(lost=self._taken)
            if not self.begun and self.stop_reason is None:
                with self.lock, self.door:
                    # Another OS thread may have begun or withdrawn the driver before the locks were free.
                    if not self.begun and self.stop_reason is None:
                        self.begin()
            self._announce()
            return Outcome(due=self._step(), idle=self._decider.idle, left=self._left)
        except StoreTaken as error:
            log.error("%s: %s", self.thread_id, error)  # noqa: TRY400 - the sentence says it all
            self._agenda.request = None
            self._decider.forget()
            if self.stop_reason is not None:
                self._finish()
            return Outcome(lost=error, left=self._left)
        except BaseException as error:
            # The store has failed, or there is a defect: tick again later. Other threads continue.
            nothing_left = self._agenda.is_empty and self._decider.is_done
            if self.begun and self.snapshot.pending is not None and nothing_left:
                # The outcome of a request was lost, so the thread continues as after a crash.
                self._decider.facts = (inputs.Resume(),)
            if must_propagate(error):
                raise
            if isinstance(error, StoreError):
                log.warning("%s: the tick failed; trying again: %s", self.thread_id, error)
            else:
                log.exception("%s: the tick failed; trying again", self.thread_id)
            return Outcome(due=self._context.clock.monotonic() + self.settings.request_retry_delay)
        finally:
            self._end_tick()

    def _end_tick(self) -> None:
        """Show the result of the tick to those who wait. The lock is not held, because they take locks of their own."""
        try:
            if self.announcer.inquiries:
                self.announcer.observe(self.snapshot, self.commands())
        finally:
            with self._lock:
                self._ticking = False
            self.waiters.notify()

    def _step(self) -> float | None:
        """Take one step. Return when the next step is due, in monotonic seconds, or None."""
        if self.stop_reason is not None:
            self._finish()
            return None
        if self._inbox.read_commands():
            self.last_command = self._context.gate.stamp()
        # Commands come before deadlines: a decision that was accepted in time is valid, even after its deadline.
        permitted = self._advance(self._permit)
        if permitted is None:
            self._collect_due()
            permitted = self._advance(self._permit)
        self._make_request(permitted)
        if self._alarms.take_hint():
            self._agenda.come_back_now()
        self._listener.follow(self.snapshot)
        self._announce()
        self._use_tools()
        if self.stop_reason is not None:
            self._finish()
            return None
        if not self.is_quiet() or self._agenda.request is not None or self._listener.has_pieces:
            return self._context.clock.monotonic()
        moments = (self._agenda.due, self._desk.deadline(self.snapshot), *self._ledger.deadlines.moments)
        return min((moment for moment in moments if moment is not None), default=None)

    def _use_tools(self) -> None:
        """Let functions answer calls. Before a function runs, its start is saved and the lease is checked."""
        if self.stop_reason is not None or not self.is_quiet():
            # A waiting command may contain the output of a call, and only the first output of a call is used.
            return
        self._decider.facts += tuple(self._desk.next_inputs(self.snapshot, self.announcer.is_heard))
        if not self._decider.facts and not self._desk.has_decided_a_start:
            return
        permitted = self._advance(None if self._desk.has_decided_a_start else self._permit)
        if self._desk.has_decided_a_start:
            if self.lease is None or not self.lease.holds():
                raise driven_elsewhere(self.thread_id)
            self._desk.start(self.snapshot, self.announcer.sender)
        if permitted is not None:
            self._make_request(permitted)
            self._listener.follow(self.snapshot)
        self._announce()

    def _permit(self, request: effects.Request) -> CallLimits | None:
        """See `Permit`."""
        return None if self.stop_reason is not None else self._sender.permit(request, self, self.settings)

    def _make_request(self, permitted: CallLimits | None) -> None:
        """Make the next request and handle its answer, unless the request is held back.

        `permitted`: the limits of the request, if it already counts as sent. If the decision about the answer permits
        another request, make this one, too.
        """
        sender = self._sender
        while (request := self._decider.next_request) is not None:
            if permitted is None:
                # Call handlers before the request: they may stop the agent, and their time must not shorten the
                # request's time.
                self._announce()
                if self.stop_reason is not None:
                    return
            fact = sender.send(request, self, self.settings, permitted)
            if fact is None:
                return
            self._agenda.request = None
            self._decider.facts += (fact,)
            if (permitted := self._advance(self._permit)) is None:
                return

    def _collect_due(self) -> None:
        """Add each due input to the facts; add the agenda's timer only if no other input must come first."""
        for fact in self._alarms.collect(self.settings):
            # Each input is yielded only once, so it is kept even if the next one fails.
            self._decider.facts += (fact,)
        if self._agenda.is_due and not self._decider.facts and self.is_quiet():
            self._decider.facts = (self._agenda.take_due(),)

    def _advance(self, permit: Permit | None = None) -> CallLimits | None:
        """See `Decider.advance`."""
        return self._decider.advance(self._context.clock, self.settings, permit)

    # --- announcing, and the end ----------------------------------------------------------------------------

    def _announce(self) -> None:
        def has_time() -> bool:
            return self.is_quiet() and self._agenda.request is None and not self._agenda.is_due

        self.announcer.announce(lambda: self.stop_reason is None, has_time)

    def _finish(self) -> None:
        """End the driver. A decided request is saved as not sent, so that it is not in doubt for a later driver.

        A decision to start a function is not saved, because this driver will not run the function.
        """
        if self._left:
            return
        self._desk.leave()
        self._listener.close()
        if self.lease is not None and self.lease.holds():
            with contextlib.suppress(StoreError):
                if not self._desk.has_decided_a_start:
                    self._decider.save(self.settings)
                self._sender.save_progress(self.settings)
        # The next driver must find a command that is being accepted now, so wait for the door. After `close`
        # there is no next driver, so do not wait: the handler of an operating system signal may have called `close`
        # while it interrupted the code that holds the door.
        with contextlib.nullcontext() if self.stop_reason == "runtime_closed" else self.door:
            self._left = True
        if self._context.shared is not None:
            log.debug("%s: let go (%s)", self.thread_id, self.stop_reason)
        self.announcer.announce_end(events.AgentStopped(thread_id=self.thread_id, reason=str(self.stop_reason)))
        self._ledger.close()
        self._context.gate.forget(self)
