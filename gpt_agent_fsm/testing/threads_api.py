"""A simulated Assistants API: it takes JSON requests, calls a `SimulatedServer`, and returns JSON answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_fsm.backends.shared.content import sent_parts_of
from gpt_agent_fsm.backends.shared.sending import METADATA_KEY
from gpt_agent_fsm.errors import RequestRefused
from gpt_agent_fsm.machine.arguments import decision_output
from gpt_agent_fsm.ports import File, Image, Message, Run, RunRequest, RunStatus, Text, ToolOutputsRequest
from gpt_agent_fsm.testing.faulty_stream import SentEvent
from gpt_agent_fsm.testing.server import SimulatedServer

__all__ = ["SimulatedThreads"]

Doc = dict[str, Any]

_STATUSES = {
    RunStatus.ACTIVE: "in_progress",
    RunStatus.CANCELLING: "cancelling",
    RunStatus.NEEDS_TOOLS: "requires_action",
    RunStatus.COMPLETED: "completed",
}
_OWN_STATUSES = ("cancelled", "expired")
"""If a run fails with one of these codes, the API shows the code as the run's status."""
_IN_PROGRESS = (RunStatus.ACTIVE, RunStatus.CANCELLING)
_NO_TIME = 0.0
"""The timeout for calls to the server in memory, which ignores timeouts."""


class SimulatedThreads:
    """Handles `GET` and `POST` as the Assistants API does, and raises the errors that the HTTP client would raise.

    Args:
        server: the server in memory that keeps the threads and their runs.
    """

    def __init__(self, server: SimulatedServer) -> None:
        self._server = server

    def get(self, path: str, params: Mapping[str, str]) -> Doc:
        """Answer a `GET`."""
        match path.strip("/").split("/"):
            case ["threads", thread_id]:
                self._server.get_thread(thread_id, timeout=_NO_TIME)
                return {"id": thread_id}
            case ["threads", thread_id, "messages"]:
                return self._list_messages(thread_id, params)
            case ["threads", thread_id, "runs"]:
                self._server.get_thread(thread_id, timeout=_NO_TIME)
                return self._list_runs(thread_id, params)
            case ["threads", thread_id, "runs", run_id]:
                return _run(thread_id, self._server.get_run(thread_id, run_id, timeout=_NO_TIME))
        raise RequestRefused(404, None, f"Invalid URL (GET {path})")

    def post(self, path: str, body: Doc) -> Doc:
        """Answer a `POST`."""
        match path.strip("/").split("/"):
            case ["threads"]:
                return {"id": self._server.create_thread(timeout=_NO_TIME)}
            case ["threads", thread_id, "messages"]:
                return self._post_message(thread_id, body)
            case ["threads", thread_id, "runs"]:
                wanted = RunRequest(
                    thread_id=thread_id, assistant_id=body["assistant_id"], key=body["metadata"][METADATA_KEY]
                )
                return _run(thread_id, self._server.create_run(wanted, timeout=_NO_TIME))
            case ["threads", thread_id, "runs", run_id, "submit_tool_outputs"]:
                return _run(
                    thread_id, self._server.submit_tool_outputs(_given(thread_id, run_id, body), timeout=_NO_TIME)
                )
            case ["threads", thread_id, "runs", run_id, "cancel"]:
                return _run(thread_id, self._server.cancel_run(thread_id, run_id, timeout=_NO_TIME))
        raise RequestRefused(404, None, f"Invalid URL (POST {path})")

    def events(self, run: Doc, hurries: Callable[[], bool]) -> Iterator[SentEvent | None]:
        """Yield the events of a run, and None when the server is silent.

        `hurries` returns whether reading a silent stream makes the run take its next step; see `StreamFaults.hurry`.
        """
        server, thread_id, run_id = self._server, run["thread_id"], run["id"]
        yield "thread.run.created", run
        while (view := self._view_of(thread_id, run_id)).status in _IN_PROGRESS:
            message = server.next_message(thread_id, run_id)
            for character in "" if message is None else message[1]:
                delta = {"content": [{"index": 0, "type": "text", "text": {"value": character}}]}
                yield "thread.message.delta", {"id": message and message[0], "delta": delta}
            if message is not None or hurries():
                server.make_step(thread_id, run_id)
            is_silent = server.next_message(thread_id, run_id) is None
            if is_silent and self._view_of(thread_id, run_id).status in _IN_PROGRESS:
                yield None
        yield f"thread.run.{view.status}", _run(thread_id, view)
        yield "done", {}

    def _view_of(self, thread_id: str, run_id: str) -> Run:
        return next(run for run in self._server.runs(thread_id) if run.id == run_id)

    def _post_message(self, thread_id: str, body: Doc) -> Doc:
        key, parts = body["metadata"][METADATA_KEY], sent_parts_of(body["content"], body.get("attachments"))
        self._server.post_parts(thread_id, parts, key=key, timeout=_NO_TIME)
        return _message(thread_id, self._server.messages(thread_id)[-1])

    def _list_messages(self, thread_id: str, params: Mapping[str, str]) -> Doc:
        newest_first = self._server.habits.lists_newest_first(params.get("order"))
        page = self._server.list_messages(
            thread_id, after=params.get("after"), newest_first=newest_first, timeout=_NO_TIME
        )
        docs = [self._server.habits.shown(_message(thread_id, message)) for message in page.messages]
        if self._server.habits.order == "newest first" or self._server.habits.coarse_times:
            time_of = self._server.habits.time_of
            times = {message.id: time_of(number) for number, message in enumerate(self._server.messages(thread_id))}
            docs = [{**doc, "created_at": times[doc["id"]]} for doc in docs]
        return {"data": docs, "has_more": page.next_after is not None}

    def _list_runs(self, thread_id: str, params: Mapping[str, str]) -> Doc:
        runs: Sequence[Run] = self._server.runs(thread_id)
        if self._server.habits.lists_newest_first(params.get("order")):
            runs = runs[::-1]
        after = params.get("after")
        start = next((place + 1 for place, run in enumerate(runs) if run.id == after), 0)
        end = start + int(params.get("limit", "20"))
        return {"data": [_run(thread_id, run) for run in runs[start:end]], "has_more": end < len(runs)}


def _given(thread_id: str, run_id: str, body: Doc) -> ToolOutputsRequest:
    outputs = tuple((each["tool_call_id"], each["output"]) for each in body.get("tool_outputs", ()))
    approvals = body.get("tool_approvals", ())
    decisions = tuple((each["tool_call_id"], decision_output(approve=each["approve"])) for each in approvals)
    return ToolOutputsRequest(thread_id=thread_id, run_id=run_id, outputs=outputs, decisions=decisions)


def _message(thread_id: str, message: Message) -> Doc:
    return {
        "id": message.id,
        "thread_id": thread_id,
        "role": message.role,
        "content": [_content_part(part) for part in message.parts if not isinstance(part, File)],
        "attachments": [{"file_id": part.file_id} for part in message.parts if isinstance(part, File)],
        "run_id": message.run_id,
        "assistant_id": message.assistant_id,
        "metadata": _key(message.key),
    }


def _content_part(part: Text | Image) -> Doc:
    if isinstance(part, Text):
        return {"type": "text", "text": {"value": part.text, "annotations": []}}
    if part.file_id is not None:
        return {"type": "image_file", "image_file": {"file_id": part.file_id}}
    return {"type": "image_url", "image_url": {"url": part.url}}


def _run(thread_id: str, run: Run) -> Doc:
    return {
        "id": run.id,
        "thread_id": thread_id,
        "assistant_id": run.assistant_id,
        "status": _STATUSES.get(run.status) or (run.code if run.code in _OWN_STATUSES else "failed"),
        "required_action": _required_action(run) if run.status is RunStatus.NEEDS_TOOLS else None,
        "last_error": {"code": run.code, "message": run.message} if run.code else None,
        "usage": {
            "prompt_tokens": run.usage.prompt_tokens,
            "completion_tokens": run.usage.completion_tokens,
            "total_tokens": run.usage.total_tokens,
        },
        "metadata": _key(run.key),
    }


def _required_action(run: Run) -> Doc:
    if run.unsupported:
        return {"type": run.unsupported}
    functions = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in run.tool_calls
        if not call.by_server
    ]
    if functions or not run.tool_calls:
        return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": functions}}
    # Azure's agents ask for approvals in a separate round, without function calls.
    calls = [
        {"id": call.id, "type": "mcp", "name": call.name, "arguments": call.arguments, "server_label": "server"}
        for call in run.tool_calls
    ]
    return {"type": "submit_tool_approval", "submit_tool_approval": {"tool_calls": calls}}


def _key(key: str | None) -> Doc:
    return {} if key is None else {METADATA_KEY: key}
