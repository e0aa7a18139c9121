"""An importer, the server it imports from and to, and faults that may stand in for its requests."""

import collections

import attrs
import requests

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.importing import import_thread
from gpt_agent_fsm.errors import (
    OutcomeUnknown,
)
from gpt_agent_fsm.settings import Settings

KEY = "sk-a-secret-key"
SETTINGS = Settings(request_max_attempts=4, request_retry_delay=2, request_retry_max_delay=6, receive_timeout=25)
LOOKS = [0.1, 0.2, 0.5, 1.0]
GRACE = 25


class Killed(BaseException):
    """The process dies."""


def killed():
    return Killed()


def unknown(in_flight=False):
    return OutcomeUnknown(None, None, "The connection was lost.", in_flight=in_flight)


# --- a server and its requests ----------------------------------------------------------------------------


class Server:
    """The embedded server, asked by hand."""

    def __init__(self, base_url):
        self.base_url = base_url

    def ask(self, method, path, body=None, **params):
        headers = {"OpenAI-Beta": "assistants=v2", "Authorization": f"Bearer {KEY}"}
        answer = requests.request(
            method, self.base_url + path, json=body, params=params, headers=headers, timeout=20, proxies={"http": None}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, name, content):
        """Upload a file and return its id."""
        url, headers, form = f"{self.base_url}/files", {"Authorization": f"Bearer {KEY}"}, {"purpose": "user_data"}
        answer = requests.post(url, files={"file": (name, content)}, data=form, headers=headers, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def thread(self, *messages):
        """Make a thread; a message is its fields, or the text of a user's or, after "> ", of an assistant's."""
        return self.ask("POST", "/threads", {"messages": [said(message) for message in messages]})["id"]

    def say(self, thread_id, *messages):
        for message in messages:
            self.ask("POST", f"/threads/{thread_id}/messages", said(message))

    def conversation(self, *items, **metadata):
        return self.ask("POST", "/conversations", {"items": items, "metadata": metadata})["id"]

    def items(self, conversation_id):
        """Return the items of a conversation, oldest first."""
        found, after = [], {}
        while True:
            page = self.ask("GET", f"/conversations/{conversation_id}/items", order="asc", limit=100, **after)
            found += page["data"]
            if not page["has_more"]:
                return found
            after = {"after": page["last_id"]}

    def told(self, conversation_id):
        """Return the messages of a conversation, each as the text of `thread`."""
        return [
            "> " * (item["role"] == "assistant") + "|".join(part["text"] for part in item["content"])
            for item in self.items(conversation_id)
        ]


def said(message):
    if not isinstance(message, str):
        return message
    role = "assistant" if message.startswith("> ") else "user"
    return {"role": role, "content": message.removeprefix("> ")}


def talk(count):
    """Return this many messages, two of three the user's."""
    return [f"> answer {n}" if n % 3 == 2 else f"question {n}" for n in range(count)]


@attrs.define
class Request:
    """One request, before it is sent."""

    http: object
    method: str
    path: str
    shape: type
    body: object
    options: dict

    def send(self):
        if self.method == "GET":
            return self.http.get(self.path, self.shape, **self.options)
        return self.http.post(self.path, self.body, self.shape, **self.options)


class Wires:
    """All requests that are made, in order; a fault may stand in for each."""

    def __init__(self):
        self.sent = []
        self.faults = []
        self.fault_at = collections.defaultdict(lambda: None)

    def at(self, number, fault):
        """Let a fault stand in for the n-th request of all."""
        self.fault_at[number] = fault

    def on(self, method, end, *faults):
        """Let faults stand in for the next requests of this method whose paths end so; None for a good one."""
        self.faults += [(method, end, fault) for fault in faults]

    def tap(self, backend):
        """Lead the requests of a backend through here."""
        backend._http = Tapped(backend._http, self)
        return backend

    def make(self, request):
        self.sent.append(request)
        fault = self.fault_at[len(self.sent)]
        planned = next((f for f in self.faults if f[0] == request.method and request.path.endswith(f[1])), None)
        if planned is not None:
            self.faults.remove(planned)
            fault = planned[2]
        return request.send() if fault is None else fault(request)

    @property
    def batches(self):
        """The items of each request that adds some."""
        return [r.body["items"] for r in self.sent if r.method == "POST" and r.path.endswith("/items")]


class Tapped:
    def __init__(self, http, wires):
        self._http = http
        self._wires = wires

    @property
    def base_url(self):
        return self._http.base_url

    def get(self, path, shape, **options):
        return self._wires.make(Request(self._http, "GET", path, shape, None, options))

    def post(self, path, body, shape, **options):
        return self._wires.make(Request(self._http, "POST", path, shape, body, options))

    def close(self):
        self._http.close()


# Faults that may stand in for a request.


def before(error):
    """Fail without an effect."""

    def fault(_):
        raise error()

    return fault


def after(error):
    """Take effect, and fail."""

    def fault(request):
        request.send()
        raise error()

    return fault


def some(count, error):
    """Take the first items only, and fail."""

    def fault(request):
        attrs.evolve(request, body={"items": request.body["items"][:count]}).send()
        raise error()

    return fault


def without_newest(count):
    """List all but the newest items."""

    def fault(request):
        page = request.send()
        return attrs.evolve(page, data=page.data[: len(page.data) - count], has_more=False)

    return fault


@attrs.define
class Importer:
    """Imports without real pauses: they are written down instead."""

    source: AssistantsBackend
    target: ResponsesBackend
    pauses: list = attrs.field(factory=list)
    reports: list = attrs.field(factory=list)

    def __call__(self, thread_id, into=None, **options):
        self.pauses.clear()
        self.reports.clear()
        options = {"settings": SETTINGS, "sleep": self.pauses.append, "report": self.reports.append} | options
        return import_thread(thread_id, self.source, self.target, into=into, **options)


def importer_for(base_url, wires):
    return Importer(
        wires.tap(AssistantsBackend(base_url, KEY)), wires.tap(ResponsesBackend(base_url, KEY, assistants={}))
    )


MANY = talk(45)
