"""`ChatCompletionsModel`: a model behind any server that speaks chat completions, such as Ollama, llama.cpp or vLLM.

Servers differ in details, so answers are read leniently, as `ReplyBuilder` describes. Only a body that is not an answer
is refused.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any, cast

from gpt_agent_fsm.backends.http.transport import Incoming
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
"""The maximum time in seconds that a server may ask this model to wait. If it asks for a longer wait, the run fails."""
_PROMPT_CODES = {"context_length_exceeded", "string_above_max_length", "invalid_prompt", "content_filter"}
_UNKNOWN = re.compile(
    r"un(known|supported|recogni[sz]ed|expected)|extra|not (supported|permitted|allowed|implemented)|no such", re.I
)
_TOO_LONG = re.compile(r"context[ _](length|size|window|limit)|prompt is too long", re.I)


class ChatCompletionsModel:
    """A model that asks a server for its answers. Any OS thread may use it.

    Args:
        base_url: the address of the server, without `/chat/completions` at its end.
        model: the model's name on the server. If it is left out, the model that the run requests is used.
        api_key: the key, which is sent as a bearer token. It is not read from the environment, because the key there
            may be for another service. The environment variables for proxies and certificates are read.
        timeout: seconds for one turn, including waits for a rate limit; at most a day.
        headers, params: headers and query parameters of each request.
        options: fields for the body of each request, such as `{"temperature": 0}`. If the client sets an option itself,
            the client's value is sent.
        merge_turns: True to merge consecutive messages of one role, for models that need alternating roles.

    The options of the client are sent under the names of chat completions. If the server refuses an option, the run
    fails with the error text of the server. Only the token limit is tried under both of its names, `max_tokens` and
    `max_completion_tokens`. Reasoning in separate fields, or between tags at the beginning of the text, is left out of
    the answer. Tools other than functions are not sent, because these servers do not know them.

    If a busy server asks the model to wait for at most 20 seconds, the request is retried, at most three times.

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
        # Facts about the server, which this object learns from the server's refusals and answers.
        self._counts_streams = True
        self._opens_thinking = False
        self._limit_name = next((name for name in _LIMITS if name in self._options), _LIMITS[0])

    def __repr__(self) -> str:
        return f"ChatCompletionsModel(base_url={self._client.base_url!r}, model={self._model!r})"

    def __call__(self, request: ModelRequest) -> Reply:
        """Ask the server and wait for its whole answer.

        Raises `ModelError` with one of three codes:

        - `rate_limit_exceeded`: a rate limit was reached, or the quota is exhausted. The error text says which.
        - `invalid_prompt`: the conversation is too long for the model, or its content is refused. Only a different
          prompt helps.
        - `server_error`: any other error.

        `ModelError` is also raised if `request.cancelled` is set, but not while a connection is being opened.
        """
        *_, reply = self._answers(request, {"stream": False})
        return cast(Reply, reply)

    def stream(self, request: ModelRequest) -> Iterator[str | Reply]:
        """Ask the server and yield its answer as it arrives. See `StreamingModel.stream`. Raises `ModelError`."""
        yield from self._answers(request, {"stream": True})

    def close(self) -> None:
        """Close the idle connections. May be called repeatedly. Further requests open new connections."""
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
        """Ask for an answer of limited length. If the server refuses one name of the limit, use the other name."""
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
            # If the server does not know the second name, it has refused the limit itself under the first name.
            is_unknown = _is_about(second, error, call) and _UNKNOWN.search(error.message)
            raise (refusal if is_unknown and str(limit) not in error.message else error) from None
        self._limit_name = second
        return begun

    def _begun_counted(self, body: dict[str, Any], call: ChatCall) -> _Begun:
        """Ask for an answer. If it is a stream, also ask for its usage.

        If the server refuses the option for the usage, leave the option out.
        """
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
        """Return the first piece of an answer, and an iterator of the further pieces.

        An error inside the answer before its first piece is raised here, like a refusal of the request.
        """
        pieces = self._pieces(body, call)
        return next(pieces), pieces

    def _pieces(self, body: dict[str, Any], call: ChatCall) -> Generator[str | Reply, None, None]:
        names = [text_of(mapping(tool.get("function")).get("name")) for tool in body.get("tools", ())]
        patient = self._opens_thinking or not body["stream"]
        with contextlib.closing(self._open(body, call)) as response:
            for piece in self._client.read(response, call, names, patient=patient):
                if isinstance(piece, Reply) and has_unopened(piece.text):
                    self._opens_thinking = True
                yield piece

    def _open(self, body: dict[str, Any], call: ChatCall) -> Incoming:
        """Send the request. Retry it if the server asks for a short wait, at most `_RETRIES` times."""
        # An unpaired surrogate becomes a question mark. The same happens in answers of models.
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
    """Return whether a server has refused this option. If so, its error names the option, in any spelling."""
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
        # The error text of the model's server may contain details of the operator's key, which clients must not get.
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
    """Return the sentence with these words before it.

    The code `rate_limit_exceeded` has two meanings. Clients distinguish them by these words.
    """
    return sentence if sentence.startswith(words) else f"{words}: {sentence}"


def _advised(sentence: str) -> str:
    """Return an error text of `HttpClient`, without its advice to set variables that this model does not read."""
    return re.sub(r" \(or OPENAI_\w+\)", "", sentence)
