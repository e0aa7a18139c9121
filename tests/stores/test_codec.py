"""Snapshots, commands and events survive encoding and decoding; text of another version is refused."""

import json

import attrs
import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.events import RunStarted, ToolCallRequested
from gpt_agent_fsm.events.parts import Image
from gpt_agent_fsm.machine.effects import CreateRun, GetRun, PostMessage
from gpt_agent_fsm.machine.inputs import AddUserMessage, CancelRun
from gpt_agent_fsm.machine.queue import Queue, QueuedMessage
from gpt_agent_fsm.machine.snapshot import Pending, Snapshot, State
from gpt_agent_fsm.stores import codec
from gpt_agent_fsm.testing.contracts.samples import every_command, every_event, every_snapshot

PLAIN = Snapshot(thread_id="thread_1", assistant_id="asst_1")


def test_the_samples_have_every_field_set():
    for sample in (*every_snapshot("thread_1"), *every_command(), *every_event("thread_1")):
        for field in attrs.fields(type(sample)):
            assert getattr(sample, field.name) != field.default, f"{type(sample).__name__}.{field.name}"


@pytest.mark.parametrize("snapshot", [PLAIN, *every_snapshot("thread_1")], ids=lambda each: type(each.request).__name__)
def test_a_snapshot_comes_back_equal(snapshot):
    queue = Queue(
        tuple(codec.decode_message(codec.encode_message(each)) for each in snapshot.queue), snapshot.queue.first
    )
    again = codec.decode_snapshot(codec.encode_snapshot(snapshot), queue)
    assert again == snapshot
    assert isinstance(again.state, State)


@pytest.mark.parametrize("command", every_command(), ids=lambda each: type(each).__name__)
def test_a_command_comes_back_equal(command):
    assert codec.decode_command(codec.encode_command(command)) == command


@pytest.mark.parametrize("event", every_event("thread_1"), ids=lambda each: type(each).__name__)
def test_an_event_comes_back_equal(event):
    assert codec.decode_event(*codec.encode_event(event)) == event


def test_the_parts_of_the_message_that_is_being_posted_are_stored_once():
    message = QueuedMessage(key="k", content="Look", parts=(Image(data=b"x" * 1000),))
    post = PostMessage(key="k", content="Look", parts=message.parts)
    posting = attrs.evolve(PLAIN, queue=Queue((message,)), pending=Pending(request=post))
    text = codec.encode_snapshot(posting)
    assert len(text) < 500
    assert codec.decode_snapshot(text, posting.queue) == posting


def test_fields_that_equal_their_defaults_are_omitted():
    assert json.loads(codec.encode_snapshot(PLAIN)) == {
        "version": codec.SNAPSHOT_VERSION,
        "thread_id": "thread_1",
        "assistant_id": "asst_1",
    }


def test_classes_are_identified_by_their_names():
    running = attrs.evolve(PLAIN, pending=Pending(request=GetRun(run_id="run_1")))
    assert json.loads(codec.encode_snapshot(running))["pending"]["request"] == {"type": "GetRun", "run_id": "run_1"}
    assert json.loads(codec.encode_command(CancelRun())) == {"type": "CancelRun"}
    assert codec.encode_event(RunStarted(id="r", thread_id="t", assistant_id="a"))[0] == "RunStarted"


@pytest.mark.parametrize(
    "arguments",
    [None, "text", [], {"a": {"b": [1, 2.5, None, True]}}, 10**40, {"x": float("inf")}, {"half": "\ud83d"}, "\x00"],
    ids=repr,
)
def test_arguments_of_a_tool_can_be_any_json_value(arguments):
    event = ToolCallRequested(id="call_1", thread_id="t", run_id="r", name="f", arguments=arguments)
    assert codec.decode_event(*codec.encode_event(event)) == event


def test_an_unpaired_surrogate_is_unchanged_after_decoding():
    torn = QueuedMessage(key="k", content="torn \ud83d")
    text = codec.encode_message(torn)
    text.encode()
    assert codec.decode_message(text) == torn


def test_a_snapshot_of_a_newer_version_is_refused_with_advice():
    value = json.loads(codec.encode_snapshot(PLAIN)) | {"version": codec.SNAPSHOT_VERSION + 1, "news": 1}
    with pytest.raises(
        StoreError,
        match=r"snapshot of thread_1 was written by a newer version of gpt-agent-fsm; upgrade gpt-agent-fsm\.",
    ):
        codec.decode_snapshot(json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"secret"',
        "{}",
        '{"version": "secret"}',
        '{"version": 1, "thread_id": "t", "assistant_id": "a"}',
        '{"version": 2}',
        '{"version": 2, "thread_id": "t", "assistant_id": "a", "secret": 1}',
        '{"version": 2, "thread_id": "t", "assistant_id": "a", "state": "secret"}',
        '{"version": 2, "thread_id": "t", "assistant_id": "a", "run": 5}',
        '{"version": 2, "thread_id": "t", "assistant_id": "a", "pending": {"request": {"type": "secret"}}}',
        '{"version": 2, "thread_id": "t", "assistant_id": "a", "pending": {"request": {}}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:60],
)
def test_an_invalid_snapshot_is_refused_without_quoting_it(text):
    with pytest.raises(StoreError, match="cannot be read") as caught:
        codec.decode_snapshot(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["", "{}", '{"type": "Explode"}', '{"type": "CancelRun", "force": true}'])
def test_an_invalid_command_is_refused(text):
    with pytest.raises(StoreError, match="command in the store cannot be read"):
        codec.decode_command(text)


@pytest.mark.parametrize(("kind", "text"), [("Explosion", "{}"), ("RunStarted", "{}"), ("RunStarted", "[")])
def test_an_invalid_event_is_refused(kind, text):
    with pytest.raises(StoreError, match="event in the store cannot be read"):
        codec.decode_event(kind, text)


def test_a_message_is_stored_once_and_unescaped():
    text = codec.encode_command(AddUserMessage(key="k", content="Grüße"))
    assert text.count("Grüße") == 1


def test_the_fields_of_a_repeated_run_are_stored_under_their_former_names():
    request = CreateRun(key="k", assistant_id="a", retry_of="resp_1", may_exist=True)
    snapshot = Snapshot(thread_id="t", assistant_id="a", pending=Pending(request=request))
    text = codec.encode_snapshot(snapshot)
    assert '"repeats":"resp_1","in_doubt":true' in text
    assert codec.decode_snapshot(text) == snapshot
