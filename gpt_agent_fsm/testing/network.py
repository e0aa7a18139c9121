"""A network that loses, delays and garbles requests between the library and a server in memory, by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from gpt_agent_fsm.backends.responses.wire import converter
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import CallLimits, MessagePage, Run, RunPage, RunRequest, Timeout, ToolOutputsRequest
from gpt_agent_fsm.testing.clock import VirtualScheduler
from gpt_agent_fsm.testing.conversations import SimulatedConversations
from gpt_agent_fsm.testing.server import SimulatedServer

__all__ = ["Crash", "Faults", "FaultyBackend", "FaultyHttp", "FaultyNetwork"]

T = TypeVar("T")
_MAX_STALE = 2


class Crash(BaseException):
    """The process is killed at this point. No code in the library may catch this exception."""

    ends_the_process = True


@attrs.frozen(kw_only=True)
class Faults:
    """The probability of each fault for each request; otherwise the request succeeds.

    Attributes:
        lost: the request never arrives.
        answer_lost: the request takes effect, and its answer never arrives.
        late: the request takes effect only after the client has timed out.
        grace: seconds within which a late request takes effect; after that the network must drop it.
        limited: HTTP 429, without effect.
        error_before, error_after: HTTP 500, without and with effect.
        garbage: the answer is not valid; the request took effect.
        stale: a poll of a run returns the answer of the previous poll, at most twice in a row.
        crash: the process crashes, before or after the request.
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
    """Decides the fate of each request by `faults`, and records it in `journal`.

    Args:
        scheduler: its virtual time passes during requests; it also delivers late requests.
        rng: decides every fault and delay.
    """

    def __init__(self, scheduler: VirtualScheduler, rng: random.Random, faults: Faults, journal: list[str]) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._faults = faults
        self._journal = journal
        self._last_poll: dict[str, Any] = {}
        self._stale_in_a_row = 0
        self.faults_off = False
        """True if there must be no more faults."""

    def poll(self, what: str, timeout: Timeout, request: Callable[[], T]) -> T:
        """Make a poll: a request that only reads, and whose answer may be stale."""
        may_be_stale = what in self._last_poll and not self.faults_off and self._stale_in_a_row < _MAX_STALE
        if may_be_stale and self._rng.random() < self._faults.stale:
            self._stale_in_a_row += 1
            self._note(f"{what}: stale")
            stale: T = self._last_poll[what]
            return stale
        self._stale_in_a_row = 0
        seen = self.read(what, timeout, request)
        self._last_poll[what] = seen
        return seen

    def read(self, what: str, timeout: Timeout, request: Callable[[], T]) -> T:
        """Make a request that only reads."""
        fate = self._fate(["lost", "answer_lost", "limited", "error_before", "garbage", "crash"])
        self._note(f"{what}: {fate}")
        self._take_time(_seconds(timeout) if fate in ("lost", "answer_lost") else None)
        match fate:
            case "crash":
                raise Crash
            case "limited":
                raise self._limit()
            case "lost" | "answer_lost" | "error_before" | "garbage":
                raise TransientError(None, None, f"{what}: {fate}")
        return request()

    def change(self, what: str, timeout: Timeout, request: Callable[[], T]) -> T:
        """Make a request that changes the server, unless it may no longer be sent."""
        if isinstance(timeout, CallLimits) and not (timeout.may_send() and timeout.seconds_left > 0):
            raise TransientError(None, None, f"{what}: not sent")
        names = ["lost", "answer_lost", "late", "limited", "error_before", "error_after", "garbage", "crash"]
        fate = self._fate(names)
        self._note(f"{what}: {fate}")
        self._take_time(_seconds(timeout) if fate == "lost" else None)
        match fate:
            case "lost":
                raise OutcomeUnknown(None, None, f"{what}: lost", in_flight=True)
            case "late":
                self._take_time(_seconds(timeout))
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
                self._take_time(_seconds(timeout))
                raise OutcomeUnknown(None, None, f"{what}: answer lost", in_flight=True)
            case "error_after" | "garbage":
                raise OutcomeUnknown(500, None, f"{what}: failed after")
        return answer

    def _note(self, what: str) -> None:
        self._journal.append(f"{self._scheduler.clock.monotonic():10.3f}  {what}")

    def _fate(self, names: Sequence[str]) -> str:
        """Choose the fate of a request."""
        if self.faults_off:
            return "fine"
        draw = self._rng.random()
        for name in names:
            draw -= getattr(self._faults, name)
            if draw < 0:
                return name
        return "fine"

    def _crash(self, what: str, request: Callable[[], Any]) -> None:
        """Crash while the request is in flight: it takes effect now, later, or never."""
        lands = self._rng.choice(["never", "now", "later"])
        if lands == "now":
            self._land(what, request)
        elif lands == "later":
            delay = self._rng.uniform(0, self._faults.grace) * 0.999
            self._scheduler.call_later(delay, lambda: self._land(what, request))
        raise Crash

    def _land(self, what: str, request: Callable[[], Any]) -> None:
        """Deliver a request that the client no longer waits for."""
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


class FaultyHttp:
    """Replaces the HTTP client of `ResponsesBackend`; forwards requests to `server` through the network."""

    base_url = "http://simulated/v1"

    def __init__(self, server: SimulatedConversations, network: FaultyNetwork) -> None:
        self._server = server
        self._network = network

    def get(self, path: str, shape: type[T], *, params: Mapping[str, str] | None = None, timeout: Timeout) -> T:
        """See `HttpClient.get`."""

        def request() -> T:
            return converter.structure(self._server.get(path, params or {}), shape)

        if path.startswith("/responses/"):
            return self._network.poll(f"GET {path}", timeout, request)
        return self._network.read(f"GET {path}", timeout, request)

    def post(self, path: str, body: dict[str, Any], shape: type[T], *, timeout: Timeout) -> T:
        """See `HttpClient.post`."""
        return self._network.change(
            f"POST {path} {body}", timeout, lambda: converter.structure(self._server.post(path, body), shape)
        )

    def close(self) -> None:
        """See `HttpClient.close`."""


class FaultyBackend:
    """A `Backend` that forwards requests to `server` through the network."""

    def __init__(self, server: SimulatedServer, network: FaultyNetwork) -> None:
        self._server = server
        self._network = network

    def create_thread(self, *, timeout: Timeout) -> str:
        """See `Backend.create_thread`."""
        return self._server.create_thread(timeout=timeout)

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """See `Backend.get_thread`."""
        self._server.get_thread(thread_id, timeout=timeout)

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """See `Backend.list_runs`."""
        return self._network.read(
            "list_runs",
            timeout,
            lambda: self._server.list_runs(thread_id, limit=limit, key=key, retry_of=retry_of, timeout=timeout),
        )

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """See `Backend.post_message`."""
        return self._network.change(
            f"post_message {content!r}",
            timeout,
            lambda: self._server.post_message(thread_id, content, key=key, timeout=timeout),
        )

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """See `Backend.create_run`."""
        return self._network.change(
            "create_run",
            timeout,
            lambda: self._server.create_run(request, timeout=timeout),
        )

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """See `Backend.get_run`."""
        return self._network.poll(
            f"get_run {run_id}",
            timeout,
            lambda: self._server.get_run(thread_id, run_id, handle=handle, in_doubt=in_doubt, timeout=timeout),
        )

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """See `Backend.submit_tool_outputs`."""
        return self._network.change(
            f"submit_tool_outputs {request.run_id}",
            timeout,
            lambda: self._server.submit_tool_outputs(request, timeout=timeout),
        )

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """See `Backend.list_messages`."""
        return self._network.read(
            "list_messages",
            timeout,
            lambda: self._server.list_messages(thread_id, after=after, newest_first=newest_first, timeout=timeout),
        )

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """See `Backend.cancel_run`."""
        return self._network.change(
            f"cancel_run {run_id}",
            timeout,
            lambda: self._server.cancel_run(thread_id, run_id, handle=handle, timeout=timeout),
        )

    def close(self) -> None:
        """See `Backend.close`."""
