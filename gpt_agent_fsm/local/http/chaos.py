"""Injects faults for tests of clients. The faults are those of real networks and real services.

The faults are injected between the socket and the application. So a request with the fault `error-after` or
`drop-after` takes effect, but its HTTP answer is lost.
"""

import itertools
import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import msgspec
from attrs import field, frozen, validators

from gpt_agent_fsm.local.http.chaos_streams import STREAM_FAULTS, broken
from gpt_agent_fsm.local.http.environ import ITEM_LAG, WAITING
from gpt_agent_fsm.local.http.error_responses import ApiProblem, wrong_value
from gpt_agent_fsm.local.http.listener import HangUp
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)

HEADER = "x-gpt-agent-chaos"
"""The request header that asks for a fault. It has an effect only if the server has a `Chaos`."""

REQUEST_FAULTS = (
    "latency",
    "rate-limit",
    "error-before",
    "error-after",
    "drop-before",
    "drop-after",
    "garbage",
    "late-items",
)
"""The faults that every request can have. A `Chaos` injects these faults, unless its `faults` are others."""

FAULTS = (*REQUEST_FAULTS, *STREAM_FAULTS)

_GARBAGE = (
    b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    b'{"object": "thread", "id": "thr',
    b"\x00\xff\xfe\x80",
    b"null",
    b"",
)


@frozen
class Chaos:
    """Injects faults into the requests of a server.

    The fault of a request depends only on the seed and on the number of the request, counted from 0. `rate` is the
    share of requests that get a fault. `faults` are the faults to choose from, by default all faults of the first
    table. A request with the header `x-gpt-agent-chaos` gets the fault that the header names.

    fault          | what happens
    -------------- | ------------------------------------------------------------------------------------
    `latency`      | the request waits for a random time of at most `delay` seconds
    `rate-limit`   | 429 with `Retry-After: retry_after`; the request has no effect
    `error-before` | 500, 502 or 503; the request has no effect
    `error-after`  | 500, 502 or 503, after the request has taken effect
    `drop-before`  | the server hangs up; the request has no effect
    `drop-after`   | the server hangs up after the request has taken effect; a stream is cut after its first event
    `garbage`      | 200 with an unrelated body, after the request has taken effect
    `late-items`   | a list of items leaves out the items of responses that ended in the last `item_lag` seconds

    The faults of the second table happen only to streams. The fault comes after `stream_after` events, or after a
    random number of events if `stream_after` is None. If the stream is shorter, the fault comes at the event that says
    how the stream ends, such as `response.completed` or `thread.run.completed`. The run or response continues. An HTTP
    answer that is not a stream is sent unchanged.

    fault           | what happens
    --------------- | -----------------------------------------------------------------------------------
    `stream-drop`   | the server hangs up in the middle of an event
    `stream-stall`  | the server is silent for `stall` seconds, and then hangs up
    `stream-repeat` | an event is sent twice
    `stream-end`    | the stream ends like a complete stream, but without its last events

    Raises `ValueError` for a `rate` below 0 or above 1, and for an unknown fault.
    """

    seed: int
    rate: float = field(default=0.2, kw_only=True, validator=[validators.ge(0), validators.le(1)])
    faults: tuple[str, ...] = field(default=REQUEST_FAULTS, kw_only=True, converter=tuple)
    delay: float = field(default=0.5, kw_only=True)
    retry_after: int = field(default=1, kw_only=True)
    item_lag: float = field(default=1.0, kw_only=True)
    stall: float = field(default=30.0, kw_only=True)
    stream_after: int | None = field(default=None, kw_only=True, validator=validators.optional(validators.ge(0)))

    @faults.validator
    def _check_faults(self, _attribute: object, faults: tuple[str, ...]) -> None:
        for fault in faults:
            if fault not in FAULTS:
                raise ValueError(f"The faults of a Chaos must be among {', '.join(FAULTS)}, not {fault!r:.100}.")

    def fault(self, number: int) -> str | None:
        """Return the fault of the request with this number, or None if it gets no fault."""
        dice = random.Random(f"{self.seed}/{number}")  # noqa: S311 - no secret
        return dice.choice(self.faults) if self.faults and dice.random() < self.rate else None


class ChaosApplication:
    """Injects the faults of a `Chaos` into the requests of an application."""

    def __init__(self, application: WSGIApplication, chaos: Chaos, log_level: int = logging.DEBUG) -> None:
        self._application = application
        self._chaos = chaos
        self._log_level = log_level
        self._numbers = itertools.count()
        self._closing = threading.Event()

    def close(self) -> None:
        """End the waits of all requests with the faults `latency` and `stream-stall`."""
        self._closing.set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or make it fail."""
        if not str(environ["PATH_INFO"]).startswith("/v1/"):
            return self._application(environ, start_response)
        number = next(self._numbers)
        asked = environ.get(f"HTTP_{HEADER.upper().replace('-', '_')}")
        fault = self._chaos.fault(number) if asked is None else str(asked)
        if fault is None:
            return self._application(environ, start_response)
        if fault not in FAULTS:
            return _refuse(start_response, wrong_value(HEADER, fault, ", ".join(f"'{each}'" for each in FAULTS)))
        # This line has the same level as the request's own log line, because some faults prevent that line.
        logger.log(self._log_level, "Request %d meets %s", number, fault)
        # These random numbers are independent of those that chose the fault, so that all forms of the fault occur.
        dice = random.Random(f"{self._chaos.seed}/{number}/{fault}")  # noqa: S311 - no secret
        return self._meet(fault, dice, environ, start_response)

    def _meet(
        self, fault: str, dice: random.Random, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        match fault:
            case "latency":
                with environ[WAITING]():
                    self._closing.wait(dice.uniform(0, self._chaos.delay))
            case "late-items":
                environ[ITEM_LAG] = self._chaos.item_lag
            case "rate-limit":
                return _refuse(start_response, _busy(), ("Retry-After", str(self._chaos.retry_after)))
            case "error-before":
                return _refuse(start_response, _broken(dice))
            case "drop-before":
                raise HangUp
            case "error-after" | "drop-after" | "garbage":
                return self._lose(fault, dice, environ, start_response)
            case "stream-drop" | "stream-stall" | "stream-repeat" | "stream-end":
                return self._break(fault, dice, environ, start_response)
            case _:
                raise LookupError(f"the fault {fault!r} has no branch here")
        return self._application(environ, start_response)

    def _lose(
        self, fault: str, dice: random.Random, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Let the application answer a request, but do not send the answer to the client."""
        answer = _Answer()
        body = self._application(environ, answer.start)
        if fault == "drop-after" and answer.is_stream:
            return _drop_during(body, answer, start_response)
        if not answer.is_stream:
            b"".join(body)
        if close := getattr(body, "close", None):
            close()
        if fault == "drop-after":
            raise HangUp
        if fault == "error-after":
            return _refuse(start_response, _broken(dice))
        content = dice.choice(_GARBAGE)
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
        return [content]

    def _break(
        self, fault: str, dice: random.Random, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Let the application answer a request. If the answer is a stream, inject the fault into it."""
        answer = _Answer()
        body = self._application(environ, answer.start)
        start_response(*answer.head)
        if not answer.is_stream:
            return body
        chaos = self._chaos
        return broken(fault, body, dice, after=chaos.stream_after, stall=chaos.stall, closing=self._closing)


class _Answer:
    """The status and headers with which an application begins an answer."""

    def __init__(self) -> None:
        self.head: tuple[str, list[tuple[str, str]]] = ("", [])

    def start(self, status: str, headers: list[tuple[str, str]], _error: object = None, /) -> Callable[[bytes], object]:
        self.head = (status, headers)
        return self._write

    def _write(self, _data: bytes) -> None:
        """Do nothing, because no application here calls this function."""

    @property
    def is_stream(self) -> bool:
        return any(name == "Content-Type" and value.startswith("text/event-stream") for name, value in self.head[1])


def _drop_during(body: Iterable[bytes], answer: _Answer, start_response: StartResponse) -> Iterator[bytes]:
    start_response(*answer.head)
    try:
        yield next(iter(body))
        raise HangUp
    finally:
        if close := getattr(body, "close", None):
            close()


def _busy() -> ApiProblem:
    return ApiProblem(429, "Rate limit reached, by chaos.", code="rate_limit_exceeded", kind="requests")


def _broken(dice: random.Random) -> ApiProblem:
    return ApiProblem(dice.choice((500, 502, 503)), "The server broke, by chaos.", kind="server_error")


def _refuse(start_response: StartResponse, problem: ApiProblem, *headers: tuple[str, str]) -> list[bytes]:
    content = msgspec.json.encode(problem.body())
    head = [("Content-Type", "application/json"), ("Content-Length", str(len(content))), *headers]
    start_response(f"{problem.status} Chaos", head)
    return [content]
