"""What a caller gets of an answer while it is written."""

from gpt_agent_fsm.engine.spoken_text import SpokenText
from gpt_agent_fsm.events import AssistantMessageAdded, AssistantMessageDelta


def delta(message_id, text):
    return AssistantMessageDelta(thread_id="t", run_id="r", message_id=message_id, index=0, text=text)


def added(message_id, content):
    return AssistantMessageAdded(message_id=message_id, thread_id="t", run_id="r", assistant_id="a", content=content)


def test_a_message_without_text_changes_nothing():
    text = SpokenText()
    text.add_delta(delta("m2", "Hello "))
    text.add_message(added("m1", ""))
    text.add_delta(delta("m2", "you"))
    assert text.take() == "Hello you"


def test_after_pieces_under_another_id_only_whole_messages_count():
    text = SpokenText()
    text.add_delta(delta("x1", "On"))
    text.add_message(added("m1", "One"))
    text.add_delta(delta("x2", "wo"))
    assert text.take() == "One"
    text.add_message(added("m2", "Two"))
    assert text.take() == "\nTwo"


def test_another_run_begins_with_pieces_again():
    text = SpokenText()
    text.add_delta(delta("x1", "On"))
    text.add_message(added("m1", "One"))
    text.start_again()
    text.add_delta(delta("m3", "One more"))
    assert text.take() == "One more"
