"""A server per test, and a client that checks the status of each answer."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from gpt_agent_fsm.local import LocalServer
from tests.local.stand_ins import PATIENCE, Gate, Waiting

BETA = {"OpenAI-Beta": "assistants=v2"}


class Client:
    """A client of one server that fails loudly if an answer has an unexpected status."""

    def __init__(self, server: LocalServer):
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update(BETA)

    def call(self, method: str, path: str, *, expect: int = 200, **kwargs: Any) -> dict[str, Any]:
        response = self.session.request(method, self.server.base_url + path, timeout=PATIENCE, **kwargs)
        assert response.status_code == expect, response.text
        assert response.headers["content-type"] == "application/json"
        return response.json()

    def get(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, body: object = None, **kwargs: Any) -> dict[str, Any]:
        return self.call("POST", path, json={} if body is None else body, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return self.call("DELETE", path, **kwargs)

    def error(self, method: str, path: str, status: int, **kwargs: Any) -> dict[str, Any]:
        answer = self.call(method, path, expect=status, **kwargs)
        assert set(answer) == {"error"}
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        return answer["error"]

    def thread(self, *said: str) -> str:
        messages = [{"role": "user", "content": text} for text in said]
        return self.post("/threads", {"messages": messages})["id"]

    def run(self, thread: str, **options: Any) -> dict[str, Any]:
        return self.post(f"/threads/{thread}/runs", {"assistant_id": "asst_1"} | options)

    def see(self, run: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """Poll the run until it has one of the statuses."""
        deadline = time.monotonic() + PATIENCE
        while (seen := self.get(f"/threads/{run['thread_id']}/runs/{run['id']}"))["status"] not in statuses:
            assert time.monotonic() < deadline, f"the run stays {seen['status']}"
        return seen

    def play(self, *said: str, until: tuple[str, ...] = ("completed", "failed", "requires_action")) -> dict[str, Any]:
        """Post a message on a new thread, and return its run as soon as it stops."""
        return self.see(self.run(self.thread(*said)), *until)

    def submit(self, run: dict[str, Any], *outputs: str, **kwargs: Any) -> dict[str, Any]:
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        given = [{"tool_call_id": call["id"], "output": output} for call, output in zip(calls, outputs, strict=True)]
        path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
        return self.post(path, {"tool_outputs": given}, **kwargs)

    def texts(self, thread: str, **params: Any) -> list[str]:
        listed = self.get(f"/threads/{thread}/messages", params={"order": "asc"} | params)
        return [message["content"][0]["text"]["value"] for message in listed["data"]]

    def conversation(self, *items: dict[str, Any]) -> str:
        return self.post("/conversations", {"items": list(items)})["id"]

    def ask(self, said: object = None, **options: Any) -> dict[str, Any]:
        """Create a response in the background."""
        options = {"model": "m", "background": True} | options
        return self.post("/responses", options if said is None else options | {"input": said})

    def follow(self, response: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """Poll the response until it has one of the statuses."""
        deadline = time.monotonic() + PATIENCE
        while (seen := self.get(f"/responses/{response['id']}"))["status"] not in statuses:
            assert time.monotonic() < deadline, f"the response stays {seen['status']}"
        return seen

    def answered(self, said: object = None, status: str = "completed", **options: Any) -> dict[str, Any]:
        """Create a response in the background, and return it as soon as it has this status."""
        return self.follow(self.ask(said, **options), status)

    def stream(self, method: str, path: str, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """Yield the name and the data of each server-sent event, as they come."""
        url = self.server.base_url + path
        with self.session.request(method, url, timeout=PATIENCE, stream=True, **kwargs) as response:
            assert response.status_code == 200, response.text
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in response.iter_lines(chunk_size=1):
                field, _, value = line.decode().partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, value if value == "[DONE]" else json.loads(value)

    def items(self, conversation: str, **params: Any) -> list[dict[str, Any]]:
        listed = self.get(f"/conversations/{conversation}/items", params={"order": "asc", "limit": 100} | params)
        return listed["data"]


@pytest.fixture
def serve() -> Iterator[Callable[..., Client]]:
    """Start servers which are closed at the end of the test, and return a client for each."""
    clients = []

    def start(*args: Any, **kwargs: Any) -> Client:
        clients.append(Client(LocalServer(*args, **kwargs)))
        return clients[-1]

    yield start
    for client in clients:
        client.session.close()
        client.server.close()


@pytest.fixture
def api(serve) -> Client:
    """A server that echoes."""
    return serve()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """A model that hangs until the end of the test, whether it is cancelled or not."""
    model = Waiting(heeds_cancel=False)
    yield model
    model.go.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate between a model's pieces, open at the end of the test at the latest."""
    made = Gate()
    yield made
    made.open()
