"""A network between the library and a server in memory.

It loses and delays requests, and garbles answers, at random. The same seed gives the same faults.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs

from gpt_agent_fsm.backends.http import exchange, outcomes
from gpt_agent_fsm.backends.http.transport_errors import TransportFailure
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import CallLimits, Timeout
from gpt_agent_fsm.testing.answers import FaultyAnswer, random_gateway_answer
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.crashing import Crash, StoreHandle

__all__ = ["Crash", "Faults", "FaultyNetwork", "Outage"]

T = TypeVar("T")
_MAX_STALE = 2
_START = re.compile(r"POST (.*/(messages|runs) .*|/responses (?!.*gpt_agent_fsm_run).*|.*/items .*'type': 'message'.*)")


@attrs.frozen(kw_only=True)
class Outage:
    """A period in which certain requests have no effect. Either they are denied, or a gateway or proxy answers them.

    Attributes:
        requests: a regular expression that matches these requests, such as `GET /threads/.*`.
        since, until: the beginning and the end of the period, in seconds of the monotonic clock.
        answer: the HTTP answer to each of these requests.
    """

    requests: str
    since: float
    until: float
    answer: FaultyAnswer

    def affects(self, request: str, now: float) -> bool:
        """Return whether a request at this time is affected by the outage."""
        return self.since <= now < self.until and re.fullmatch(self.requests, request) is not None


@attrs.frozen(kw_only=True)
class Faults:
    """The probabilities of the faults of each request, and the grace. A request without a fault succeeds.

    Attributes:
        lost: the probability that the request never arrives.
        answer_lost: the probability that the request takes effect, but its answer never arrives.
        late: the probability that the request takes effect only after the client has timed out.
        grace: the longest time from the client's timeout until a late request takes effect, in seconds.
        limited: the probability that the answer is HTTP 429, and the request has no effect.
        error_before: the probability that the answer is HTTP 500, and the request has no effect.
        error_after: the probability that the answer is HTTP 500, but the request takes effect.
        garbage: the probability that the request takes effect, but its answer is not valid.
        stale: the probability that a poll of a run gets the answer of the previous poll. This happens at most twice
            until the run is answered freshly, however many polls fail in between.
        crash: the probability that the process crashes before or after the request.
        gateway: the probability that a gateway answers in place of the server, with an HTTP error, a redirect or an
            unreadable answer. The request takes effect before this answer, within the grace after it, or never.
        slow: the probability that the next process replaces this process, as if this process had crashed. In fact this
            process is only slow: its request takes effect later, at most two graces from now.
    """

    lost: float = 0.03
    answer_lost: float = 0.03
    late: float = 0.02
    grace: float = 30.0
    limited: float = 0.02
    error_before: float = 0.02
    error_after: float = 0.02
    garbage: float = 0.02
    stale: float = 0.02
    crash: float = 0.01
    gateway: float = 0.0
    slow: float = 0.0


class FaultyNetwork:
    """A network with faults. It decides at random what happens to each request.

    Args:
        scheduler: the scheduler whose virtual time passes during requests, and which delivers late requests.
        rng: the random numbers that decide every fault and delay.
        faults: the probability of each fault.
        journal: the list to which the network adds a line with the fate of each request.
    """

    def __init__(self, scheduler: VirtualScheduler, rng: random.Random, faults: Faults, journal: list[str]) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._faults = faults
        self._journal = journal
        self._last_poll: dict[str, Any] = {}
        self._stale_in_a_row: Counter[str] = Counter()
        self.outages: Sequence[Outage] = ()
        self.before_change: Callable[[], object] = lambda: None
        """A function that is called before each request that changes the server."""
        self.faults_off = False
        """True if no more faults may happen."""
        self.acts_first = False
        """True if the network decides before the time of a request passes when it takes effect. Necessary if other
        clients act in this time, because it may then be longer than a late request takes."""
        self.starts: list[str] = []
        """The requests that post a message or create a run, in order."""
        self.on_start: Callable[[str], object] = lambda what: None
        """A function that is called with each request in `starts` when the request is sent."""
        self.sent_without_right: list[str] = []
        """The requests that a process sent after it had lost the store or after the deadline of the request."""

    def poll(self, path: str, timeout: Timeout, request: Callable[[], T]) -> T:
        """Make a GET that polls a run. Its answer may be stale."""
        may_be_stale = path in self._last_poll and not self.faults_off and self._stale_in_a_row[path] < _MAX_STALE
        if may_be_stale and self._rng.random() < self._faults.stale:
            self._stale_in_a_row[path] += 1
            self._note(f"GET {path}: stale")
            stale: T = self._last_poll[path]
            return stale
        seen = self.read(path, timeout, request)
        self._last_poll[path], self._stale_in_a_row[path] = seen, 0
        return seen

    def check(self, path: str, timeout: Timeout, request: Callable[[], T]) -> T:
        """Make a GET that has no fault except an outage."""
        self._begin("GET", path, timeout)
        return request()

    def read(self, path: str, timeout: Timeout, request: Callable[[], T]) -> T:
        """Make a GET."""
        self._begin("GET", path, timeout)
        fate = self._fate(["lost", "answer_lost", "limited", "error_before", "garbage", "crash", "gateway"])
        self._note(f"GET {path}: {fate}")
        self._take_time(_seconds(timeout) if fate in ("lost", "answer_lost") else None)
        match fate:
            case "crash":
                raise Crash
            case "limited":
                raise self._limit()
            case "gateway":
                raise random_gateway_answer(self._rng).error("GET", path)
            case "lost" | "answer_lost" | "error_before" | "garbage":
                raise TransientError(None, None, f"GET {path}: {fate}")
        return request()

    def change(
        self,
        path: str,
        timeout: Timeout,
        request: Callable[[], T],
        *,
        said: object = None,
        sender: StoreHandle | None = None,
    ) -> T:
        """Make a POST with the body `said`. Raise an error if the POST may no longer be sent.

        If `sender` has lost the store, record the POST in `sent_without_right`.
        """
        what = f"POST {path} {said}"
        self._begin_change(what, path, timeout, sender)
        names = ["lost", "answer_lost", "late", "limited", "error_before", "error_after", "garbage", "crash"]
        fate = self._fate([*names, "gateway", "slow"])
        self._note(f"{what}: {fate}")
        acted = self._act_first(fate, what, timeout, request) if self.acts_first else ()
        self._take_time(_seconds(timeout) if fate == "lost" else None)
        match fate:
            case "lost":
                raise OutcomeUnknown(None, None, f"{what}: lost", in_flight=True)
            case "late":
                self._take_time(_seconds(timeout))
                if not self.acts_first:
                    self._land_later(what, request)
                raise OutcomeUnknown(None, None, f"{what}: late", in_flight=True)
            case "limited":
                raise self._limit()
            case "error_before":
                raise OutcomeUnknown(500, None, f"{what}: failed before")
            case "gateway":
                if not self.acts_first:
                    self._land_anytime(what, request)
                raise random_gateway_answer(self._rng).error("POST", path)
            case "crash" | "slow":
                if not self.acts_first:
                    self._land_after_crash(fate, what, request)
                raise Crash
        answer = acted[0] if acted else request()
        match fate:
            case "answer_lost":
                self._take_time(_seconds(timeout))
                raise OutcomeUnknown(None, None, f"{what}: answer lost", in_flight=True)
            case "error_after" | "garbage":
                raise OutcomeUnknown(500, None, f"{what}: failed after")
        return answer

    def _begin_change(self, what: str, path: str, timeout: Timeout, sender: StoreHandle | None) -> None:
        self.before_change()
        self._begin("POST", path, timeout)
        if _START.fullmatch(what):
            self.starts.append(what)
            self.on_start(what)
        if sender is not None and not sender.is_owned():
            self.sent_without_right.append(what)

    def _begin(self, method: str, path: str, timeout: Timeout) -> None:
        """Raise an error if a request may no longer be sent, or if an outage affects it."""
        limits = exchange.limits_of(timeout)
        exchange.begin(limits)
        exchange.prepare(method)
        try:
            exchange.let_go()
        except OSError as error:
            failure = TransportFailure(
                method=method, url=path, base_url="", proxy="", timeout=limits.seconds_left, error=error
            )
            raise outcomes.error_for_failure(failure) from error
        if limits.seconds_left <= 0:
            self.sent_without_right.append(f"{method} {path}")
        now = self._scheduler.clock.monotonic()
        for outage in self.outages:
            if not self.faults_off and outage.affects(f"{method} {path}", now):
                self._note(f"{method} {path}: HTTP {outage.answer.status}")
                raise outage.answer.error(method, path)

    def _note(self, what: str) -> None:
        self._journal.append(f"{self._scheduler.clock.monotonic():10.3f}  {what}")

    def _fate(self, names: Sequence[str]) -> str:
        """Choose one of the named faults for a request, or no fault."""
        if self.faults_off:
            return "fine"
        draw = self._rng.random()
        for name in names:
            draw -= getattr(self._faults, name)
            if draw < 0:
                return name
        return "fine"

    def _act_first(self, fate: str, what: str, timeout: Timeout, request: Callable[[], T]) -> tuple[T, ...]:
        """Let a request take effect, or arrange when it does. Return its answer if it takes effect now.

        The client may wait for longer than it wants to, but the server knows nothing of that.
        """
        match fate:
            case "fine" | "answer_lost" | "error_after" | "garbage":
                return (request(),)
            case "late":
                self._land_later(what, request, after=_seconds(timeout))
            case "gateway":
                self._land_anytime(what, request)
            case "crash" | "slow":
                self._land_after_crash(fate, what, request)
        return ()

    def _land_after_crash(self, fate: str, what: str, request: Callable[[], Any]) -> None:
        if fate == "slow":
            self._land_later(what, request, graces=2)
        else:
            self._land_anytime(what, request)

    def _land_anytime(self, what: str, request: Callable[[], Any]) -> None:
        """Let a request take effect now, later, or never. Nobody waits for its answer."""
        lands = self._rng.choice(["never", "now", "later"])
        if lands == "now":
            self._land(what, request)
        elif lands == "later":
            self._land_later(what, request)

    def _land_later(self, what: str, request: Callable[[], Any], graces: int = 1, after: float = 0.0) -> None:
        """Let a request take effect at a random time, at most `graces` times `Faults.grace` seconds after `after`."""
        delay = after + self._rng.uniform(0, graces * self._faults.grace) * 0.999
        self._scheduler.call_later(delay, lambda: self._land(what, request))

    def _land(self, what: str, request: Callable[[], Any]) -> None:
        """Let a request take effect. The client no longer waits for its answer."""
        try:
            request()
            self._note(f"{what}: lands")
        except ApiError as error:
            self._note(f"{what}: lands and is refused: {error}")

    def _limit(self) -> TransientError:
        return TransientError(429, None, "limited", retry_after=self._rng.choice([None, 1.0, 20.0]))

    def _take_time(self, seconds: float | None) -> None:
        self._scheduler.sleep(self._rng.uniform(0, 0.5) if seconds is None else seconds)


def _seconds(timeout: Timeout) -> float:
    return max(0.0, timeout.seconds_left) if isinstance(timeout, CallLimits) else timeout
