"""Sends the HTTP requests of `ChatCompletionsModel`. Reads streams, and stops when the answer is no longer needed."""

from __future__ import annotations

import codecs
import itertools
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import attrs
import msgspec
from cattrs.preconf.msgspec import make_converter

from gpt_agent_fsm.backends.http import HttpClient, exchange
from gpt_agent_fsm.backends.http.answers import HttpAnswer
from gpt_agent_fsm.backends.http.outcomes import error_for_answer
from gpt_agent_fsm.backends.http.server_sent_events import ServerSentEvent, read_events
from gpt_agent_fsm.backends.http.transport import Incoming
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown
from gpt_agent_fsm.local.models.chat_completions.errors_within import error_in, names_error, status_of, unknown_in
from gpt_agent_fsm.local.models.chat_completions.frames import UNKNOWN, with_stray_lines
from gpt_agent_fsm.local.models.chat_completions.json_values import decoded, mapping
from gpt_agent_fsm.local.models.chat_completions.reply_builder import ReplyBuilder
from gpt_agent_fsm.local.models.protocol import ModelError, Reply

__all__ = ["ChatClient", "ChatCall"]

_PATH = "/chat/completions"
_MAX_REFUSAL = 10_000_000
"""How many bytes of an error are read."""
_GRACE = 5.0
"""Seconds to wait for the usage and the end of a stream whose answer is already complete."""
_BLANK = codecs.BOM_UTF8 + b" \t\r\n"
_FIELD = re.compile(rb"(data|event|id|retry)?[ ]?:")
_JSON = re.compile(rb'[{"<]|\[\s*[\[{"\]]')
"""Matches the beginning of a JSON value, even a truncated one, or of an HTML page."""
_LONGEST_FIELD = len(b"event :")
_DONE_MARK = b"[DONE]"
_DONE: Any = object()
"""Represents the mark `[DONE]` at the end of a stream."""


class ChatCall:
    """A request in progress. It has a deadline, and knows whether its answer is still needed."""

    def __init__(self, cancelled: threading.Event, timeout: float) -> None:
        self.cancelled = cancelled
        self.timeout = timeout
        self.refusal = b""
        """The last error that the server has sent: the whole body of its answer, or the data of an event."""
        self._until = time.monotonic() + timeout

    @property
    def left(self) -> float:
        """The seconds until the deadline."""
        return max(0.0, self._until - time.monotonic())

    def check(self) -> None:
        """Raise `ModelError` if the answer is no longer needed."""
        if self.cancelled.is_set():
            raise ModelError("server_error", "The request was cancelled.")

    def proceed(self, at_most: float | None = None) -> None:
        """Make the next reads of this OS thread call `check`.

        The reads end at the deadline, or after `at_most` seconds if that is earlier.
        """
        self.check()
        exchange.begin(self.left if at_most is None else min(self.left, at_most), self.check)


class ChatClient(HttpClient):
    """An HTTP client that can also read streams, and that stops waiting when a call is cancelled."""

    def __init__(
        self, base_url: str, api_key: str | None, *, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> None:
        super().__init__(base_url, api_key, headers=headers, params=params, resource=_PATH, converter=make_converter())

    def open(self, body: bytes, call: ChatCall) -> Incoming:
        """Send a request, and return the HTTP answer before its body is read. Raises `ApiError`."""
        request = attrs.evolve(self._request("POST", _PATH, body, {}), asks_for_events=True)
        call.proceed()
        with self._explained("POST", _PATH, call.timeout):
            response = self._transport.open(request, call.timeout)
            if response.status < 300:
                return response
            content = call.refusal = response.read(_MAX_REFUSAL)
        raise self._reported(response, response.status, content)

    def read(
        self, response: Incoming, call: ChatCall, tools: Collection[str], *, patient: bool
    ) -> Iterator[str | Reply]:
        """Yield the texts of an answer as they arrive, and then the reply.

        The answer may be a stream of events or a single JSON object. `tools` are the names of the tools that the model
        may call. If `patient` is True, text that may be reasoning is held back; see `Thinking`. Raises `ApiError`, even
        for an error inside an answer with HTTP status 200.
        """
        builder, content, unknown, is_done = ReplyBuilder(tools, patient=patient), b"", "", False
        chunks, is_stream = _begun(self._chunks(response, call, builder), response.headers.get("content-type", ""))
        whole = (ServerSentEvent("", b"".join(chunks)) for _ in range(1))
        for event in read_events(with_stray_lines(chunks)) if is_stream else whole:
            content = event.data
            for answer in self._values(response, event):
                if is_done := answer is _DONE:
                    break
                if said := error_in(answer, event.name):
                    call.refusal = content
                    raise self._reported(response, status_of(said), msgspec.json.encode({"error": said}))
                unknown = unknown or unknown_in(answer, event.name)
                if text := builder.add(mapping(answer)):
                    yield text
            if is_done:
                break
        rest = builder.finish()
        if builder.begun and not builder.has_end and (unknown or not is_done) and (is_stream or builder.has_deltas):
            raise self._redactor.error(OutcomeUnknown(None, None, self._broken_off(unknown)))
        if problem := builder.problem:
            self._raise_malformed(self._answered(response, response.status, content), ValueError(problem))
        if rest:
            yield rest
        yield builder.reply()

    def _broken_off(self, unknown: str) -> str:
        """Return the error text for an answer that broke off. `unknown` is other text that the server has sent."""
        sentence = f"The answer to POST {self.base_url}{_PATH} broke off"
        return f"{sentence}; the server also said: {unknown}" if unknown else f"{sentence}."

    def _chunks(self, response: Incoming, call: ChatCall, builder: ReplyBuilder) -> Iterator[bytes]:
        """Yield the bytes of an answer as they arrive.

        After the answer is complete, failures of the connection are ignored.
        """
        while True:
            call.proceed(_GRACE if builder.is_certain else None)
            try:
                with self._explained("POST", _PATH, call.timeout):
                    chunk = response.read_piece()
            except ApiError:
                if not builder.is_certain:
                    raise
                return
            if not chunk:
                return
            yield chunk

    def _values(self, response: Incoming, event: ServerSentEvent) -> list[Any]:
        """Return the JSON values of an event. The mark that ends a stream becomes the value `_DONE`."""
        try:
            return _values_in(event.data)
        except ValueError as error:
            words = event.data.decode(errors="replace")
            if event.name == UNKNOWN or names_error(event.name):
                return [words]
            if event.name and not _JSON.match(event.data):
                return [{"error": words}]
            self._raise_malformed(self._answered(response, response.status, event.data), error)

    def _answered(self, response: Incoming, status: int, content: bytes) -> HttpAnswer:
        return HttpAnswer(
            method="POST",
            url=self.base_url + _PATH,
            proxy=self._proxy.name,
            resource=_PATH,
            status=status,
            headers=response.headers,
            body=self._redactor.body(content),
        )

    def _reported(self, response: Incoming, status: int, content: bytes) -> ApiError:
        return self._redactor.error(error_for_answer(self._answered(response, status, content)))


def _begun(chunks: Iterator[bytes], content_type: str) -> tuple[Iterator[bytes], bool]:
    """Return the bytes of an answer, and True if they are server-sent events.

    The beginning of the answer is checked first, because some servers send a wrong `content_type`.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head.lstrip(_BLANK)) >= _LONGEST_FIELD:
            break
    begun = head.lstrip(_BLANK)
    is_stream = bool(_FIELD.match(begun)) or ("event-stream" in content_type and begun[:1] not in b"{[<")
    return itertools.chain([head.removeprefix(codecs.BOM_UTF8)], chunks), is_stream


def _values_in(data: bytes) -> list[Any]:
    """Return the JSON values in the data of an event. Each line may contain a value. Raises `ValueError`."""
    if data.strip(b'" ').upper() == _DONE_MARK:
        return [_DONE]
    try:
        return _flat(decoded(data))
    except ValueError:
        lines = data.split(b"\n")
        if len(lines) == 1:
            raise
        return [value for line in lines if line.strip() for value in _values_in(line)]


def _flat(value: object) -> list[Any]:
    return [each for item in value for each in _flat(item)] if isinstance(value, list) else [value]
