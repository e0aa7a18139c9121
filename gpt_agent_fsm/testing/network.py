"""A network that loses, delays and garbles, by a seed, between the library and a server in memory."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from gpt_agent_fsm.backends.responses.wire import converter
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import MessagePage, Run, RunPage
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.conversations import SimulatedConversations
from gpt_agent_fsm.testing.server import SimulatedServer

__all__ = ["Crash", "Faults", "FaultyBackend", "FaultyHttp", "FaultyNetwork"]

T = TypeVar("T")
_MAX_STALE = 2


class Crash(BaseException):
    """The process is killed at this very point. Nothing in the library may catch it."""

    ends_the_process = True


@attrs.frozen(kw_only=True)
class Faults:
    """How likely each fault is, for each request; what is left is a request that goes well.

    Attributes:
        lost: the request never arrives.
        answer_lost: it takes effect and its answer never arrives.
        late: it takes effect only after the client has given up on it.
        grace: seconds within which a late request lands; the network promises to drop it after that.
        limited: HTTP 429, nothing took effect.
        error_before, error_after: HTTP 500, without and with effect.
        garbage: an answer that cannot be read; the request took effect.
        stale: a look at a run brings the answer of the look before, twice in a row at most.
        crash: the process dies, before or after the request.
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


class FaultyNetwork:
    """Decides by `faults` what becomes of each request that goes through it, and writes it down in `journal`.

    Args:
        scheduler: whose time requests take, and in which late ones land.
        rng: decides about everything.
    """

    def __init__(self, scheduler: VirtualScheduler, rng: random.Random, faults: Faults, journal: list[str]) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._faults = faults
        self._journal = journal
        self._last_look: dict[str, Any] = {}
        self._stale_in_a_row = 0
        self.faults_off = False
        """True from where the world is to be friendly: no faults any more."""

    def look(self, what: str, timeout: float, request: Callable[[], T]) -> T:
        """Make a request that only reads, and that may bring what the same one brought before."""
        may_be_stale = what in self._last_look and not self.faults_off and self._stale_in_a_row < _MAX_STALE
        if may_be_stale and self._rng.random() < self._faults.stale:
            self._stale_in_a_row += 1
            self._note(f"{what}: stale")
            stale: T = self._last_look[what]
            return stale
        self._stale_in_a_row = 0
        seen = self.read(what, timeout, request)
        self._last_look[what] = seen
        return seen

    def read(self, what: str, timeout: float, request: Callable[[], T]) -> T:
        """Make a request that only reads."""
        fate = self._fate(["lost", "answer_lost", "limited", "error_before", "garbage", "crash"])
        self._note(f"{what}: {fate}")
        self._take_time(timeout if fate in ("lost", "answer_lost") else None)
        match fate:
            case "crash":
                raise Crash
            case "limited":
                raise self._limit()
            case "lost" | "answer_lost" | "error_before" | "garbage":
                raise TransientError(None, None, f"{what}: {fate}")
        return request()

    def change(self, what: str, timeout: float, request: Callable[[], T]) -> T:
        """Make a request that changes the server."""
        names = ["lost", "answer_lost", "late", "limited", "error_before", "error_after", "garbage", "crash"]
        fate = self._fate(names)
        self._note(f"{what}: {fate}")
        self._take_time(timeout if fate == "lost" else None)
        match fate:
            case "lost":
                raise OutcomeUnknown(None, None, f"{what}: lost", in_flight=True)
            case "late":
                self._take_time(timeout)
                self._scheduler.call_later(
                    self._rng.uniform(0, self._faults.grace) * 0.999, lambda: self._land(what, request)
                )
                raise OutcomeUnknown(None, None, f"{what}: late", in_flight=True)
            case "limited":
                raise self._limit()
            case "error_before":
                raise OutcomeUnknown(500, None, f"{what}: failed before")
            case "crash":
                self._crash(what, request)
        answer = request()
        match fate:
            case "answer_lost":
                self._take_time(timeout)
                raise OutcomeUnknown(None, None, f"{what}: answer lost", in_flight=True)
            case "error_after" | "garbage":
                raise OutcomeUnknown(500, None, f"{what}: failed after")
        return answer

    def _note(self, what: str) -> None:
        self._journal.append(f"{self._scheduler.clock.monotonic():10.3f}  {what}")

    def _fate(self, names: Sequence[str]) -> str:
        """Choose what happens to a request."""
        if self.faults_off:
            return "fine"
        draw = self._rng.random()
        for name in names:
            draw -= getattr(self._faults, name)
            if draw < 0:
                return name
        return "fine"

    def _crash(self, what: str, request: Callable[[], Any]) -> None:
        """Die while the request is on its way: it lands now, later, or never."""
        lands = self._rng.choice(["never", "now", "later"])
        if lands == "now":
            self._land(what, request)
        elif lands == "later":
            delay = self._rng.uniform(0, self._faults.grace) * 0.999
            self._scheduler.call_later(delay, lambda: self._land(what, request))
        raise Crash

    def _land(self, what: str, request: Callable[[], Any]) -> None:
        """Let a request take effect that nobody waits for any more."""
        try:
            request()
            self._note(f"{what}: lands")
        except ApiError as error:
            self._note(f"{what}: lands and is refused: {error}")

    def _limit(self) -> TransientError:
        return TransientError(429, None, "limited", retry_after=self._rng.choice([None, 1.0, 20.0]))

    def _take_time(self, seconds: float | None) -> None:
        self._scheduler.sleep(self._rng.uniform(0, 0.5) if seconds is None else seconds)


def _virtual(timeout: float) -> float:
    """Return the time-out without the real time that an operation has taken so far: a seed knows nothing of it."""
    return float(math.ceil(timeout))


class FaultyHttp:
    """What `ResponsesBackend` takes for its HTTP client: forwards to `server` what the network lets through."""

    base_url = "http://simulated/v1"

    def __init__(self, server: SimulatedConversations, network: FaultyNetwork) -> None:
        self._server = server
        self._network = network

    def get(self, path: str, shape: type[T], *, params: Mapping[str, str] | None = None, timeout: float) -> T:
        """See `HttpClient.get`."""

        def request() -> T:
            return converter.structure(self._server.get(path, params or {}), shape)

        if path.startswith("/responses/"):
            return self._network.look(f"GET {path}", _virtual(timeout), request)
        return self._network.read(f"GET {path}", _virtual(timeout), request)

    def post(self, path: str, body: dict[str, Any], shape: type[T], *, timeout: float) -> T:
        """See `HttpClient.post`."""
        return self._network.change(
            f"POST {path} {body}", _virtual(timeout), lambda: converter.structure(self._server.post(path, body), shape)
        )

    def close(self) -> None:
        """See `HttpClient.close`."""


class FaultyBackend:
    """A `Backend` that forwards to `server` what the network lets through."""

    def __init__(self, server: SimulatedServer, network: FaultyNetwork) -> None:
        self._server = server
        self._network = network

    def create_thread(self, *, timeout: float) -> str:
        """See `Backend.create_thread`."""
        return self._server.create_thread(timeout=timeout)

    def get_thread(self, thread_id: str, *, timeout: float) -> None:
        """See `Backend.get_thread`."""
        self._server.get_thread(thread_id, timeout=timeout)

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, repeats: str | None = None, timeout: float
    ) -> RunPage:
        """See `Backend.list_runs`."""
        return self._network.read(
            "list_runs",
            timeout,
            lambda: self._server.list_runs(thread_id, limit=limit, key=key, repeats=repeats, timeout=timeout),
        )

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: float) -> tuple[str, bool]:
        """See `Backend.post_message`."""
        return self._network.change(
            f"post_message {content!r}",
            timeout,
            lambda: self._server.post_message(thread_id, content, key=key, timeout=timeout),
        )

    def create_run(
        self, thread_id: str, assistant_id: str, *, key: str, repeats: str | None = None, timeout: float
    ) -> Run:
        """See `Backend.create_run`."""
        return self._network.change(
            "create_run",
            timeout,
            lambda: self._server.create_run(thread_id, assistant_id, key=key, repeats=repeats, timeout=timeout),
        )

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: float
    ) -> Run:
        """See `Backend.get_run`."""
        return self._network.look(
            f"get_run {run_id}",
            timeout,
            lambda: self._server.get_run(thread_id, run_id, handle=handle, in_doubt=in_doubt, timeout=timeout),
        )

    def submit_tool_outputs(
        self,
        thread_id: str,
        run_id: str,
        outputs: Sequence[tuple[str, str]],
        *,
        assistant_id: str = "",
        handle: str | None = None,
        timeout: float,
    ) -> Run:
        """See `Backend.submit_tool_outputs`."""
        return self._network.change(
            f"submit_tool_outputs {run_id}",
            timeout,
            lambda: self._server.submit_tool_outputs(
                thread_id, run_id, outputs, assistant_id=assistant_id, handle=handle, timeout=timeout
            ),
        )

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: float) -> MessagePage:
        """See `Backend.list_messages`."""
        return self._network.read(
            "list_messages",
            timeout,
            lambda: self._server.list_messages(thread_id, after=after, newest_first=newest_first, timeout=timeout),
        )

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: float) -> Run:
        """See `Backend.cancel_run`."""
        return self._network.change(
            f"cancel_run {run_id}",
            timeout,
            lambda: self._server.cancel_run(thread_id, run_id, handle=handle, timeout=timeout),
        )

    def close(self) -> None:
        """See `Backend.close`."""
