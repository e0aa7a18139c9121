"""An import that was interrupted is resumed without losing, doubling or reordering anything."""

import pytest

from gpt_agent_fsm.backends.importing import IMPORTED_FROM, NotAnImport
from tests.backends.importing.importer import (
    LOOKS,
    MANY,
    Killed,
    Wires,
    after,
    before,
    importer_for,
    killed,
    without_newest,
)


@pytest.mark.parametrize("kill", [before, after])
def test_an_import_that_is_killed_at_any_request_and_resumed_loses_doubles_and_reorders_nothing(
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
def test_an_import_that_is_killed_over_and_over_still_completes(server, local, kill):
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
    # Items that were seen once are not read again.
    assert wires.sent[-1].options["params"]["after"] == local.items(done.conversation_id)[-1]["id"]


def test_messages_added_to_the_thread_since_are_copied(local, importer):
    thread_id = local.thread("one")
    conversation_id = importer(thread_id).conversation_id
    local.say(thread_id, "> two", "three")
    importer(thread_id, conversation_id)
    assert local.told(conversation_id) == ["one", "> two", "three"]


def test_items_added_just_before_may_be_listed_late(local, importer, wires):
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
        ([{"role": "user", "content": "uno"}], "its item 1 differs from the thread's message"),
        ([{"role": "assistant", "content": "one"}], "its item 1 differs from the thread's message"),
        ([USER_ONE, USER_ONE], "its item 2 differs from the thread's message"),
        ([USER_ONE, CALL], "its item 2 differs from the thread's message"),
        (
            [USER_ONE, {"role": "assistant", "content": "two"}, USER_ONE],
            "it has more items than the 2 messages of the thread",
        ),
    ],
)
def test_a_conversation_that_is_not_an_import_of_the_thread_is_left_alone(local, importer, wires, items, reason):
    thread_id, conversation_id = local.thread("one", "> two"), local.conversation(*items)
    there = local.items(conversation_id)
    with pytest.raises(NotAnImport, match=f"is not an import of the thread '{thread_id}': {reason}"):
        importer(thread_id, conversation_id)
    assert local.items(conversation_id) == there
    assert {request.method for request in wires.sent} == {"GET"}
    assert importer.reports == []


def test_a_conversation_that_begins_like_the_thread_and_is_an_import_of_another_is_left_alone(local, importer):
    thread_id, conversation_id = local.thread("one"), local.conversation(**{IMPORTED_FROM: "thread_other"})
    with pytest.raises(NotAnImport, match=r"it is an import of the thread 'thread_other'\. It was left as it is\."):
        importer(thread_id, conversation_id)
    assert local.items(conversation_id) == []


def test_the_error_quotes_no_message(local, importer):
    thread_id, conversation_id = local.thread("a secret"), local.conversation({"role": "user", "content": "another"})
    with pytest.raises(NotAnImport) as caught:
        importer(thread_id, conversation_id)
    assert "secret" not in str(caught.value)
    assert "another" not in str(caught.value)
