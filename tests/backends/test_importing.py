"""A thread becomes a conversation: nothing is lost, doubled or reordered, whatever happens on the way."""

import collections
import contextlib
import json
import random
from functools import partial

import attrs
import pytest
import requests

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.importing import IMPORTED_FROM, NotAnImport, ThreadImport, import_thread
from gpt_agent_fsm.errors import (
    AccessDenied,
    InvalidThreadId,
    OutcomeUnknown,
    RequestRefused,
    ThreadBusy,
    TransientError,
)
from gpt_agent_fsm.local import LocalServer
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


# --- a server, and what goes over the wire ----------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with LocalServer(api_key=KEY) as server:
        yield server


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
        """Return what was said on a conversation, each as the text of `thread`."""
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
    """Return so many messages, where two of three are the user's."""
    return [f"> answer {n}" if n % 3 == 2 else f"question {n}" for n in range(count)]


@attrs.define
class Request:
    """One request, as it is about to be sent."""

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
        """What each request that adds items brings."""
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


@pytest.fixture
def local(server):
    return Server(server.base_url)


@pytest.fixture
def wires():
    return Wires()


@attrs.define
class Importer:
    """Imports with nothing of the world in it but the server: pauses are written down."""

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


@pytest.fixture
def importer(server, wires):
    importer = importer_for(server.base_url, wires)
    yield importer
    importer.source.close()
    importer.target.close()


# --- what is copied ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 20, 21, 250])
def test_all_messages_are_copied_in_order_with_their_roles(local, importer, count):
    done = importer(local.thread(*talk(count)))
    assert local.told(done.conversation_id) == talk(count)
    assert (done.copied, done.total, done.left_out, done.messages_left_out) == (count, count, {}, 0)
    assert importer.pauses == []


def test_a_request_adds_at_most_20_messages(local, importer, wires):
    importer(local.thread(*talk(45)))
    assert [len(batch) for batch in wires.batches] == [20, 20, 5]


def test_the_conversation_names_the_thread_it_was_imported_from(local, importer):
    thread_id = local.thread("Hello")
    conversation_id = importer(thread_id).conversation_id
    assert IMPORTED_FROM == "gpt_agent_fsm_imported_from"
    assert local.ask("GET", f"/conversations/{conversation_id}")["metadata"] == {IMPORTED_FROM: thread_id}


def test_the_thread_is_not_changed(local, importer, wires):
    importer(local.thread(*talk(3)))
    assert {request.method for request in wires.sent if request.path.startswith("/threads")} == {"GET"}


def test_each_role_is_sent_in_the_shape_that_the_api_takes(local, importer, wires):
    importer(local.thread("How are you?", "> Well."))
    (batch,) = wires.batches
    assert batch == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "How are you?"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Well.", "annotations": []}],
        },
    ]


def test_texts_stay_as_they_are(local, importer):
    text = "  two\n\n  lines \t é 🙂 \x00 <b>&amp;</b>\r\n"
    assert local.told(importer(local.thread(text)).conversation_id) == [text]


def test_the_parts_of_a_message_stay_one_message(local, importer):
    parts = [{"type": "text", "text": text} for text in ("one", "two", "three")]
    thread_id = local.thread({"role": "user", "content": parts}, "four")
    assert local.told(importer(thread_id).conversation_id) == ["one|two|three", "four"]


def test_images_by_url_go_along_with_what_the_user_said(local, importer):
    plain, fine = ({"type": "image_url", "image_url": {"url": f"https://example.com/{n}.png"}} for n in (1, 2))
    fine["image_url"]["detail"] = "high"
    thread_id = local.thread({"role": "user", "content": [{"type": "text", "text": "Look:"}, plain, fine]})
    done = importer(thread_id)
    (item,) = local.items(done.conversation_id)
    assert item["content"] == [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": "https://example.com/1.png", "detail": "auto"},
        {"type": "input_image", "image_url": "https://example.com/2.png", "detail": "high"},
    ]
    assert done.left_out == {}
    assert importer(thread_id, into=done.conversation_id).copied == 1


def test_a_report_follows_everything_that_is_added(local, importer):
    done = importer(local.thread(*talk(45)))
    assert [(report.copied, report.total) for report in importer.reports] == [(0, 45), (20, 45), (40, 45), (45, 45)]
    assert {report.conversation_id for report in importer.reports} == {done.conversation_id}
    assert importer.reports[-1] == done


def test_without_settings_a_report_or_a_sleep_it_goes_as_well(local, importer):
    done = import_thread(local.thread("Hello"), importer.source, importer.target)
    assert local.told(done.conversation_id) == ["Hello"]


# --- what is wrong from the beginning ----------------------------------------------------------------------------


@pytest.mark.parametrize(("thread_id", "into"), [(" ", None), ("", None), ("thread_1", ""), ("thread_1", "\n")])
def test_a_blank_id_is_refused_before_anything_is_asked(importer, wires, thread_id, into):
    with pytest.raises(ValueError, match="the ids of the thread and of the conversation must not be blank"):
        importer(thread_id, into)
    assert wires.sent == []


def test_a_thread_that_is_not_there_makes_no_conversation(importer, wires):
    with pytest.raises(InvalidThreadId, match="knows no thread 'thread_none'"):
        importer("thread_none")
    assert [request.method for request in wires.sent] == ["GET"]
    assert importer.reports == importer.pauses == []


def test_a_conversation_that_is_not_there_is_named(local, importer):
    with pytest.raises(InvalidThreadId, match="knows no thread 'conv_none'"):
        importer(local.thread("Hello"), "conv_none")


def test_a_wrong_key_is_not_tried_again(server, local, wires):
    importer = Importer(
        wires.tap(AssistantsBackend(server.base_url, KEY)),
        wires.tap(ResponsesBackend(server.base_url, "sk-the-wrong-key", assistants={})),
    )
    with pytest.raises(AccessDenied) as caught:
        importer(local.thread("Hello"))
    assert "sk-" not in str(caught.value)
    assert importer.pauses == []


# --- going on with an import ------------------------------------------------------------------------------------------

MANY = talk(45)


@pytest.mark.parametrize("kill", [before, after])
def test_an_import_that_is_killed_at_any_request_and_taken_up_loses_doubles_and_reorders_nothing(
    server, local, wires, importer, kill
):
    thread_id = local.thread(*MANY)
    importer(thread_id)
    whole = len(wires.sent)
    assert whole == 7
    for number in range(1, whole + 1):
        life = Wires()
        life.at(number, kill(killed))
        dying = importer_for(server.base_url, life)
        with pytest.raises(Killed):
            dying(thread_id)
        begun = dying.reports[-1].conversation_id if dying.reports else None
        assert (begun is None) == (number <= 3)
        done = importer(thread_id, begun)
        assert local.told(done.conversation_id) == MANY, number
        assert begun in (None, done.conversation_id)


@pytest.mark.parametrize("kill", [before, after])
def test_also_an_import_that_is_killed_over_and_over_comes_to_its_end(server, local, kill):
    thread_id, begun, lives = local.thread(*MANY), None, 0
    while True:
        life, lives = Wires(), lives + 1
        life.on("POST", "/items", None, kill(killed))
        importer = importer_for(server.base_url, life)
        try:
            done = importer(thread_id, begun)
        except Killed:
            begun = importer.reports[-1].conversation_id
        else:
            break
    assert local.told(done.conversation_id) == MANY
    assert lives == {before: 3, after: 2}[kill]


def test_only_what_is_missing_is_added(local, importer, wires):
    thread_id = local.thread(*MANY)
    wires.on("POST", "/items", None, before(killed))
    with pytest.raises(Killed):
        importer(thread_id)
    begun = importer.reports[-1]
    assert begun.copied == 20
    wires.sent.clear()
    done = importer(thread_id, begun.conversation_id)
    assert [len(batch) for batch in wires.batches] == [20, 5]
    assert [report.copied for report in importer.reports] == [20, 40, 45]
    assert done.conversation_id == begun.conversation_id
    assert not [request for request in wires.sent if request.path == "/conversations"]


def test_an_import_that_was_done_adds_nothing(local, importer, wires):
    thread_id = local.thread(*MANY)
    done = importer(thread_id)
    wires.sent.clear()
    assert importer(thread_id, done.conversation_id) == done
    assert {request.method for request in wires.sent} == {"GET"}
    assert importer.pauses == []
    # What was seen once is not read again.
    assert wires.sent[-1].options["params"]["after"] == local.items(done.conversation_id)[-1]["id"]


def test_what_was_said_on_the_thread_since_is_added(local, importer):
    thread_id = local.thread("one")
    conversation_id = importer(thread_id).conversation_id
    local.say(thread_id, "> two", "three")
    importer(thread_id, conversation_id)
    assert local.told(conversation_id) == ["one", "> two", "three"]


def test_what_was_added_just_before_may_be_listed_late(local, importer, wires):
    thread_id = local.thread(*MANY)
    wires.on("POST", "/items", None, after(killed))
    with pytest.raises(Killed):
        importer(thread_id)
    wires.on("GET", "/items", without_newest(20), without_newest(7))
    done = importer(thread_id, importer.reports[-1].conversation_id)
    assert local.told(done.conversation_id) == MANY
    assert importer.reports[0].copied == 40
    assert importer.pauses == LOOKS


def test_white_space_that_a_server_keeps_otherwise_does_not_matter(local, importer):
    thread_id = local.thread(" one\r\n two ", "three")
    conversation_id = local.conversation({"role": "user", "content": "one\ntwo"})
    importer(thread_id, conversation_id)
    assert local.told(conversation_id) == ["one\ntwo", "three"]


USER_ONE = {"role": "user", "content": "one"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([{"role": "user", "content": "uno"}], "its item 1 is something else"),
        ([{"role": "assistant", "content": "one"}], "its item 1 is something else"),
        ([USER_ONE, USER_ONE], "its item 2 is something else"),
        ([USER_ONE, CALL], "its item 2 is something else"),
        (
            [USER_ONE, {"role": "assistant", "content": "two"}, USER_ONE],
            "it has more items than the 2 messages of the thread",
        ),
    ],
)
def test_a_conversation_that_is_no_import_of_the_thread_is_left_alone(local, importer, wires, items, reason):
    thread_id, conversation_id = local.thread("one", "> two"), local.conversation(*items)
    there = local.items(conversation_id)
    with pytest.raises(NotAnImport, match=f"is not an import of the thread '{thread_id}': {reason}"):
        importer(thread_id, conversation_id)
    assert local.items(conversation_id) == there
    assert {request.method for request in wires.sent} == {"GET"}
    assert importer.reports == []


def test_a_conversation_that_begins_like_the_thread_and_is_an_import_of_another_is_left_alone(local, importer):
    thread_id, conversation_id = local.thread("one"), local.conversation(**{IMPORTED_FROM: "thread_other"})
    with pytest.raises(NotAnImport, match=r"it is one of the thread 'thread_other'\. It was left as it is\."):
        importer(thread_id, conversation_id)
    assert local.items(conversation_id) == []


def test_its_sentence_says_nothing_of_what_was_said(local, importer):
    thread_id, conversation_id = local.thread("a secret"), local.conversation({"role": "user", "content": "another"})
    with pytest.raises(NotAnImport) as caught:
        importer(thread_id, conversation_id)
    assert "secret" not in str(caught.value)
    assert "another" not in str(caught.value)


# --- requests without an answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("fault", "pauses"),
    [
        (before(unknown), 5),
        (after(unknown), 0),
        (before(partial(unknown, in_flight=True)), 6),
        (after(partial(unknown, in_flight=True)), 0),
        (some(3, unknown), 4),
        (some(3, partial(unknown, in_flight=True)), 5),
    ],
    ids=["no effect", "an effect", "given up, no effect", "given up, an effect", "a part", "given up, a part"],
)
def test_a_request_without_an_answer_is_settled_by_looking(local, importer, wires, number, fault, pauses):
    wires.on("POST", "/items", *[None] * (number - 1), fault)
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    assert len(importer.pauses) == pauses


def test_items_that_are_listed_late_are_waited_for(local, importer, wires):
    wires.on("POST", "/items", after(unknown))
    wires.on("GET", "/items", without_newest(20), without_newest(3), without_newest(1))
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    assert importer.pauses == LOOKS[:3]
    assert [len(batch) for batch in wires.batches] == [20, 20, 5]


def test_a_request_that_was_given_up_may_land_until_the_grace_is_over(local, importer, wires):
    thread_id, waiting = local.thread(*MANY), []

    def late(request):
        waiting.append(request)
        raise unknown(in_flight=True)

    def sleep(seconds):
        importer.pauses.append(seconds)
        if seconds == GRACE:
            waiting.pop().send()

    wires.on("POST", "/items", None, late)
    done = importer(thread_id, sleep=sleep)
    assert local.told(done.conversation_id) == MANY
    assert importer.pauses == [*LOOKS, GRACE]


def test_a_request_that_lands_even_later_is_noticed_in_the_end(local, importer, wires):
    thread_id, waiting = local.thread(*MANY), []

    def late(request):
        waiting.append(request)
        raise unknown(in_flight=True)

    def last(request):
        answer = request.send()
        waiting.pop().send()
        return answer

    wires.on("POST", "/items", None, late, None, last)
    with pytest.raises(NotAnImport, match="more items than the 45 messages"):
        importer(thread_id)


def test_a_look_that_fails_is_repeated_before_anything_is_sent_again(local, importer, wires):
    wires.on("POST", "/items", after(unknown))
    wires.on("GET", "/items", *[before(partial(TransientError, 500, None, "Oh."))] * 2)
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    assert [request.method for request in wires.sent if request.path.endswith("/items")] == [
        *("POST", "GET", "GET", "GET"),
        *("POST", "POST", "GET"),
    ]


def test_an_import_that_ends_while_it_is_in_doubt_can_be_taken_up(local, importer, wires):
    thread_id = local.thread(*MANY)
    wires.on("POST", "/items", None, after(unknown))
    wires.on("GET", "/items", *[before(partial(TransientError, 500, None, "Oh."))] * 4)
    with pytest.raises(TransientError, match="Oh"):
        importer(thread_id)
    assert importer.reports[-1].copied == 20
    done = importer(thread_id, importer.reports[-1].conversation_id)
    assert local.told(done.conversation_id) == MANY


def test_a_server_that_never_answers_is_given_up_after_all_attempts(local, importer, wires):
    thread_id = local.thread("one")
    wires.on("POST", "/items", *[before(unknown)] * 4)
    with pytest.raises(OutcomeUnknown):
        importer(thread_id)
    assert len(wires.batches) == 4
    done = importer(thread_id, importer.reports[-1].conversation_id)
    assert local.told(done.conversation_id) == ["one"]


@pytest.mark.parametrize("fault", [before(unknown), after(unknown)])
def test_a_conversation_whose_creation_was_not_answered_is_made_again(local, importer, wires, fault):
    wires.on("POST", "/conversations", fault)
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    creations = [request.body for request in wires.sent if request.path == "/conversations"]
    # The one that nobody will ever find must not hold what was said.
    assert [list(body) for body in creations] == [["metadata"], ["metadata"]]


def test_items_that_a_server_took_and_does_not_keep_are_missed_in_the_end(local, importer, wires):
    thread_id = local.thread(*talk(21))
    wires.on("POST", "/items", None, lambda request: request.shape())
    with pytest.raises(TransientError, match="took 21 items, but lists only 20 of them"):
        importer(thread_id)
    done = importer(thread_id, importer.reports[-1].conversation_id)
    assert local.told(done.conversation_id) == talk(21)


def test_nothing_is_sent_again_while_less_is_listed_than_was_taken(local, importer, wires):
    wires.on("POST", "/items", None, after(unknown))
    wires.on("GET", "/items", *[without_newest(30)] * 5)
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    assert [len(batch) for batch in wires.batches] == [20, 20, 5]


class Fate:
    """Decides by a seed what becomes of each request; nothing is listed late more than three times in a row."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.late = 0

    def __call__(self, request):
        errors = [killed, partial(TransientError, 503, None, "Slow down.")]
        if request.method == "POST":
            errors += [unknown, partial(unknown, in_flight=True)]
        faults = [before(self.rng.choice(errors)), after(self.rng.choice([errors[0], *errors[2:]]))]
        if request.path.endswith("/items"):
            count = self.rng.randrange(1, 25)
            faults.append(some(count, unknown) if request.method == "POST" else without_newest(count))
        fault = self.rng.choice(faults) if self.rng.random() < 0.35 else Request.send
        self.late = self.late + 1 if len(faults) == 3 and fault is faults[2] and request.method == "GET" else 0
        return request.send() if self.late > 3 else fault(request)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_nothing_is_lost_doubled_or_reordered(server, local, seed):
    messages = talk(random.Random(seed).randrange(130))
    thread_id, fate, begun, done = local.thread(*messages), Fate(seed), None, None
    while done is None:
        life = Wires()
        life.fault_at = collections.defaultdict(lambda: fate)
        importer = importer_for(server.base_url, life)
        with contextlib.suppress(Killed, TransientError):
            done = importer(thread_id, begun)
        begun = importer.reports[-1].conversation_id if importer.reports else begun
    assert local.told(done.conversation_id) == messages
    assert done.copied == len(messages)


# --- errors that pass ------------------------------------------------------------------------------------------------

EVERY = [
    ("GET", ""),
    ("GET", "/messages"),
    ("POST", "/conversations"),
    ("POST", "/items"),
    ("GET", "/items"),
]


@pytest.mark.parametrize(("method", "end"), EVERY)
def test_a_transient_error_is_tried_again_after_a_growing_pause(local, importer, wires, method, end):
    thread_id = local.thread(*MANY)
    wires.on(method, end, *[before(partial(TransientError, 503, None, "Slow down."))] * 3)
    done = importer(thread_id)
    assert local.told(done.conversation_id) == MANY
    assert len(importer.pauses) == 3
    for pause, longest in zip(importer.pauses, [2, 4, 6], strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(("method", "end"), EVERY)
def test_it_is_given_up_after_all_attempts(local, importer, wires, method, end):
    wires.on(method, end, *[before(partial(TransientError, 503, None, "Slow down."))] * 4)
    with pytest.raises(TransientError, match="Slow down"):
        importer(local.thread(*MANY))
    assert len(importer.pauses) == 3


def test_the_attempts_are_counted_anew_for_each_request(local, importer, wires):
    busy = before(partial(TransientError, 503, None, "Slow down."))
    wires.on("POST", "/items", busy, busy, None, busy, busy, None, busy, busy)
    assert local.told(importer(local.thread(*MANY)).conversation_id) == MANY


def test_the_server_says_how_long_to_wait(local, importer, wires):
    wires.on("POST", "/items", before(partial(TransientError, 429, None, "Wait.", retry_after=77)))
    importer(local.thread("Hello"))
    assert importer.pauses == [77]


def test_who_is_told_to_wait_for_hours_gives_up(local, importer, wires):
    wires.on("POST", "/items", before(partial(TransientError, 429, None, "Wait.", retry_after=301)))
    with pytest.raises(TransientError, match="Wait"):
        importer(local.thread("Hello"))
    assert importer.pauses == []


def test_where_nobody_listens_it_is_said_soon(local, importer, wires):
    settings = attrs.evolve(SETTINGS, request_max_attempts=8)
    wires.on("GET", "", *[before(partial(TransientError, None, None, "Nobody.", hopeless=True))] * 8)
    with pytest.raises(TransientError, match="Nobody"):
        importer(local.thread("Hello"), settings=settings)
    assert len(importer.pauses) == 2


def test_a_conversation_that_is_in_use_is_waited_for(local, importer, wires):
    wires.on("POST", "/items", before(partial(ThreadBusy, 400, "conversation_locked", "In use.")))
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    assert len(importer.pauses) == 1


def test_what_the_server_refuses_is_not_sent_again(local, importer, wires):
    wires.on("POST", "/items", before(partial(RequestRefused, 400, None, "No.")))
    with pytest.raises(RequestRefused, match="No"):
        importer(local.thread("Hello"))
    assert len(wires.batches) == 1
    assert importer.pauses == []


def test_each_new_try_is_logged_with_its_reason(local, importer, wires, caplog):
    wires.on("POST", "/items", before(partial(TransientError, 503, None, "Slow down.")))
    importer(local.thread("Hello"))
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "gpt_agent_fsm.backends.importing")
    assert "seconds: Slow down. (HTTP 503)" in record.getMessage()


# --- servers are not all alike ----------------------------------------------------------------------------------------

BASE = "http://api.test/v1"


class Odd:
    """A server whose thread is listed as it is told; its conversations are as they should be."""

    def __init__(self, requests_mock):
        self.mock = requests_mock
        self.kept = []
        self.listed_whole = False
        self.mock.get(f"{BASE}/threads/t", json={"id": "t"})
        self.mock.post(f"{BASE}/conversations", json={"id": "c"})
        self.mock.get(f"{BASE}/conversations/c", json={"id": "c"})
        self.mock.post(f"{BASE}/conversations/c/items", json=self._add)
        self.mock.get(f"{BASE}/conversations/c/items", json=self._list)

    def thread(self, *pages):
        """Let the thread be listed as these bodies; the last one is repeated."""
        self.mock.get(f"{BASE}/threads/t/messages", [{"content": json.dumps(page).encode()} for page in pages])

    def message(self, **fields):
        """Let the thread hold one message."""
        self.thread({"data": [{"id": "m", "role": "user"} | fields], "has_more": False})

    def _add(self, request, _):
        self.kept += [item | {"id": f"i{len(self.kept) + n}"} for n, item in enumerate(request.json()["items"])]
        return {}

    def _list(self, request, _):
        start = int(request.qs.get("after", ["i-1"])[0][1:]) + 1
        return self.kept if self.listed_whole else self.kept[start : start + 100]

    @property
    def texts(self):
        return [item["content"][0]["text"] for item in self.kept]


@pytest.fixture
def odd(requests_mock):
    return Odd(requests_mock)


@pytest.fixture
def odd_importer(wires):
    return importer_for(BASE, wires)


def plain(*numbers, **fields):
    """Return messages as they are listed, each called by its number and saying it."""
    return [{"id": f"m{n}", "role": "user", "content": str(n)} | fields for n in numbers]


def test_a_server_that_lists_the_newest_first_whatever_it_is_asked_is_read_backwards(odd, odd_importer):
    newest_first = [{"created_at": n} | message for n, message in zip((3, 2, 2, 1), plain(3, 2, 1, 0), strict=True)]
    odd.thread({"data": newest_first[:3], "has_more": True}, {"data": newest_first[3:], "has_more": False})
    odd_importer("t")
    assert odd.texts == ["0", "1", "2", "3"]


def test_messages_of_the_same_second_stay_in_the_order_of_the_list(odd, odd_importer):
    odd.thread({"data": plain(1, 2, created_at=5) + plain(3), "has_more": False})
    odd_importer("t")
    assert odd.texts == ["1", "2", "3"]


def test_a_server_that_does_not_say_whether_there_is_more_is_asked_until_it_lists_nothing(odd, odd_importer):
    odd.thread(plain(1, 2), plain(3), [])
    odd_importer("t")
    assert odd.texts == ["1", "2", "3"]


def test_what_is_listed_twice_is_copied_once(odd, odd_importer):
    odd.thread({"data": plain(1, 2, 2), "has_more": True}, {"data": plain(2, 3), "has_more": True}, plain(3))
    odd_importer("t")
    assert odd.texts == ["1", "2", "3"]


def test_a_server_that_gives_the_same_full_page_again_and_again_is_not_believed(odd, odd_importer):
    odd.thread({"data": plain(*range(100)), "has_more": True})
    with pytest.raises(RequestRefused, match="gives the same 100 entries for each page"):
        odd_importer("t")
    assert odd.kept == []


def test_a_server_that_lists_all_in_one_page_however_long_is_believed(odd, odd_importer):
    odd.thread({"data": plain(*range(130))})
    odd.listed_whole = True
    odd_importer("t")
    assert odd.texts == [str(n) for n in range(130)]


def test_a_server_that_lists_a_conversation_from_its_beginning_each_time_is_understood(odd, odd_importer, wires):
    odd.thread(plain(*range(30)), [])
    odd.listed_whole = True
    wires.on("POST", "/items", None, after(unknown))
    odd_importer("t")
    assert odd.texts == [str(n) for n in range(30)]


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ({"data": None}, "it has no list of data"),
        ({"messages": []}, "it has no list of data"),
        (3, "it has no list of data"),
        ({"data": [{"role": "user", "content": "Hello"}]}, "it has no id"),
        ({"data": ["Hello"]}, "it has no id"),
    ],
)
def test_a_list_that_can_not_be_read_whole_is_not_read_in_part(odd, odd_importer, page, what):
    odd.thread(page)
    with pytest.raises(TransientError, match=what):
        odd_importer("t")
    assert odd.kept == []


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("Hello", [{"type": "input_text", "text": "Hello"}]),
        ([{"type": "text", "text": "Hello"}], [{"type": "input_text", "text": "Hello"}]),
        (
            [{"type": "text", "text": {"value": "Hello", "annotations": None}}],
            [{"type": "input_text", "text": "Hello"}],
        ),
        ([{"text": {"value": "Hello"}}], [{"type": "input_text", "text": "Hello"}]),
        ([{"type": "input_text", "text": "Hello"}], [{"type": "input_text", "text": "Hello"}]),
        (
            [{"type": "text", "text": {"value": ""}}, {"type": "text", "text": "x"}],
            [{"type": "input_text", "text": "x"}],
        ),
        (
            [{"type": "image_url", "image_url": {"url": "https://a.test/b", "detail": 3}}],
            [{"type": "input_image", "image_url": "https://a.test/b", "detail": "auto"}],
        ),
    ],
)
def test_content_is_read_in_all_its_shapes(odd, odd_importer, content, kept):
    odd.message(content=content)
    assert odd_importer("t").left_out == {}
    assert [item["content"] for item in odd.kept] == [kept]


IMAGE_FILE = {"type": "image_file", "image_file": {"file_id": "file-1"}}
IMAGE_URL = {"type": "image_url", "image_url": {"url": "https://example.com/1.png"}}


def test_what_can_not_be_copied_is_left_out_and_counted(odd, odd_importer):
    files = [{"file_id": "file-2"}, {"file_id": "file-3"}]
    odd.thread(
        [
            {"id": "m1", "role": "user", "content": [IMAGE_FILE, {"text": "Look"}], "attachments": files},
            {"id": "m2", "role": "assistant", "content": [{"text": "I see"}, IMAGE_FILE, IMAGE_URL]},
        ],
        [],
    )
    done = odd_importer("t")
    assert [(item["role"], len(item["content"])) for item in odd.kept] == [("user", 1), ("assistant", 1)]
    assert odd.texts == ["Look", "I see"]
    assert done.left_out == {"image_file": 2, "image_url": 1, "attachment": 2}
    assert done.messages_left_out == 0


def test_a_message_that_is_empty_after_that_is_left_out(odd, odd_importer):
    odd.thread(plain(1) + plain(2, content=[IMAGE_FILE]) + plain(3), [])
    done = odd_importer("t")
    assert odd.texts == ["1", "3"]
    assert (done.copied, done.total, done.messages_left_out, done.left_out) == (2, 2, 1, {"image_file": 1})
    odd.thread(plain(1) + plain(2, content=[IMAGE_FILE]) + plain(3), [])
    assert odd_importer("t", into="c") == done


def test_a_refusal_is_copied_as_one(odd, odd_importer):
    odd.message(role="assistant", content=[{"type": "refusal", "refusal": "I can not."}])
    odd_importer("t")
    assert [item["content"] for item in odd.kept] == [[{"type": "refusal", "refusal": "I can not."}]]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_other_roles_that_the_api_knows_are_kept(odd, odd_importer, role):
    odd.message(role=role, content="Be kind.")
    odd_importer("t")
    assert [(item["role"], item["content"][0]["type"]) for item in odd.kept] == [(role, "input_text")]


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"content": None}, {}),
        ({"content": ""}, {}),
        ({"content": []}, {}),
        ({"content": [{"type": "text", "text": {"value": ""}}]}, {}),
        ({"content": [{"type": "text", "text": None}]}, {"text": 1}),
        ({"content": [{"type": "audio", "text": "Hello"}]}, {"audio": 1}),
        ({"content": [{"type": "a\x1b[31m secret"}, {"type": 3}, 3]}, {"unknown": 3}),
        ({"content": [{"type": "refusal", "refusal": "No"}]}, {"refusal": 1}),
        ({"content": [{"type": "image_url", "image_url": "https://a.test"}]}, {"image_url": 1}),
        ({"content": "", "attachments": [{}, {}]}, {"attachment": 2}),
        ({"content": "", "attachments": "none"}, {}),
        ({"role": "tool", "content": "Hello"}, {}),
        ({"role": None, "content": "Hello"}, {}),
    ],
)
def test_a_message_without_anything_to_copy_is_counted(odd, odd_importer, fields, left_out):
    odd.message(**fields)
    done = odd_importer("t")
    assert (done.total, done.messages_left_out, done.left_out) == (0, 1, left_out)
    assert odd.kept == []


def test_the_result_is_told_as_plain_numbers(odd, odd_importer):
    odd.thread(plain(1), [])
    assert odd_importer("t") == ThreadImport(conversation_id="c", copied=1, total=1, left_out={}, messages_left_out=0)
