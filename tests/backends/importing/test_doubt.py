"""Requests without an answer: their result is searched for before anything is sent again."""

import collections
import contextlib
import random
from functools import partial

import pytest

from gpt_agent_fsm.backends.importing import NotAnImport
from gpt_agent_fsm.errors import (
    OutcomeUnknown,
    TransientError,
)
from tests.backends.importing.importer import (
    GRACE,
    LOOKS,
    MANY,
    Killed,
    Request,
    Wires,
    after,
    before,
    importer_for,
    killed,
    some,
    talk,
    unknown,
    without_newest,
)


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
def test_a_request_without_an_answer_is_settled_by_a_search(local, importer, wires, number, fault, pauses):
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


def test_a_failed_search_is_repeated_before_anything_is_sent_again(local, importer, wires):
    wires.on("POST", "/items", after(unknown))
    wires.on("GET", "/items", *[before(partial(TransientError, 500, None, "Oh."))] * 2)
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    assert [request.method for request in wires.sent if request.path.endswith("/items")] == [
        *("POST", "GET", "GET", "GET"),
        *("POST", "POST", "GET"),
    ]


def test_an_import_that_ends_while_it_is_in_doubt_can_be_resumed(local, importer, wires):
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
    # The lost one must not hold any messages.
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
    """Decides the outcome of each request by a seed; nothing is listed late more than three times in a row."""

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
def test_nothing_is_lost_doubled_or_reordered_whatever_happens(server, local, seed):
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
