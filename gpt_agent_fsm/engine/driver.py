"""Drive one thread: its inbox, the tick that empties it, and the commit that is the only door to its state."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable

import attrs

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.deadlines import Deadlines
from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.engine.protocols import Backend, Clock, Saved, Store
from gpt_agent_fsm.engine.runner import perform
from gpt_agent_fsm.engine.webhooks import Webhooks
from gpt_agent_fsm.errors import AgentNotAlive, StoreTaken
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["Driver", "Ports"]

log = logging.getLogger(__name__)

_RECOVERY = 1.0
"""Seconds until a thread on which a defect of ours dropped an input goes on."""


@attrs.frozen(kw_only=True)
class Ports:
    """What every driver of a runtime shares.

    Attributes:
        gate: stands between all threads of the key and the API.
        webhooks: what the server has told of by itself.
        wake: asks the scheduler for a tick.
        remove: takes a driver out of the runtime, whatever it is at.
        retire: takes a driver out of the runtime if its inbox is empty; called from a tick.
        may_begin: True once the thread's former driver has ended its last tick.
        left: told when a stopped driver has ended its last tick.
    """

    backend: Backend
    store: Store
    clock: Clock
    gate: Gate
    webhooks: Webhooks
    random: random.Random
    wake: Callable[[Driver], None]
    retire: Callable[[Driver, str], None]
    remove: Callable[[Driver, str], None]
    may_begin: Callable[[Driver], bool]
    left: Callable[[Driver], None]


class Driver:
    """One thread in this runtime. Only ticks touch its snapshot, and the scheduler runs one tick at a time."""

    __slots__ = (
        "__weakref__",
        "_deadlines",
        "_due",
        "_facts",
        "_held",
        "_hurry",
        "_inbox",
        "_key_works",
        "_left",
        "_lock",
        "_ports",
        "_request",
        "_ticking",
        "_told",
        "_waiters",
        "_when_due",
        "announcer",
        "begun",
        "last_word",
        "settings",
        "snapshot",
        "stop_reason",
        "thread_id",
    )

    def __init__(self, ports: Ports, snapshot: Snapshot, settings: Settings) -> None:
        self._ports = ports
        self.thread_id = snapshot.thread_id
        self.snapshot = snapshot
        self.settings = settings
        self.announcer = Announcer(self.thread_id, ports.store)
        self.stop_reason: str | None = None
        self.begun = False
        self._lock = threading.RLock()
        self._inbox: deque[tuple[int, inputs.Command]] = deque()
        self._facts: deque[inputs.Input] = deque()
        self._request: effects.Request | None = None
        self._due: float | None = None
        self._when_due: inputs.TimerDue | inputs.Resume = inputs.TimerDue()
        self._deadlines = Deadlines(ports.clock)
        self._held = False
        """The request waits for its time at the gate, and not for one of its own."""
        self._hurry = False
        self._key_works = False
        self.last_word = 0
        self._ticking = False
        self._told = False
        """The look that is under way was caused by a webhook."""
        self._left = False
        self._waiters: list[threading.Event] = []

    # --- from any thread ------------------------------------------------------------------------------

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
            self._inbox.append((self._ports.store.accept(self.thread_id, command), command))
            self.last_word = self._ports.gate.stamp()

    def send(self, command: inputs.Command) -> None:
        """Take down a command and wake the scheduler."""
        self.accept(command)
        self._ports.wake(self)

    def commands(self) -> list[inputs.Command]:
        """Return the commands that the snapshot does not know of yet, oldest first."""
        with self._lock:
            return [command for _, command in self._inbox]

    def subscribe(self, handler: signals.Handler, replay_after: int | None) -> None:
        """See `Announcer.subscribe`; the history is told by the next tick."""
        self.announcer.subscribe(handler, replay_after)
        self._ports.wake(self)

    def stop(self, reason: str) -> None:
        """Accept nothing more and end with the tick in flight. Idempotent."""
        with self._lock:
            self.stop_reason = self.stop_reason or reason
            self._notify()

    def is_quiet(self) -> bool:
        """True when no command waits."""
        with self._lock:
            return not self._inbox

    def is_settled(self) -> bool:
        """True when nothing is queued, in flight, unread or unannounced, and no run is on."""
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

    def describe(self) -> str:
        """See `Task.describe`."""
        handler, request = self.announcer.handler, self.snapshot.request
        if handler is not None:
            doing = f"in handler {signals.name_of(handler)}"
        else:
            doing = f"in request {request.operation}" if request is not None else "at rest"
        return f"thread {self.thread_id} {doing}"

    # --- beginning --------------------------------------------------------------------------------------

    def begin(self, saved: Saved | None = None) -> None:
        """Take over what the store has of the thread, its inbox included; announce nothing yet.

        Call it once, before the first tick or as its beginning, holding `lock`. `saved`: what the store has, if it
        was read already.
        """
        saved, clock = saved or self._ports.store.load(self.thread_id), self._ports.clock
        if saved is not None:
            self._deadlines.begin(saved.snapshot, self.settings)
            self.snapshot = saved.snapshot
            self._inbox = deque(saved.inbox)
            self.announcer.take_over(saved)
            remaining = None if saved.due is None else saved.due - clock.time()
            if remaining is not None and remaining > 0 and self.snapshot.has_waiting_request:
                self._due = clock.monotonic() + remaining
            else:
                self._facts.append(inputs.Resume())
        self._absorb()
        self.begun = True

    @property
    def wanted(self) -> effects.Request | None:
        """The request that the next tick will make, if it makes one."""
        return self._request

    def tell(self, fact: inputs.Input) -> None:
        """Answer the wanted request with what is known already. Only between `begin` and the first tick."""
        self._request = None
        self._facts.append(fact)
        self._absorb()

    # --- the tick ----------------------------------------------------------------------------------------

    def tick(self) -> float | None:
        """Announce, take in what has come, make at most one request. See `Task.tick`."""
        with self._lock:
            self._ticking = True
        try:
            if not self.begun and self.stop_reason is None:
                if not self._ports.may_begin(self):
                    return None
                with self._lock:
                    self.begin()
            self._announce()
            return self._step()
        except StoreTaken as error:
            log.error("%s: %s", self.thread_id, error)  # noqa: TRY400 - the sentence says it all
            self._request = None
            self._ports.remove(self, "store_taken")
            return None
        except Exception:
            # The store failed, or a defect of ours: keep what is known, come back later, let others go on.
            log.exception("%s: the tick failed; trying again", self.thread_id)
            return self._ports.clock.monotonic() + self.settings.request_retry_delay
        finally:
            with self._lock:
                self._ticking = False
                self._notify()

    def _step(self) -> float | None:
        clock = self._ports.clock
        if self.stop_reason is not None:
            self._leave()
            return None
        self._tell_the_time()
        self._absorb()
        self._make_request()
        if self._end_was_told():
            self._due = clock.monotonic()
        self._announce()
        if self.stop_reason is not None:
            self._leave()
            return None
        if not self.is_quiet():
            return clock.monotonic()
        next_request = clock.monotonic() if self._request is not None else None
        moments = (next_request, self._due, *self._deadlines.moments)
        return min((moment for moment in moments if moment is not None), default=None)

    def _make_request(self) -> None:
        """Make the request that is wanted and take in its answer, unless it is held back."""
        if self._request is None:
            return
        # Handlers first: what they do may stop the agent, and how long they take is nobody else's time.
        self._announce()
        if self.stop_reason is not None:
            return
        verdict = self._ports.gate.admit(self, self._request)
        if isinstance(verdict, float):
            self._put_back(verdict)
            return
        request, self._request = self._request, None
        fact: inputs.Input
        if verdict is None:
            fact = perform(self._ports.backend, self.thread_id, request, self.settings.request_timeout)
            self._ports.gate.learn(self, request, fact)
        else:
            fact = verdict
        self._facts.append(fact)
        self._absorb()

    def _put_back(self, due: float | None) -> None:
        """Note that the request that was wanted was not sent; it waits for its time."""
        self._commit(attrs.evolve(self.snapshot, sent=False), 0, [], due)
        self._request, self._due, self._held = None, due, True

    def go_on(self, *, unpark: bool) -> None:
        """See `gate.Waiting.go_on`."""
        with self._lock:
            self._key_works, self._hurry = self._key_works or unpark, True
        self._ports.wake(self)

    def _tell_the_time(self) -> None:
        """Turn what is due into facts, once nothing else is to be taken in first."""
        now = self._ports.clock.monotonic()
        with self._lock:
            key_works, hurry = self._key_works, self._hurry
            self._key_works = self._hurry = False
        if key_works:
            self._facts.append(inputs.KeyWorks())
        if (hurry and self._held) or self._end_was_told():
            self._due = now
        self._facts.extend(self._deadlines.passed(self.settings))
        if self._is_due():
            self._facts.append(self._when_due)
            self._when_due = inputs.TimerDue()

    def _end_was_told(self) -> bool:
        """True, once, when the look that waits for its time is at a response which is said to have ended."""
        snapshot = self.snapshot
        waits = snapshot.has_waiting_request and isinstance(snapshot.request, effects.GetRun) and not self._held
        self._told = waits and self._ports.webhooks.has_ended(snapshot.run_handle)
        return self._told

    def _is_due(self) -> bool:
        """True when the timer is over and nothing else is to be taken in first."""
        free = self._request is None and not self._facts and self.is_quiet()
        return free and self._due is not None and self._ports.clock.monotonic() >= self._due

    def _absorb(self) -> None:
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
                # A defect of ours. Go on as after a crash: from what was saved, asking the server where in doubt.
                log.exception("%s: %s was dropped", self.thread_id, input_.trigger)
                self._due, self._when_due = self._ports.clock.monotonic() + _RECOVERY, inputs.Resume()
                continue
            wanted.extend(new_effects)
            happened.extend(new_events)
            self._log_ignored(input_, new_effects)
        request, due = self._plan(wanted, snapshot)
        self._commit(snapshot, commands[-1][0] if commands else 0, happened, due)
        with self._lock:
            for _ in commands:
                self._inbox.popleft()
        self._facts.clear()
        self._held = self._held and (request, due) == (self._request, self._due)
        self._request, self._due = request, due
        for effect in wanted:
            if isinstance(effect, effects.Stop):
                self._ports.retire(self, effect.reason)

    def _plan(
        self, wanted: Iterable[effects.Effect], snapshot: Snapshot
    ) -> tuple[effects.Request | None, float | None]:
        """Return the request to make next and the time to come back: the last that was wanted replaces the others."""
        request, due = self._request, self._due
        for effect in wanted:
            if isinstance(effect, effects.Wait):
                pause = effect.seconds + effect.spread * self._ports.random.random()
                # A look that a webhook caused a little too early is not to be the last for long.
                if snapshot.polls and not self._told and self._ports.webhooks.are_arriving:
                    pause = max(pause, min(self.settings.webhook_heartbeat_interval, self.settings.idle_timeout))
                request, due = None, self._ports.clock.monotonic() + pause
            elif isinstance(effect, effects.Stop):
                request, due = None, None
            elif not isinstance(effect, effects.Ignore):
                request, due = effect, None
        return request, due

    def _log_ignored(self, input_: inputs.Input, happened: Iterable[effects.Effect]) -> None:
        """A command that comes to nothing is worth a warning; a fact that is old news is not."""
        level = logging.WARNING if isinstance(input_, inputs.Command) else logging.DEBUG
        for effect in happened:
            if isinstance(effect, effects.Ignore):
                log.log(level, "%s: %s was ignored: %s", self.thread_id, input_.trigger, effect.reason)

    def _commit(self, snapshot: Snapshot, consumed: int, happened: list[events.Event], due: float | None) -> None:
        if consumed or happened or not snapshot.differs_only_by_a_look(self.snapshot):
            self._save(snapshot, consumed, happened, due)
        self._deadlines.follow(self.snapshot, snapshot, self.settings)
        self.snapshot = snapshot

    def _save(self, snapshot: Snapshot, consumed: int, happened: list[events.Event], due: float | None) -> None:
        clock = self._ports.clock
        at = clock.time()
        due_at = None if due is None else at + due - clock.monotonic()
        records = self._ports.store.commit(snapshot, consumed=consumed, events=happened, at=at, due=due_at)
        self.announcer.add(records)

    def _leave(self) -> None:
        """End: whatever was decided and not sent is put back, so that nobody has to ask the server about it."""
        if self._left:
            return
        if self._request is not None:
            self._put_back(None)
        if not self.snapshot.settled or self._inbox:
            log.warning(
                "%s: stopped (%s) before all was said and heard; it goes on when the thread is connected again, from "
                "what the store has kept. With MemoryStore that is nothing: call agent.wait() before you close.",
                self.thread_id,
                self.stop_reason,
            )
        stopped = events.AgentStopped(thread_id=self.thread_id, reason=str(self.stop_reason))
        self._left = True
        self.announcer.tell_the_end(stopped)
        self._ports.gate.forget(self)
        self._ports.left(self)

    def _announce(self) -> None:
        self.announcer.announce(lambda: self.stop_reason is None)
