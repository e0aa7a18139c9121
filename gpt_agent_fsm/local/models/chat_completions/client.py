"""The requests of `ChatCompletionsModel`: streams, and waits that end when the answer is no longer needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

import requests
from cattrs.preconf.msgspec import make_converter

from gpt_agent_fsm.backends.http import HttpClient, exchange
from gpt_agent_fsm.backends.http.answers import HttpAnswer
from gpt_agent_fsm.backends.http.decoding import decode
from gpt_agent_fsm.backends.http.outcomes import error_for_answer
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown
from gpt_agent_fsm.local.models.chat_completions.reply_builder import ReplyBuilder, mapping, status_of
from gpt_agent_fsm.local.models.protocol import ModelError, Reply

__all__ = ["ChatClient", "ChatCall"]

_PATH = "/chat/completions"
_PIECE = 65_536


class ChatCall:
    """One request in progress: its deadline, and whether its answer is still needed."""

    def __init__(self, cancelled: threading.Event, timeout: float) -> None:
        self.cancelled = cancelled
        self.timeout = timeout
        self._until = time.monotonic() + timeout

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return max(0.0, self._until - time.monotonic())

    def check(self) -> None:
        """Raise `ModelError` if the answer is no longer needed."""
        if self.cancelled.is_set():
            raise ModelError("server_error", "The request was cancelled.")

    def proceed(self) -> None:
        """Use this call's deadline and check for the next reads of this OS thread."""
        self.check()
        exchange.begin(self.left, self.check)


class ChatClient(HttpClient):
    """Adds streams to the client of the other APIs, and waits that end when the call is cancelled."""

    def __init__(
        self, base_url: str, api_key: str | None, *, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> None:
        super().__init__(base_url, api_key, headers=headers, params=params, resource=_PATH, converter=make_converter())

    def open(self, body: bytes, call: ChatCall) -> requests.Response:
        """Send a question and return the beginning of the HTTP answer. Raises `ApiError`, also for an HTTP error."""
        prepared = self._prepare("POST", _PATH, body, {})
        call.proceed()
        with self._explained("POST", _PATH, call.timeout):
            response = self._session().send(
                prepared,
                timeout=call.timeout,
                allow_redirects=False,
                proxies=self._proxy.choices,
                verify=self._verify,
                stream=True,
            )
            if response.status_code < 300:
                return response
            content = response.content
        raise self._reported(response, response.status_code, content)

    def read(self, response: requests.Response, call: ChatCall) -> Reply:
        """Read an answer that comes in one piece."""
        call.proceed()
        with self._explained("POST", _PATH, call.timeout):
            content = response.content
        builder = ReplyBuilder()
        self._add(builder, response, content)
        return self._finished(builder, response, content)

    def read_events(self, response: requests.Response, call: ChatCall) -> Iterator[str | Reply]:
        """Read an answer that comes as server-sent events; in this API, each event is one line."""
        builder, content = ReplyBuilder(), b""
        for line in self._lines(response, call):
            name, _, content = line.partition(b":")
            if name != b"data":
                continue  # an empty line, or a comment that keeps the connection busy
            if content.strip() == b"[DONE]":
                break
            if text := self._add(builder, response, content):
                yield text
        else:
            if builder.finish is None:
                sentence = f"The answer to POST {self.base_url}{_PATH} broke off."
                raise OutcomeUnknown(None, None, sentence)
        yield self._finished(builder, response, content)

    def _lines(self, response: requests.Response, call: ChatCall) -> Iterator[bytes]:
        rest = b""
        while True:
            call.proceed()
            with self._explained("POST", _PATH, call.timeout):
                piece = response.raw.read1(_PIECE, decode_content=True)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        yield rest

    def _add(self, builder: ReplyBuilder, response: requests.Response, content: bytes) -> str:
        try:
            value = decode(content)
        except ValueError as error:
            self._raise_malformed(self._answered(response, response.status_code, content), error)
        answer = mapping(value)
        # An error of a gateway, or one that occurred after the server had begun to answer.
        if said := answer.get("error"):
            raise self._reported(response, status_of(said), content)
        return builder.add(answer)

    def _finished(self, builder: ReplyBuilder, response: requests.Response, content: bytes) -> Reply:
        if not builder.begun:
            answer = self._answered(response, response.status_code, content)
            self._raise_malformed(answer, ValueError("it has no choices"))
        return builder.reply()

    def _answered(self, response: requests.Response, status: int, content: bytes) -> HttpAnswer:
        return HttpAnswer(
            method="POST",
            url=self.base_url + _PATH,
            proxy=self._proxy.name,
            resource=_PATH,
            status=status,
            headers=response.headers,
            body=self._redactor.body(content),
        )

    def _reported(self, response: requests.Response, status: int, content: bytes) -> ApiError:
        return self._redactor.error(error_for_answer(self._answered(response, status, content)))
