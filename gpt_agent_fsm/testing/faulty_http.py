"""An HTTP client for simulations. It sends requests through a network with faults to a server in memory."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cattrs.preconf.msgspec import MsgspecJsonConverter

from gpt_agent_fsm.backends.responses import wire as responses
from gpt_agent_fsm.errors import OutcomeUnknown, RequestRefused
from gpt_agent_fsm.ports import Timeout
from gpt_agent_fsm.testing.conversation_streams import StreamedConversations
from gpt_agent_fsm.testing.crashing import StoreHandle
from gpt_agent_fsm.testing.faulty_stream import CALM, FaultyStream, StreamFaults, StreamHabit
from gpt_agent_fsm.testing.network import FaultyNetwork
from gpt_agent_fsm.testing.threads_api import SimulatedThreads

__all__ = ["FaultyHttp"]

T = TypeVar("T")
Doc = dict[str, Any]
_THREAD = re.compile(r"/threads/[^/]+")
"""The path of the request with which an agent checks its thread when it connects."""


class FaultyHttp:
    """A replacement for the HTTP client of a backend. It sends requests through `network` to `server`.

    Args:
        server: the server in memory, which takes and returns JSON values.
        converter: the converter for the backend's API.
        sender: the store of the process that sends the requests; None if no other process can take the store over.
        stream_faults: a function that returns the current probabilities of faults in streams.
        stream_habit: how the server, or a proxy in front of it, always answers a request for a run as a stream.
        rng: the random numbers that decide the faults in streams.
    """

    base_url = "http://simulated/v1"

    def __init__(
        self,
        server: StreamedConversations | SimulatedThreads,
        network: FaultyNetwork,
        *,
        converter: MsgspecJsonConverter = responses.converter,
        sender: StoreHandle | None = None,
        stream_faults: Callable[[], StreamFaults] = lambda: CALM,
        stream_habit: StreamHabit = "streams",
        rng: random.Random | None = None,
    ) -> None:
        self._stream_habit = stream_habit
        self._stream_faults = stream_faults
        self._rng = rng or random.Random(0)  # noqa: S311 - a life must be repeatable
        self._server = server
        self._network = network
        self._converter = converter
        self._sender = sender

    def get(self, path: str, shape: type[T], *, params: Mapping[str, str] | None = None, timeout: Timeout) -> T:
        """See `HttpClient.get`."""

        def request() -> T:
            return self._converter.structure(self._server.get(path, params or {}), shape)

        if path.startswith("/responses/") or "/runs/" in path:
            return self._network.poll(path, timeout, request)
        if _THREAD.fullmatch(path):
            return self._network.check(path, timeout, request)
        return self._network.read(path, timeout, request)

    def post(self, path: str, body: object, shape: type[T], *, timeout: Timeout) -> T:
        """See `HttpClient.post`."""
        value = self._converter.unstructure(body)
        return self._network.change(
            path,
            timeout,
            lambda: self._converter.structure(self._server.post(path, value), shape),
            said=value,
            sender=self._sender,
        )

    def stream(
        self,
        method: str,
        path: str,
        body: object,
        shape: type[T],
        *,
        params: Mapping[str, str] | None = None,
        timeout: Timeout,
    ) -> FaultyStream | T:
        """See `HttpClient.stream`."""
        value, asked = self._converter.unstructure(body or {}), params or {}

        def request() -> tuple[Doc, FaultyStream]:
            # If the request takes effect late, nobody reads its answer and its stream.
            answer = self._server.get(path, asked) if method == "GET" else self._server.post(path, value)
            return answer, self._opened(answer, int(asked.get("starting_after", "-1")))

        if method == "GET":
            answer, opened = self._network.read(f"{path}?stream", timeout, request)
        else:
            if self._stream_habit == "refuses":
                raise RequestRefused(400, None, "no streams")
            if self._stream_habit == "fails":
                raise OutcomeUnknown(502, None, "bad gateway", in_flight=True)
            answer, opened = self._network.change(path, timeout, request, said=value, sender=self._sender)
            if self._stream_habit == "hangs_up":
                raise OutcomeUnknown(None, None, "the proxy hung up", in_flight=True)
        refused = self._rng.random() < self._stream_faults().refused
        return self._converter.structure(answer, shape) if refused else opened

    def _opened(self, answer: Doc, after: int) -> FaultyStream:
        def hurries() -> bool:
            return self._rng.random() < self._stream_faults().hurry

        server = self._server
        if isinstance(server, SimulatedThreads):
            events = server.events(answer, hurries)
        else:
            events = server.events(answer["id"], after, hurries)
        has_numbers = not isinstance(server, SimulatedThreads)
        return FaultyStream(events, self._rng, self._stream_faults, has_numbers=has_numbers)

    def close(self) -> None:
        """See `HttpClient.close`."""
