"""Drive one thread: its inbox, and the tick that empties it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.agenda import Agenda, longest_pause
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.context import DriverContext, Outcome
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.protocols import CallLimits, Lease, Saved
from gpt_agent_fsm.engine.runner import perform
from gpt_agent_fsm.errors import AgentNotAlive, StoreTaken
from gpt_agent_fsm.logs import get_logger, must_propagate
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["Driver"]

log = get_logger(__name__)


class Driver:
    """One thread in this runtime. Only ticks touch its snapshot, and the scheduler runs one tick at a time."""

    __slots__ = (
        "__weakref__",
        "_agenda",
        "_context",
        "_facts",
        "_gate_opened",
        "_idle",
        "_inbox",
        "_key_works",
        "_ledger",
        "_left",
        "_lock",
        "_polls_for_webhook",
        "_ticking",
        "_waiters",
        "announcer",
        "begun",
        "last_command",
        "lease",
        "settings",
        "stop_reason",
        "thread_id",
    )

    def __init__(self, context: DriverContext, snapshot: Snapshot, settings: Settings) -> None:
        self._context = context
        self.thread_id = snapshot.thread_id
        self._ledger = Ledger(snapshot, context.store, context.clock, context.webhooks)
        self.settings = settings
        self.lease: Lease | None = None
        """The right to drive the thread; there is one from before the driver begins until it has left."""
        self.announcer = Announcer(self.thread_id, context.store)
        self.stop_reason: str | None = None
        self.begun = False
        self._lock = threading.RLock()
        self._inbox: deque[tuple[int, inputs.Command]] = deque()
        self._facts: deque[inputs.Input] = deque()
        self._agenda = Agenda(context.clock, context.random)
        self._gate_opened = False
        self._key_works = False
        self.last_command = 0
        self._ticking = False
        self._polls_for_webhook = False
        """The poll that is under way was caused by a webhook."""
        self._idle: str | None = None
        self._left = False
        self._waiters: list[threading.Event] = []

    # --- from any thread ------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """All that is known of the thread."""
        return self._ledger.snapshot

    @property
    def lock(self) -> threading.RLock:
        """Held while the driver begins, accepts a command, or is stopped."""
        return self._lock

    def check_alive(self) -> None:
        """Raise `AgentNotAlive` once stopped."""
        if self.stop_reason is not None:
            then = "make a new runtime and connect" if self.stop_reason == "runtime_closed" else "connect again"
            raise AgentNotAlive(f"The agent of {self.thread_id} was stopped ({self.stop_reason}); {then}.")

    def accept(self, command: inputs.Command) -> None:
        """Take down a command. Returns when the store has it; raises `AgentNotAlive` once stopped."""
        with self._lock:
            self.check_alive()
            self._inbox.append((self._context.store.accept(self.thread_id, command), command))
            self.last_command = self._context.gate.stamp()

    def send(self, command: inputs.Command) -> None:
        """Take down a command and have the thread ticked."""
        self.accept(command)
        self._context.ownership.wake(self.thread_id)

    def subscribe(self, handler: signals.Handler, replay_after: int | None) -> None:
        """See `Announcer.subscribe`; the history is told by the next tick."""
        self.announcer.subscribe(handler, replay_after)
        self._context.ownership.wake(self.thread_id)

    def commands(self) -> list[inputs.Command]:
        """Return the commands that the snapshot does not know of yet, oldest first."""
        with self._lock:
            return [command for _, command in self._inbox]

    def stop(self, reason: str) -> None:
        """Accept nothing more and end with the tick in flight. Idempotent."""
        with self._lock:
            self.stop_reason = self.stop_reason or reason
            self._notify()

    def is_quiet(self) -> bool:
        """Return whether no command waits."""
        with self._lock:
            return not self._inbox

    def is_settled(self) -> bool:
        """Return whether nothing is queued, in flight, unread or unannounced, and no run is on."""
        with self._lock:
            busy = self._inbox or self._facts or self._ticking or not self.begun or not self.announcer.is_done
            return not busy and self.snapshot.settled

    def add_waiter(self, changed: threading.Event) -> None:
        """Set `changed` after each tick and when the driver stops."""
        with self._lock:
            self._waiters.append(changed)

    def remove_waiter(self, changed: threading.Event) -> None:
        """Undo `add_waiter`."""
        with self._lock:
            self._waiters.remove(changed)

    def _notify(self) -> None:
        for waiter in self._waiters:
            waiter.set()

    def try_again(self, *, unpark: bool) -> None:
        """See `gate.Waiting.try_again`."""
        with self._lock:
            self._key_works, self._gate_opened = self._key_works or unpark, True
        self._context.ownership.wake(self.thread_id)

    def describe(self) -> str:
        """See `Task.describe`."""
        handler, request = self.announcer.handler, self.snapshot.request
        if handler is not None:
            doing = f"in handler {signals.name_of(handler)}"
        else:
            doing = f"in request {request.operation}" if request is not None else "at rest"
        return f"thread {self.thread_id} {doing}"

    @property
    def has_work(self) -> bool:
        """True while there is something left to do or to announce."""
        with self._lock:
            return bool(self._inbox) or not self.snapshot.settled or not self.announcer.is_done

    def withdraw(self) -> None:
        """Stop before having begun, and leave no trace in what drivers share."""
        self.stop("not_connected")
        self._ledger.close()

    # --- beginning --------------------------------------------------------------------------------------

    def follow(self, former: Driver) -> None:
        """Answer questions from what the thread's former driver knows, until it has left and this one begins."""
        self._ledger.snapshot = former.snapshot

    def begin(self, saved: Saved | None = None) -> None:
        """Take over what the store has of the thread, its inbox included; announce nothing yet.

        Call it once, before the first tick or as its beginning, holding `lock`. `saved`: what the store has, if it
        was read already.
        """
        saved, clock = saved or self._context.store.load(self.thread_id), self._context.clock
        if saved is not None:
            self._ledger.take_over(saved, self.settings)
            self._inbox = deque(saved.inbox)
            self.announcer.take_over(saved)
            remaining = 0.0 if saved.due is None else saved.due - clock.time()
            if remaining > 0 and self.snapshot.has_waiting_request:
                self._agenda.due = clock.monotonic() + min(remaining, longest_pause(self.snapshot, self.settings))
            else:
                self._facts.append(inputs.Resume())
        self._advance()
        self.begun = True

    @property
    def wanted(self) -> effects.Request | None:
        """The request that the next tick will make, if it makes one."""
        return self._agenda.request

    def answer_wanted(self, fact: inputs.Input) -> None:
        """Answer the wanted request with what is known already. Only between `begin` and the first tick."""
        self._agenda.request = None
        self._facts.append(fact)
        self._advance()

    # --- the tick ----------------------------------------------------------------------------------------

    def tick(self) -> Outcome:
        """Announce, take in what has come, make at most one request; raises only what `must_propagate`."""
        with self._lock:
            self._ticking = True
        try:
            if not self.begun and self.stop_reason is None:
                with self._lock:
                    self.begin()
            self._announce()
            return Outcome(due=self._step(), idle=self._idle, left=self._left)
        except StoreTaken as error:
            log.error("%s: %s", self.thread_id, error)  # noqa: TRY400 - the sentence says it all
            self._agenda.request = None
            if self.stop_reason is not None:
                self._finish()
            return Outcome(lost="store_taken", left=self._left)
        except BaseException as error:
            # The store failed, or a defect: keep what is known, come back later, let others continue.
            if self.begun and self.snapshot.pending is not None and self._agenda.is_empty and not self._facts:
                # The outcome of a request was lost: continue as after a crash.
                self._facts.append(inputs.Resume())
            if must_propagate(error):
                raise
            log.exception("%s: the tick failed; trying again", self.thread_id)
            return Outcome(due=self._context.clock.monotonic() + self.settings.request_retry_delay)
        finally:
            with self._lock:
                self._ticking = False
                self._notify()

    def _step(self) -> float | None:
        """Take one step; return when the next is due."""
        clock = self._context.clock
        if self.stop_reason is not None:
            self._finish()
            return None
        self._collect_due()
        self._advance()
        self._make_request()
        if self._take_webhook():
            self._agenda.come_back_now()
        self._announce()
        if self.stop_reason is not None:
            self._finish()
            return None
        if not self.is_quiet():
            return clock.monotonic()
        next_request = clock.monotonic() if self._agenda.request is not None else None
        moments = (next_request, self._agenda.due, *self._ledger.deadlines.moments)
        return min((moment for moment in moments if moment is not None), default=None)

    def _make_request(self) -> None:
        """Make the request that is wanted and take in its answer, unless it is held back."""
        if self._agenda.request is None:
            return
        # Handlers first: what they do may stop the agent, and how long they take is nobody else's time.
        self._announce()
        if self.stop_reason is not None:
            return
        # A command may have changed it since it was wanted.
        request = self.snapshot.request or self._agenda.request
        verdict = self._context.gate.admit(self, request)
        if isinstance(verdict, float):
            self._put_back(verdict)
            return
        fact = self._perform(request) if verdict is None else verdict
        self._agenda.request = None
        self._facts.append(fact)
        self._advance()

    def _perform(self, request: effects.Request) -> inputs.Input:
        """Make a request and return its answer. Nothing but the request follows the commit that says it is sent."""
        context, lease = self._context, self.lease
        if lease is None or not lease.holds():
            raise StoreTaken(f"{self.thread_id} is driven by another process now.")
        limits = CallLimits(
            deadline=context.clock.monotonic() + self.settings.request_timeout,
            clock=context.clock,
            may_send=lease.holds,
            max_answer_bytes=self.settings.max_answer_bytes,
        )
        if request.changes_server:
            self._commit(self.snapshot.with_request(sent=True), 0, [], limits.deadline)
            self._agenda.request = None
        fact = perform(context.backend, self.thread_id, request, limits)
        context.gate.learn(self, request, fact)
        return fact

    def _put_back(self, due: float | None) -> None:
        """Note that the request that was wanted was not sent; it waits for its time."""
        self._commit(self.snapshot.with_request(sent=False), 0, [], due)
        self._agenda.hold(due)

    def _collect_due(self) -> None:
        """Turn what is due into facts, once nothing else must be taken in first."""
        with self._lock:
            key_works, gate_opened = self._key_works, self._gate_opened
            self._key_works = self._gate_opened = False
        if key_works:
            self._facts.append(inputs.QuotaRestored())
        if (gate_opened and self._agenda.held_by_gate) or self._take_webhook():
            self._agenda.come_back_now()
        self._facts.extend(self._ledger.deadlines.passed(self.settings))
        if self._agenda.is_due and not self._facts and self.is_quiet():
            self._facts.append(self._agenda.take_due())

    def _take_webhook(self) -> bool:
        """Consume the webhook for the response that the next poll is about; return whether there was one."""
        snapshot, run = self.snapshot, self.snapshot.run
        polls = snapshot.has_waiting_request and isinstance(snapshot.request, effects.GetRun)
        waits = polls and not self._agenda.held_by_gate and run is not None
        self._polls_for_webhook = waits and run is not None and self._context.webhooks.pop_ended(run.handle)
        return self._polls_for_webhook

    # --- taking in ---------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Advance by the facts and commands that are waiting, and commit the result as one."""
        with self._lock:
            commands = list(self._inbox)
        if not self._facts and not commands:
            return
        snapshot, wanted, happened = self.snapshot, list[effects.Effect](), list[events.Event]()
        for input_ in (*self._facts, *(command for _, command in commands)):
            try:
                snapshot, new_effects, new_events = advance(snapshot, input_, self.settings)
            except Exception:
                # A defect of ours. Continue as after a crash: from what was saved, asking the server if in doubt.
                log.exception("%s: %s was dropped", self.thread_id, input_.trigger)
                self._agenda.recover()
                continue
            if any(isinstance(effect, effects.Request) and effect.changes_server for effect in new_effects):
                # It counts as sent from right before it is made: handlers come first, and the gate may hold it back.
                snapshot = snapshot.with_request(sent=False)
            wanted.extend(new_effects)
            happened.extend(new_events)
            self._log_ignored(input_, new_effects)
        request, due = self._agenda.after(wanted, self._min_pause(snapshot))
        self._commit(snapshot, commands[-1][0] if commands else 0, happened, due)
        with self._lock:
            for _ in commands:
                self._inbox.popleft()
        self._facts.clear()
        self._agenda.follow(request, due)
        self._idle = next((effect.reason for effect in wanted if isinstance(effect, effects.Stop)), None)

    def _min_pause(self, snapshot: Snapshot) -> float:
        """Return how long to wait at least: polls are rare while webhooks arrive."""
        # A poll that a webhook caused a little too early is not to be the last for long.
        if snapshot.polls and not self._polls_for_webhook and self._context.webhooks.are_arriving:
            return min(self.settings.webhook_heartbeat_interval, self.settings.idle_timeout)
        return 0.0

    def _log_ignored(self, input_: inputs.Input, happened: Iterable[effects.Effect]) -> None:
        """Log ignored inputs: a warning for a command without effect, not for a fact that is old news."""
        level = logging.WARNING if isinstance(input_, inputs.Command) else logging.DEBUG
        for effect in happened:
            if isinstance(effect, effects.Ignore):
                log.log(level, "%s: %s was ignored: %s", self.thread_id, input_.trigger, effect.reason)

    def _commit(self, snapshot: Snapshot, consumed: int, happened: list[events.Event], due: float | None) -> None:
        self.announcer.add(self._ledger.commit(snapshot, consumed, happened, due, self.settings))

    # --- telling, and the end ----------------------------------------------------------------------------

    def _announce(self) -> None:
        self.announcer.announce(lambda: self.stop_reason is None)

    def _finish(self) -> None:
        """End: whatever was decided and not sent is put back, so that nobody has to ask the server about it."""
        if self._left:
            return
        if self._agenda.request is not None and self.lease is not None and self.lease.holds():
            self._put_back(None)
        if not self.snapshot.settled or self._inbox:
            log.warning(
                "%s: stopped (%s) with work left; it continues when the thread is connected again, from the data in "
                "the store. A MemoryStore ends with the process: call agent.wait() before you close.",
                self.thread_id,
                self.stop_reason,
            )
        stopped = events.AgentStopped(thread_id=self.thread_id, reason=str(self.stop_reason))
        self._left = True
        self.announcer.announce_end(stopped)
        self._ledger.close()
        self._context.gate.forget(self)
