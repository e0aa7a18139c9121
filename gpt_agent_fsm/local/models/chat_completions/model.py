"""`ChatCompletionsModel`: a model behind any server that speaks chat completions, such as Ollama, llama.cpp or vLLM.

Servers differ in details, so reading is lenient: `ReplyBuilder` lists how, and refuses only a body that is not an
answer.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any, cast

import requests

from gpt_agent_fsm.errors import AccessDenied, ApiError, OutcomeUnknown, QuotaExceeded, RequestRefused, TransientError
from gpt_agent_fsm.local.models.chat_completions.client import ChatCall, ChatClient
from gpt_agent_fsm.local.models.chat_completions.json_values import mapping, text_of
from gpt_agent_fsm.local.models.chat_completions.messages import chat_messages
from gpt_agent_fsm.local.models.chat_completions.thinking import has_unopened
from gpt_agent_fsm.local.models.protocol import ModelError, ModelRequest, Reply
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)

_Begun = tuple[str | Reply, Generator[str | Reply, None, None]]

_LONGEST_TIMEOUT = 86_400.0
_RETRIES = 3
_LIMITS = ("max_tokens", "max_completion_tokens")
_LONGEST_WAIT = 20.0
"""The longest wait in seconds for which a request is repeated here; after a longer one, the run fails."""
_PROMPT_CODES = {"context_length_exceeded", "string_above_max_length", "invalid_prompt", "content_filter"}
_UNKNOWN = re.compile(
    r"un(known|supported|recogni[sz]ed|expected)|extra|not (supported|permitted|allowed|implemented)|no such", re.I
)
_TOO_LONG = re.compile(r"context[ _](length|size|window|limit)|prompt is too long", re.I)


class ChatCompletionsModel:
    """A model that asks a server at `base_url`, the address before `/chat/completions`; for use by any OS thread.

    Args:
        model: the model's name on the server; if left out, the name that the run asks for.
        api_key: sent as bearer token. It is not read from the environment, which may hold the key of another service.
            (Variables for proxies and certificates are used.)
        timeout: seconds for one turn, including waits for a rate limit; at most a day.
        headers, params: added to each request.
        options: added to the body of each request unless the client asks for others: `{"temperature": 0}`.
        merge_turns: send messages in a row of one role as one message, for models that want the turns to alternate.

    What the client asks for is sent under the names of chat completions; the server decides whether it can have that,
    and the words of its refusal become those of the failed run. Only the token limit is tried under both of its names,
    `max_tokens` and `max_completion_tokens`. Reasoning, in fields of its own or between tags at the beginning, is left
    out of the answer. Tools other than functions are left out, because these servers know none.

    If a busy server asks to wait for at most 20 seconds, the request is retried, at most three times.

    Raises `ValueError` for an invalid address, key, header or timeout.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 600.0,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        merge_turns: bool = False,
    ) -> None:
        if not 0 < timeout <= _LONGEST_TIMEOUT:
            raise ValueError("timeout must be a number of seconds above 0, and at most a day")
        accepted = {"Accept": "application/json, text/event-stream", **(headers or {})}
        try:
            self._client = ChatClient(base_url, api_key or None, headers=accepted, params=params or {})
        except ValueError as error:
            raise ValueError(_advised(str(error))) from None
        self._model = model
        self._timeout = timeout
        self._options = dict(options or {})
        self._merge_turns = merge_turns
        # Facts about the server that its refusals and answers teach.
        self._counts_streams = True
        self._opens_thinking = False
        self._limit_name = next((name for name in _LIMITS if name in self._options), _LIMITS[0])

    def __repr__(self) -> str:
        return f"ChatCompletionsModel(base_url={self._client.base_url!r}, model={self._model!r})"

    def __call__(self, request: ModelRequest) -> Reply:
        """Ask the server and wait for its whole answer.

        Raises `ModelError` with one of three codes: `rate_limit_exceeded`, also for an exhausted quota, with an error
        text that says so; `invalid_prompt` if the conversation is too long for the model or its content is refused,
        because only another prompt helps; `server_error` for everything else. A cancelled request raises `ModelError`
        as well, soon after it is connected.
        """
        *_, reply = self._answers(request, {"stream": False})
        return cast(Reply, reply)

    def stream(self, request: ModelRequest) -> Iterator[str | Reply]:
        """Ask the server and yield its answer as it comes: see `StreamingModel.stream`; raises as a call does."""
        yield from self._answers(request, {"stream": True})

    def close(self) -> None:
        """Close the connections that are idle. Idempotent; a later request connects again."""
        self._client.close()

    def _answers(self, request: ModelRequest, wanted: dict[str, Any]) -> Iterator[str | Reply]:
        call = ChatCall(request.cancelled, self._timeout)
        body = self._body(request) | wanted
        with _failing():
            first, others = self._begun_within_limit(body, request.max_tokens, call)
            with contextlib.closing(others):
                yield first
                yield from others

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        messages = chat_messages(request, merge_turns=self._merge_turns)
        body = {**self._options, **request.options, "model": self._model or request.model, "messages": messages}
        tools = [tool for tool in request.tools if tool.get("type") == "function"]
        return body | {"tools": tools} if tools else body

    def _begun_within_limit(self, body: dict[str, Any], limit: int | None, call: ChatCall) -> _Begun:
        """Ask for an answer of limited length, under the other name of the limit if the server refuses one."""
        if limit is None:
            return self._begun_counted(body, call)
        body = {name: value for name, value in body.items() if name not in _LIMITS}
        first, second = sorted(_LIMITS, key=lambda name: name != self._limit_name)
        try:
            return self._begun_counted(body | {first: limit}, call)
        except ApiError as error:
            if not _is_about(first, error, call):
                raise
            refusal = error
        try:
            begun = self._begun_counted(body | {second: limit}, call)
        except ApiError as error:
            # If the second name is unknown, it was the limit itself that was refused under the first one.
            is_unknown = _is_about(second, error, call) and _UNKNOWN.search(error.message)
            raise (refusal if is_unknown and str(limit) not in error.message else error) from None
        self._limit_name = second
        return begun

    def _begun_counted(self, body: dict[str, Any], call: ChatCall) -> _Begun:
        """Ask for the usage of a stream as well, until the server refuses that option."""
        if not (body["stream"] and self._counts_streams):
            return self._begun(body, call)
        try:
            return self._begun(body | {"stream_options": {"include_usage": True}}, call)
        except ApiError as error:
            if not _is_about("stream_options", error, call):
                raise
        begun = self._begun(body, call)
        self._counts_streams = False
        return begun

    def _begun(self, body: dict[str, Any], call: ChatCall) -> _Begun:
        """Return the first piece of an answer and the others: until then, an error within it is a refusal, too."""
        pieces = self._pieces(body, call)
        return next(pieces), pieces

    def _pieces(self, body: dict[str, Any], call: ChatCall) -> Generator[str | Reply, None, None]:
        names = [text_of(mapping(tool.get("function")).get("name")) for tool in body.get("tools", ())]
        patient = self._opens_thinking or not body["stream"]
        with self._open(body, call) as response:
            for piece in self._client.read(response, call, names, patient=patient):
                if isinstance(piece, Reply) and has_unopened(piece.text):
                    self._opens_thinking = True
                yield piece

    def _open(self, body: dict[str, Any], call: ChatCall) -> requests.Response:
        """Retry as long as the server asks for a short wait."""
        # An unpaired surrogate becomes a question mark, as in the answer of a model.
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        for _ in range(_RETRIES):
            try:
                return self._client.open(data, call)
            except TransientError as error:
                seconds = error.retry_after
                if seconds is None or seconds > min(_LONGEST_WAIT, call.left):
                    raise
                logger.info("Waiting %g seconds, as %s asks", seconds, self._client.base_url)
            call.cancelled.wait(seconds)
        return self._client.open(data, call)


def _is_about(option: str, error: ApiError, call: ChatCall) -> bool:
    """Return whether a server has refused an option: its error names it, in any spelling and at any place."""
    if not isinstance(error, RequestRefused | OutcomeUnknown) or error.status is None:
        return False
    said = f"{getattr(error, 'param', '')} {error.message} {call.refusal.decode(errors='replace')}"
    return option.replace("_", "") in re.sub(r"[ _-]", "", said.lower())


# --- errors ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise _failure(error) from error


def _failure(error: ApiError) -> ModelError:
    sentence = _advised(error.message)
    if isinstance(error, AccessDenied):
        # The words of the model's server may be about the operator's key, which is nothing for a client.
        status = "" if error.status is None else f" (HTTP {error.status})"
        return ModelError("server_error", f"The model's server has refused the key of this server{status}.")
    if isinstance(error, QuotaExceeded):
        return ModelError("rate_limit_exceeded", _opened("You exceeded your current quota", sentence))
    if error.status == 429:
        return ModelError("rate_limit_exceeded", _opened("Rate limit reached", sentence))
    if error.code in _PROMPT_CODES or _TOO_LONG.search(sentence):
        # The code of the Assistants API for errors that a retry cannot fix.
        return ModelError("invalid_prompt", sentence)
    return ModelError("server_error", sentence)


def _opened(words: str, sentence: str) -> str:
    """Return the sentence after the words by which clients distinguish the two meanings of one code."""
    return sentence if sentence.startswith(words) else f"{words}: {sentence}"


def _advised(sentence: str) -> str:
    """Return a sentence of `HttpClient` without the environment variables that this model does not read."""
    return re.sub(r" \(or OPENAI_\w+\)", "", sentence)
