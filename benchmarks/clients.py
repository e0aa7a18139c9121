"""The clients of `turns.py`: this library, the official SDK, and loops written by hand.

A turn is a user message, a run that calls one tool, its output, and the new messages. Between the steps, the run is
polled without a pause, as often as the text of the message says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import requests

from benchmarks.turn_server import ADD, ANSWER, TEXT
from gpt_agent_fsm import Agent, Assistant, FunctionTool, Runtime, Settings, events
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.ports import Backend, Store

Converse: TypeAlias = Callable[[int, int], None]
"""Holds one conversation. Takes the number of turns, and how many polls each stop of a run takes."""
_ACTIVE = ("queued", "in_progress")
_MODEL = "gpt-4o"
ASSISTANT = "asst_1"


def check(text: str) -> None:
    """Raise an error if this is not the answer."""
    if text != ANSWER:
        raise RuntimeError(f"the answer is wrong: {text!r}")


def add(arguments: str) -> str:
    """Run the tool."""
    given = json.loads(arguments)
    return json.dumps(given["a"] + given["b"])


# --- by hand --------------------------------------------------------------------------------------------


def _by_hand(call: Callable[[str, str, Any], Any]) -> Converse:
    def converse(turns: int, polls: int) -> None:
        thread, last = f"/threads/{call('POST', '/threads', {})['id']}", ""
        for _ in range(turns):
            said = call("POST", f"{thread}/messages", {"role": "user", "content": TEXT.format(polls)})["id"]
            run = call("POST", f"{thread}/runs", {"assistant_id": ASSISTANT})
            where = f"{thread}/runs/{run['id']}"
            while run["status"] != "completed":
                if run["status"] in _ACTIVE:
                    run = call("GET", where, None)
                    continue
                calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
                outputs = [{"tool_call_id": each["id"], "output": add(each["function"]["arguments"])} for each in calls]
                run = call("POST", f"{where}/submit_tool_outputs", {"tool_outputs": outputs})
            page = call("GET", f"{thread}/messages?order=asc&limit=100&after={last or said}", None)
            last = page["last_id"]
            check(page["data"][-1]["content"][0]["text"]["value"])

    return converse


def with_prepared_requests(base_url: str) -> Converse:
    """Return a loop by hand that sends prepared requests directly to the adapter of `requests`."""
    local = threading.local()
    headers = {"Authorization": "Bearer k", "OpenAI-Beta": "assistants=v2"}

    def call(method: str, path: str, body: Any) -> Any:  # noqa: ANN401 - JSON
        if not hasattr(local, "adapter"):
            local.adapter, local.ready = requests.adapters.HTTPAdapter(), {}
        prepared = local.ready.get(path) if body is None else None
        if prepared is None:
            prepared = requests.Request(method, base_url + path, headers=headers, json=body).prepare()
            local.ready = {path: prepared} if body is None else local.ready
        answer = local.adapter.send(prepared, timeout=60)
        answer.raise_for_status()
        return answer.json()

    return _by_hand(call)


def with_sessions(base_url: str) -> Converse:
    """Return a plain loop by hand: each OS thread has a session of `requests`."""
    local = threading.local()

    def call(method: str, path: str, body: Any) -> Any:  # noqa: ANN401 - JSON
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.headers.update({"Authorization": "Bearer k", "OpenAI-Beta": "assistants=v2"})
        answer = local.session.request(method, base_url + path, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    return _by_hand(call)


# --- the official SDK -----------------------------------------------------------------------------------


def _sdk(base_url: str) -> Any:  # noqa: ANN401 - the SDK need not be installed
    try:
        import openai  # noqa: PLC0415 - only this part needs it
    except ModuleNotFoundError as error:
        raise SystemExit("The official SDK is missing: install it with `pip install openai`.") from error
    return openai.OpenAI(api_key="k", base_url=base_url, max_retries=0)


def sdk_on_assistants(base_url: str) -> Converse:
    """Return a loop with the official SDK."""
    threads = _sdk(base_url).beta.threads

    def converse(turns: int, polls: int) -> None:
        thread, last = threads.create().id, ""
        for _ in range(turns):
            said = threads.messages.create(thread, role="user", content=TEXT.format(polls)).id
            run = threads.runs.create(thread_id=thread, assistant_id=ASSISTANT)
            while run.status != "completed":
                if run.status in _ACTIVE:
                    run = threads.runs.retrieve(run.id, thread_id=thread)
                    continue
                calls = run.required_action.submit_tool_outputs.tool_calls
                outputs = [{"tool_call_id": each.id, "output": add(each.function.arguments)} for each in calls]
                run = threads.runs.submit_tool_outputs(run.id, thread_id=thread, tool_outputs=outputs)
            found = list(threads.messages.list(thread, order="asc", limit=100, after=last or said))
            last = found[-1].id
            check(found[-1].content[0].text.value)

    return converse


def sdk_on_responses(base_url: str) -> Converse:
    """Return a loop with the official SDK on the other API."""
    client = _sdk(base_url)
    tools = [{"type": "function", **ADD}]

    def converse(turns: int, polls: int) -> None:
        conversation = client.conversations.create().id
        for _ in range(turns):
            said: Any = [{"role": "user", "content": TEXT.format(polls)}]
            while said:
                run = client.responses.create(
                    model=_MODEL, conversation=conversation, background=True, input=said, tools=tools
                )
                while run.status in _ACTIVE:
                    run = client.responses.retrieve(run.id)
                calls = [item for item in run.output if item.type == "function_call"]
                said = [
                    {"type": "function_call_output", "call_id": each.call_id, "output": add(each.arguments)}
                    for each in calls
                ]
            check(run.output_text)

    return converse


# --- this library ---------------------------------------------------------------------------------------


def assistants_backend(base_url: str) -> Backend:
    return AssistantsBackend(base_url, "k")


def responses_backend(base_url: str) -> Backend:
    return ResponsesBackend(base_url, "k", assistants={ASSISTANT: Assistant(_MODEL, tools=[FunctionTool(**ADD)])})


@attrs.frozen
class Library:
    """A client with this library.

    Attributes:
        backend: makes the backend from the base URL.
        waits: True if an OS thread sends each message with `add_user_message` and calls `wait`. False if a handler
            sends the next message when the answer arrives.
        durable: True for a SQLite file in the current folder.
    """

    backend: Callable[[str], Backend]
    waits: bool = False
    durable: bool = False

    def __call__(self, base_url: str) -> Converse:
        """Return the function that holds conversations."""
        runtime = Runtime(self.backend(base_url), Settings(heartbeat_interval=1e-9), self._store())

        def by_waiting(turns: int, polls: int) -> None:
            heard: list[str] = []
            agent = runtime.start(ASSISTANT, subscribe=lambda agent, event: _answer(agent, event, heard))
            for _ in range(turns):
                agent.add_user_message(TEXT.format(polls))
                agent.wait()
                check(heard.pop())

        def by_handling(turns: int, polls: int) -> None:
            heard: list[str] = []
            left, over = [turns], threading.Event()

            def handle(agent: Agent, event: events.Event) -> None:
                _answer(agent, event, heard)
                if heard:
                    check(heard.pop())
                    left[0] -= 1
                    if left[0]:
                        agent.add_user_message(TEXT.format(polls))
                    else:
                        over.set()

            runtime.start(ASSISTANT, subscribe=handle).add_user_message(TEXT.format(polls))
            over.wait()

        return by_waiting if self.waits else by_handling

    def _store(self) -> Store | None:
        if not self.durable:
            return None
        from gpt_agent_fsm.stores import SQLStore  # noqa: PLC0415 - only this part needs it

        return SQLStore(f"sqlite:///{Path('turns.db').resolve()}")


def _answer(agent: Agent, event: events.Event, heard: list[str]) -> None:
    """Answer a tool call, and note the text of a message."""
    if isinstance(event, events.ToolCallRequested):
        agent.submit_tool_output(event.id, event.arguments["a"] + event.arguments["b"])
    elif isinstance(event, events.AssistantMessageAdded):
        heard.append(event.content)


CLIENTS: dict[str, Callable[[str], Converse]] = {
    "assistants/sdk": sdk_on_assistants,
    "assistants/prepared": with_prepared_requests,
    "assistants/threads": with_sessions,
    "assistants/handlers": Library(assistants_backend),
    "assistants/wait": Library(assistants_backend, waits=True),
    "assistants/sqlite": Library(assistants_backend, durable=True),
    "responses/sdk": sdk_on_responses,
    "responses/handlers": Library(responses_backend),
    "responses/wait": Library(responses_backend, waits=True),
}
