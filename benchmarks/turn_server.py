"""A small server of both APIs for turns with one tool call. It costs little, and its objects are as long as OpenAI's.

The text of a message says how often a run must be polled before it stops: "What is 2 + 3? Stop after 3 polls." A run
stops first with a call of the function `add`, and after that with an answer. `GET /v1/requests` returns how many other
requests were made so far.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any
from urllib.parse import parse_qs

from benchmarks.serving import json_answer, serve

TEXT = "What is 2 + 3? Stop after {} polls."
ANSWER = "The answer is 5."
ADD: dict[str, Any] = {
    "name": "add",
    "description": "Add two integers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "strict": False,
}
_ARGUMENTS = '{"a": 2, "b": 3}'
_TIME = 1_750_000_000
_HEADERS = "".join(
    f"{name}: {value}\r\n"
    for name, value in {
        "openai-version": "2020-10-01",
        "openai-organization": "org-0000000000000000",
        "openai-processing-ms": "42",
        "x-request-id": "req_00000000000000000000000000000000",
        "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
        "x-content-type-options": "nosniff",
        "cf-cache-status": "DYNAMIC",
        "cf-ray": "0000000000000000-AMS",
        "alt-svc": 'h3=":443"; ma=86400',
        "server": "cloudflare",
    }.items()
)
_RUN: dict[str, Any] = {
    "object": "thread.run",
    "created_at": _TIME,
    "started_at": _TIME,
    "expires_at": _TIME + 600,
    "cancelled_at": None,
    "failed_at": None,
    "completed_at": None,
    "required_action": None,
    "last_error": None,
    "model": "gpt-4o",
    "instructions": "You are a helpful assistant that adds numbers. Use the tool for every addition. " * 4,
    "tools": [{"type": "function", "function": ADD}],
    "tool_resources": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "max_completion_tokens": None,
    "max_prompt_tokens": None,
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "incomplete_details": None,
    "usage": None,
    "response_format": "auto",
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}
_RESPONSE: dict[str, Any] = {
    "object": "response",
    "created_at": _TIME,
    "background": True,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "model": "gpt-4o",
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [{"type": "function", **ADD}],
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
}
_counter = itertools.count(1)


def _id(kind: str) -> str:
    return f"{kind}_{next(_counter):024d}"


def _page(objects: list[Any], query: dict[str, list[str]]) -> dict[str, Any]:
    """Return one page of a list whose oldest object comes first."""
    found = objects if query.get("order") == ["asc"] else objects[::-1]
    if "after" in query:
        found = list(itertools.dropwhile(lambda each: each["id"] != query["after"][0], found))[1:]
    limit = int(query.get("limit", ["20"])[0])
    data = found[:limit]
    ids = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ids, "has_more": len(found) > limit}


class Thread:
    """A thread or a conversation: its messages or items, its runs, and what its newest run still does."""

    def __init__(self, kind: str) -> None:
        self.shown: dict[str, Any] = {"id": _id(kind), "object": kind, "created_at": _TIME, "metadata": {}}
        self.entries: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.polls = self.polls_left = 0
        self.has_outputs = False

    def hear(self, text: str) -> None:
        """Read from a user message after how many polls the runs stop."""
        self.polls = int(re.findall(r"(\d+) polls", text)[-1])

    def begin(self, *, has_outputs: bool) -> None:
        self.polls_left, self.has_outputs = self.polls, has_outputs

    def is_ready(self) -> bool:
        """Count a poll. Return whether the run stops now."""
        self.polls_left -= 1
        return self.polls_left == 0


class Server:
    """Answers the requests of both APIs."""

    def __init__(self) -> None:
        self._threads: dict[str, Thread] = {}
        self._responses: dict[str, tuple[Thread, dict[str, Any]]] = {}
        self._requests = 0

    async def answer(self, writer: asyncio.StreamWriter, method: str, path: str, body: dict[str, Any]) -> None:
        """Answer one request."""
        path, _, query = path.partition("?")
        if path == "requests":
            writer.write(json_answer(self._requests))
            return
        self._requests += 1
        writer.write(json_answer(self._answer(method, path.split("/"), parse_qs(query), body), _HEADERS))

    def _answer(
        self, method: str, path: list[str], query: dict[str, list[str]], body: dict[str, Any]
    ) -> dict[str, Any]:
        if path[0] == "responses":
            return self._begun(body) if method == "POST" else self._polled_response(path[1])
        if len(path) == 1:
            return self._made({"threads": "thread", "conversations": "conv"}[path[0]])
        thread = self._threads[path[1]]
        if path[2:3] == ["runs"]:
            return self._run(method, thread, path[3:], query, body)
        if path[2:]:
            return self._added(thread, body) if method == "POST" else _page(thread.entries, query)
        if method == "POST":
            thread.shown["metadata"] = body["metadata"]
        return thread.shown

    def _made(self, kind: str) -> dict[str, Any]:
        thread = Thread(kind)
        self._threads[thread.shown["id"]] = thread
        return thread.shown

    def _added(self, thread: Thread, body: dict[str, Any]) -> dict[str, Any]:
        if "items" in body:
            return {"object": "list", "data": [self._add_item(thread, item) for item in body["items"]]}
        thread.hear(body["content"])
        return self._add_message(thread, "user", body["content"], body.get("metadata") or {})

    # --- threads and runs ---------------------------------------------------------------------------------

    def _run(
        self, method: str, thread: Thread, path: list[str], query: dict[str, list[str]], body: dict[str, Any]
    ) -> dict[str, Any]:
        match method, path:
            case "GET", []:
                return _page(thread.runs, query)
            case "POST", []:
                about = {"thread_id": thread.shown["id"], "assistant_id": body["assistant_id"], "status": "queued"}
                thread.runs.append({"id": _id("run"), **_RUN, **about, "metadata": body.get("metadata") or {}})
                thread.begin(has_outputs=False)
            case "POST", _:
                thread.runs[-1] |= {"status": "queued", "required_action": None}
                thread.begin(has_outputs=True)
            case _ if thread.is_ready():
                self._stop(thread, thread.runs[-1])
        return thread.runs[-1]

    def _stop(self, thread: Thread, run: dict[str, Any]) -> None:
        if thread.has_outputs:
            usage = {"prompt_tokens": 123, "completion_tokens": 21, "total_tokens": 144}
            run |= {"status": "completed", "completed_at": _TIME, "usage": usage}
            self._add_message(thread, "assistant", ANSWER, {}, run)
            return
        call = {"id": _id("call"), "type": "function", "function": {"name": "add", "arguments": _ARGUMENTS}}
        action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
        run |= {"status": "requires_action", "required_action": action}

    def _add_message(
        self, thread: Thread, role: str, text: str, metadata: dict[str, str], run: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        message = {
            "id": _id("msg"),
            "object": "thread.message",
            "created_at": _TIME,
            "assistant_id": run and run["assistant_id"],
            "thread_id": thread.shown["id"],
            "run_id": run and run["id"],
            "role": role,
            "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
            "attachments": [],
            "metadata": metadata,
            "status": "completed",
            "completed_at": _TIME,
            "incomplete_at": None,
            "incomplete_details": None,
        }
        thread.entries.append(message)
        return message

    # --- conversations and responses ----------------------------------------------------------------------

    def _begun(self, body: dict[str, Any]) -> dict[str, Any]:
        thread = self._threads[body["conversation"]]
        added = [self._add_item(thread, item) for item in body.get("input") or ()]
        thread.begin(has_outputs=any(item["type"] == "function_call_output" for item in added))
        about = {"conversation": {"id": thread.shown["id"]}, "metadata": body.get("metadata") or {}}
        response = {"id": _id("resp"), **_RESPONSE, "status": "queued", **about}
        self._responses[response["id"]] = thread, response
        return response

    def _polled_response(self, response_id: str) -> dict[str, Any]:
        thread, response = self._responses[response_id]
        if thread.is_ready():
            text = {"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}
            call = {"type": "function_call", "call_id": _id("call"), "name": "add", "arguments": _ARGUMENTS}
            message = {"type": "message", "role": "assistant", "content": [text]}
            usage = {
                "input_tokens": 123,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 21,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 144,
            }
            added = self._add_item(thread, message if thread.has_outputs else call)
            response |= {"status": "completed", "output": [added], "usage": usage}
        return response

    def _add_item(self, thread: Thread, given: dict[str, Any]) -> dict[str, Any]:
        item = {"type": "message", **given, "status": "completed"}
        if item.get("role") == "user":
            if isinstance(item["content"], str):
                item["content"] = [{"type": "input_text", "text": item["content"]}]
            thread.hear(item["content"][0]["text"])
        kind = {"message": "msg", "function_call": "fc"}.get(item["type"], "fco")
        thread.entries.append({"id": _id(kind), **item})
        return thread.entries[-1]


if __name__ == "__main__":
    asyncio.run(serve(Server().answer))
