"""Threads and runs: the Assistants wire, version 2, as self-hosted servers and Azure speak it.

Reads what is needed, ignores the rest, and says clearly when what is needed is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from gpt_agent_fsm.backends import assistants_wire as wire
from gpt_agent_fsm.backends.http import HttpClient, segment
from gpt_agent_fsm.errors import InvalidThreadId, OutcomeUnknown, RequestRefused, TransientError
from gpt_agent_fsm.objects import MessagePage, Run, RunPage

__all__ = ["AssistantsBackend"]

_PAGE = 100
_ABOUT_THREAD = re.compile(r"\bthread(_id)?\b", re.I)
_KEY_HEADERS = {"api-key", "authorization"}


class AssistantsBackend:
    """The API of threads and runs.

    Args:
        base_url: ends where `/threads` begins; `OPENAI_BASE_URL`, else OpenAI's own address.
        api_key: `OPENAI_API_KEY`, unless `headers` hold a key; None where the server wants none.
        organization, project: `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`.
        headers, params: added to each request; Azure takes its key in the header `api-key` and wants the
            parameter `api-version`.

    Raises `ValueError` for an address or key that can not be right. OpenAI removed this API from its own service
    on 2026-08-26.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ
        headers = headers or {}
        if not api_key and _KEY_HEADERS.isdisjoint(name.lower() for name in headers):
            # Who gives a key as a header means that one; the service behind it must not see the key of another.
            api_key = environ.get("OPENAI_API_KEY") or None
        optional = {
            "OpenAI-Organization": organization or environ.get("OPENAI_ORG_ID"),
            "OpenAI-Project": project or environ.get("OPENAI_PROJECT_ID"),
        }
        self._http = HttpClient(
            base_url or environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
            api_key or None,
            headers={
                "OpenAI-Beta": "assistants=v2",
                **{name: value for name, value in optional.items() if value},
                **headers,
            },
            params=params or {},
            converter=wire.converter,
        )

    def __repr__(self) -> str:
        return f"AssistantsBackend(base_url={self._http.base_url!r})"

    def create_thread(self, *, timeout: float) -> str:
        """See `Backend.create_thread`."""
        return self._http.post("/threads", {}, wire.Thread, timeout=timeout).id

    def get_thread(self, thread_id: str, *, timeout: float) -> None:
        """See `Backend.get_thread`."""
        try:
            self._http.get(_thread(thread_id), wire.Thread, timeout=timeout)
        except RequestRefused as error:
            says_so = error.status in (400, 422) and _ABOUT_THREAD.search(f"{error.message} {error.param}")
            if error.status == 404 or says_so:
                sentence = f"The server at {self._http.base_url} knows no thread {thread_id!r}: {error.message}"
                raise InvalidThreadId(error.status, error.code, sentence, error.request_id) from error
            raise

    def list_runs(self, thread_id: str, *, limit: int, key: str | None = None, timeout: float) -> RunPage:
        """See `Backend.list_runs`. The key of a run is among its metadata, so all are listed alike."""
        del key
        params = {"limit": str(limit), "order": "desc"}
        page = self._http.get(f"{_thread(thread_id)}/runs", wire.RunPage, params=params, timeout=timeout)
        return RunPage(runs=tuple(run.to_run() for run in page.data))

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: float) -> tuple[str, bool]:
        """See `Backend.post_message`."""
        body = wire.NewMessage(content=content, metadata=wire.key_metadata(key))
        message = self._http.post(f"{_thread(thread_id)}/messages", body, wire.Message, timeout=timeout)
        return message.id, message.to_message().key == key

    def create_run(self, thread_id: str, assistant_id: str, *, key: str, timeout: float) -> Run:
        """See `Backend.create_run`."""
        body = wire.NewRun(assistant_id=assistant_id, metadata=wire.key_metadata(key))
        return self._post_run(f"{_thread(thread_id)}/runs", body, timeout)

    def get_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: float) -> Run:
        """See `Backend.get_run`."""
        del handle  # the id is all that this wire needs
        run = self._http.get(_run(thread_id, run_id), wire.Run, timeout=timeout).to_run()
        if wire.waits_for_nothing(run):
            raise TransientError(200, None, f"Run {run_id} requires action, but the server names no tool call.")
        return run

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
        del assistant_id, handle
        body = wire.NewToolOutputs(
            tool_outputs=[wire.NewToolOutput(tool_call_id=call_id, output=output) for call_id, output in outputs]
        )
        return self._post_run(f"{_run(thread_id, run_id)}/submit_tool_outputs", body, timeout)

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: float) -> MessagePage:
        """See `Backend.list_messages`."""
        params = {"limit": str(_PAGE), "order": "desc" if newest_first else "asc"}
        if after is not None:
            params["after"] = after
        page = self._http.get(f"{_thread(thread_id)}/messages", wire.MessagePage, params=params, timeout=timeout)
        # A server that does not say whether there is more is asked once again; a page without news ends the reading.
        more = True if page.has_more is None else page.has_more
        last = page.data[-1].id if page.data else None
        return MessagePage(
            messages=tuple(message.to_message() for message in page.data), next_after=last if more else None
        )

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: float) -> Run:
        """See `Backend.cancel_run`."""
        del handle
        return self._post_run(f"{_run(thread_id, run_id)}/cancel", {}, timeout)

    def close(self) -> None:
        """See `Backend.close`."""
        self._http.close()

    def _post_run(self, path: str, body: object, timeout: float) -> Run:
        run = self._http.post(path, body, wire.Run, timeout=timeout).to_run()
        if wire.waits_for_nothing(run):
            raise OutcomeUnknown(200, None, f"Run {run.id} requires action, but the server names no tool call.")
        return run


def _thread(thread_id: str) -> str:
    return f"/threads/{segment(thread_id)}"


def _run(thread_id: str, run_id: str) -> str:
    return f"{_thread(thread_id)}/runs/{segment(run_id)}"
