"""Reading answers, the idle timeout, crashes, and impossible inputs."""

import attrs
import pytest

from gpt_agent_fsm import Image, Text, events
from gpt_agent_fsm.errors import IllegalInput
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import State
from tests.story import (
    NOTHING_NEW,
    Story,
    answer,
    busy,
    completed,
    connect,
    created,
    creating,
    delayed,
    due,
    failed,
    idle,
    page,
    parked,
    polling,
    posted,
    posting,
    question,
    reading,
    refuse_the_poll,
    refused,
    resume,
    retrying,
    run,
    running,
    runs,
    say,
    seen,
)

POST = effects.PostMessage(key="k1", content="Hello")
CREATE = effects.CreateRun(key="k1.1", assistant_id="asst_1")
LOOK = effects.GetLatestRun()
WIDE_LOOK = effects.GetLatestRun(wide=True)
READ = effects.ListMessages(after=None)
NEWEST = effects.ListMessages(after=None, newest_first=True, of_reading=True)


# --- answers are read ------------------------------------------------------------------------------------------


def test_a_completed_run_is_announced_with_its_tokens_and_then_its_messages():
    story = polling().tell(completed())
    assert story.events[0] == events.RunCompleted(
        id="run_1", thread_id="thread_1", assistant_id="asst_1", prompt_tokens=1, completion_tokens=2, total_tokens=3
    )
    assert story.state == "idle"
    assert story.request == READ
    story.tell(page(question("msg_1"), answer("msg_2")))
    assert story.only == events.AssistantMessageAdded(
        message_id="msg_2", thread_id="thread_1", run_id="run_1", assistant_id="asst_1", content="Hi"
    )
    assert story.snapshot.cursor.last_message_id == "msg_2"
    assert story.wait == effects.Wait(seconds=120)


def test_a_message_keeps_its_own_run_and_assistant():
    story = reading().tell(page(answer("msg_2", run_id="run_0", assistant_id="asst_0")))
    assert (story.only.run_id, story.only.assistant_id) == ("run_0", "asst_0")


def older(story):
    return [
        (event.message_id, event.older) for event in story.events if isinstance(event, events.AssistantMessageAdded)
    ]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_message_without_a_run_is_older_if_it_is_listed_before_the_question(backwards):
    listed = [answer("msg_0", created_at=1.0), question("msg_1", created_at=2.0), answer("msg_2", created_at=3.0)]
    story = reading().tell(page(*(reversed(listed) if backwards else listed)))
    assert older(story) == [("msg_0", True), ("msg_2", False)]
    assert {event.run_id for event in story.events} == {"run_1"}


def test_a_message_with_a_run_is_not_marked_because_its_run_says_enough():
    story = reading().tell(page(answer("msg_0", run_id="run_0"), question("msg_1"), answer("msg_2", run_id="run_1")))
    assert older(story) == [("msg_0", False), ("msg_2", False)]


def test_without_the_question_in_the_list_no_message_is_older():
    story = reading().tell(page(answer("msg_0"), answer("msg_2")))
    assert older(story) == [("msg_0", False), ("msg_2", False)]


def test_the_answer_of_an_adopted_run_is_not_older_although_our_message_is_listed_after_it():
    story = creating().tell(busy(), runs(run(run_id="run_9", key="other")), completed("run_9"))
    story.tell(page(answer("msg_0"), question("msg_1")))
    assert older(story) == [("msg_0", False)]
    assert story.request == CREATE


def test_messages_without_text_and_of_the_user_are_skipped():
    story = reading().tell(page(question("msg_1"), answer("msg_2", ""), answer("msg_3")))
    assert story.only.message_id == "msg_3"


def test_all_pages_are_read_before_anything_is_published():
    story = reading().tell(page(answer("msg_2"), next_after="msg_2"))
    assert story.request == effects.ListMessages(after="msg_2")
    assert story.events == ()
    story.tell(page(answer("msg_2"), answer("msg_3")))
    assert [event.message_id for event in story.events] == ["msg_2", "msg_3"]


def test_a_page_that_brings_nothing_new_ends_the_reading():
    story = reading().tell(page(answer("msg_2"), next_after="msg_2"), page(answer("msg_2"), next_after="msg_1"))
    assert story.said == ["AssistantMessageAdded"]


def test_a_server_that_names_the_same_next_page_each_time_is_not_asked_forever():
    story = reading().tell(page(answer("msg_2"), next_after="msg_3"), page(answer("msg_4"), next_after="msg_3"))
    assert len(story.events) == 2


def second_turn(cursor: str = "msg_2") -> Story:
    """Reading after a second run, with a cursor from the first."""
    story = reading().tell(page(question("msg_1"), answer(cursor)))
    return story.tell(say("Two", "k2"), posted("msg_3"), created(run_id="run_2"), due, completed("run_2"))


def test_messages_are_read_after_the_cursor():
    assert second_turn().request == effects.ListMessages(after="msg_2")


def test_a_server_that_ignores_the_cursor_does_not_get_old_messages_published_again():
    story = second_turn().tell(page(question("msg_1"), answer("msg_2"), question("msg_3"), answer("msg_4")))
    assert [event.message_id for event in story.events] == ["msg_4"]


def test_of_a_server_that_lists_backwards_the_newest_messages_are_read():
    story = second_turn().tell(page(question("msg_1", created_at=1.0)))
    assert story.request == NEWEST
    story.tell(
        page(
            answer("msg_4", created_at=4.0),
            question("msg_3", created_at=3.0),
            answer("msg_2", created_at=2.0),
            question("msg_1", created_at=1.0),
        )
    )
    assert [event.message_id for event in story.events] == ["msg_4"]


def test_messages_listed_backwards_are_recognised_by_their_times():
    story = second_turn().tell(page(answer("msg_5", created_at=5.0), answer("msg_4", created_at=4.0)))
    assert story.request == NEWEST


def test_messages_listed_backwards_are_recognised_by_their_known_order():
    story = second_turn().tell(page(answer("msg_4"), question("msg_3"), answer("msg_2"), question("msg_1")))
    assert story.request == NEWEST
    story.tell(page(answer("msg_4"), question("msg_3"), answer("msg_2"), question("msg_1")))
    assert [event.message_id for event in story.events] == ["msg_4"]


def from_the_start() -> Story:
    """The same, and neither the list after the cursor nor the newest messages show how they follow the known ones."""
    story = second_turn().tell(page(), page(answer("msg_9"), next_after="msg_8"))
    assert story.request == READ
    return story


def test_a_whole_reading_without_the_cursor_publishes_the_messages_of_the_run_alone():
    story = from_the_start().tell(page(answer("msg_0", run_id="run_0"), answer("msg_4", run_id="run_2")))
    assert [event.message_id for event in story.events] == ["msg_4"]


def test_a_whole_reading_without_run_ids_publishes_everything():
    story = from_the_start().tell(page(answer("msg_4")))
    assert [event.message_id for event in story.events] == ["msg_4"]


def silent_turn() -> Story:
    """At rest after a second run, which has brought no message."""
    newest = page(question("msg_3"), answer("msg_2"), question("msg_1"))
    story = second_turn().tell(page(question("msg_3")))
    assert story.wait == effects.Wait(seconds=1)
    return story.tell(due, newest, due, newest)


def test_a_completed_run_without_a_new_message_publishes_nothing():
    story = silent_turn()
    assert story.snapshot.settled
    assert story.events == ()
    assert story.snapshot.cursor.last_message_id == "msg_2"


def after_a_silent_turn() -> Story:
    """Reading after a third run."""
    return silent_turn().tell(say("Three", "k3"), posted("msg_4"), created(run_id="run_3"), due, completed("run_3"))


def test_after_a_run_without_a_message_the_next_reading_starts_at_the_users_message():
    story = after_a_silent_turn()
    assert story.request == effects.ListMessages(after="msg_3")
    story.tell(page(question("msg_4"), answer("msg_5")))
    assert [event.message_id for event in story.events] == ["msg_5"]
    story.tell(say("Four", "k4"), posted("msg_6"), created(run_id="run_4"), due, completed("run_4"))
    assert story.request == effects.ListMessages(after="msg_5")


def test_the_late_answer_of_a_run_is_published_after_the_next_run():
    story = after_a_silent_turn().tell(page(answer("msg_3b"), question("msg_4"), answer("msg_5")))
    assert older(story) == [("msg_3b", True), ("msg_5", False)]


def test_a_person_may_move_the_cursor_after_a_run_without_a_message():
    story = silent_turn().tell(inputs.Connect(assistant_id="asst_1", last_message_id="msg_2"))
    story.tell(say("Three", "k3"), posted("msg_4"), created(run_id="run_3"), due, completed("run_3"))
    assert story.request == effects.ListMessages(after="msg_2")


def test_the_newest_messages_are_enough_if_they_follow_the_known_ones():
    story = second_turn().tell(page())
    assert story.request == NEWEST
    story.tell(page(answer("msg_4"), question("msg_3"), answer("msg_2"), next_after="msg_2"))
    assert [event.message_id for event in story.events] == ["msg_4"]


def test_the_newest_messages_are_enough_if_there_are_no_others():
    story = second_turn().tell(page(), page(answer("msg_4"), question("msg_3")))
    assert [event.message_id for event in story.events] == ["msg_4"]


def test_a_whole_thread_is_read_once_although_its_newest_answer_is_late():
    story = reading().tell(page(answer("msg_0"), question("msg_0b"), next_after="msg_0b"), page(question("msg_1")))
    story.tell(due)
    assert story.request == NEWEST
    story.tell(page(question("msg_1"), question("msg_0b"), next_after="msg_0b"), due)
    assert story.request == NEWEST
    story.tell(page(answer("msg_2"), question("msg_1"), next_after="msg_1"))
    assert older(story) == [("msg_0", True), ("msg_2", False)]


def test_a_look_at_the_newest_that_fails_is_a_reading_that_fails():
    story = second_turn().tell(page(), delayed(), due)
    assert story.request == NEWEST
    story.tell(refused())
    assert story.state == "failed"
    assert story.tell(inputs.Connect(assistant_id="asst_1")).request == effects.ListMessages(after="msg_2")


def test_a_reading_that_fails_is_tried_again_and_then_parked_until_the_next_command():
    story = reading(request_max_attempts=2).tell(delayed())
    assert story.state == "idle"
    story.tell(due, delayed())
    assert story.state == "failed"
    assert story.snapshot.settled
    story.tell(inputs.Connect(assistant_id="asst_1"))
    assert story.state == "idle"
    assert story.request == READ
    assert story.tell(page(answer("msg_2"))).said == ["AssistantMessageAdded"]


@pytest.mark.parametrize("no", [delayed(), refused()])
def test_messages_that_were_read_before_the_list_failed_are_published(no):
    story = reading(request_max_attempts=1).tell(page(answer("msg_2"), next_after="msg_2"), no)
    assert story.said == ["RequestFailed", "AssistantMessageAdded"]
    assert (story.state, story.moves) == ("idle", [])
    assert story.snapshot.settled


@pytest.mark.parametrize("no", [delayed(), refused()])
def test_the_answer_of_a_run_is_published_although_the_list_fails(no):
    own = answer("msg_2", "In hand.")
    story = polling(request_max_attempts=1).tell(seen(RunStatus.COMPLETED, messages=(own,)), no)
    assert story.events[1].content == "In hand."
    assert story.state == "idle"
    assert not story.snapshot.outbox.parked


@pytest.mark.parametrize("no", [delayed(), refused()])
def test_a_list_that_fails_permanently_delays_no_message(no):
    story = reading(request_max_attempts=1).tell(say("Two", "k2"), no)
    assert story.said == ["RequestFailed"]
    assert story.moves == ["idle -> failed", "failed -> idle"]
    assert story.request == effects.PostMessage(key="k2", content="Two")
    story.tell(posted("msg_2"))
    assert story.request == effects.CreateRun(key="k2.1", assistant_id="asst_1")
    story.tell(created(run_id="run_2"), due, completed("run_2"), page(answer("msg_1"), answer("msg_3")))
    assert [event.message_id for event in story.events if hasattr(event, "message_id")] == ["msg_1", "msg_3"]


def test_a_list_that_failed_is_read_again_at_the_next_command_if_nothing_waits():
    story = reading(request_max_attempts=1).tell(delayed(), inputs.Connect(assistant_id="asst_1"))
    assert story.request == READ


def test_an_answer_that_is_listed_late_is_waited_for_a_little():
    story = reading().tell(page(question("msg_1")))
    assert story.wait == effects.Wait(seconds=1)
    story.tell(due, page(answer("msg_2"), question("msg_1")))
    assert story.only.message_id == "msg_2"
    assert story.snapshot.settled


def test_an_older_message_is_not_the_answer_that_is_listed_late():
    story = reading().tell(page(answer("msg_0"), question("msg_1")))
    assert story.said == []
    story.tell(due, page(answer("msg_2"), question("msg_1"), answer("msg_0")))
    assert older(story) == [("msg_0", True), ("msg_2", False)]
    assert story.snapshot.settled


def test_older_messages_are_published_in_the_end_even_if_the_run_has_no_answer():
    story = reading().tell(page(answer("msg_0"), question("msg_1")))
    while not story.snapshot.settled:
        story.tell(due, page(question("msg_1"), answer("msg_0")))
    assert older(story) == [("msg_0", True)]


def test_a_run_without_an_answer_counts_as_one_in_the_end():
    story = reading().tell(*NOTHING_NEW)
    assert story.said == []
    assert story.moves == []
    assert story.snapshot.settled


def test_a_refusal_is_published_as_what_it_is():
    story = reading().tell(page(answer("msg_2", "", refusal="I would rather not.")))
    assert (story.only.content, story.only.refusal) == ("", "I would rather not.")


def test_a_message_that_is_only_an_image_is_published_with_its_part():
    image = Image(file_id="file_1")
    story = reading().tell(page(answer("msg_2", "", parts=(image,))))
    assert (story.only.content, story.only.parts) == ("", (image,))


def test_the_part_of_a_plain_message_is_its_text():
    story = reading().tell(page(answer("msg_2", "Hi")))
    assert story.only.parts == (Text("Hi"),)


def test_two_images_of_a_run_that_are_not_listed_are_both_published():
    images = [answer(f"ig_{n}", "", parts=(Image(data=b"%d" % n),)) for n in range(2)]
    story = polling().tell(seen(RunStatus.COMPLETED, messages=tuple(images)), page())
    told = [event.parts for event in story.events if isinstance(event, events.AssistantMessageAdded)]
    assert told == [(Image(data=b"0"),), (Image(data=b"1"),)]


@pytest.mark.parametrize(("second", "heard"), [(2.0, ["msg_4"]), (1.0, []), (None, [])])
def test_an_answer_of_the_same_second_that_is_listed_before_the_cursor_is_published(second, heard):
    late, read = answer("msg_4", created_at=second, run_id="run_2"), answer("msg_2", created_at=2.0, run_id="run_1")
    story = second_turn().tell(page(late, read, question("msg_3", created_at=2.0)))
    assert [event.message_id for event in story.events if hasattr(event, "message_id")] == heard


def test_a_message_of_the_run_that_a_person_has_read_is_not_published_although_it_is_of_the_same_second():
    story = second_turn().tell(attrs.evolve(connect, last_message_id="msg_5"))
    story.tell(
        page(
            answer("msg_4", created_at=2.0, run_id="run_2"),
            answer("msg_5", created_at=2.0, run_id="run_2"),
            answer("msg_6", created_at=2.0, run_id="run_2"),
        )
    )
    assert [event.message_id for event in story.events if hasattr(event, "message_id")] == ["msg_6"]


def test_an_answer_to_which_the_server_has_copied_the_key_of_the_run_is_published():
    story = reading().tell(page(answer("msg_2", key="k1.1", run_id="run_1")))
    assert story.only.message_id == "msg_2"


def test_a_message_with_our_key_is_not_published_even_if_it_is_listed_as_the_assistants():
    story = reading().tell(page(answer("msg_1", "Hello", key="k1"), answer("msg_2")))
    assert story.only.message_id == "msg_2"


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [idle, failed, parked])
def test_without_activity_an_agent_at_rest_stops(make):
    story = make()
    before = story.snapshot
    story.tell(due)
    assert story.effects == (effects.Stop(reason="idle_timeout"),)
    assert story.snapshot == before


@pytest.mark.parametrize("make", [posting, polling, retrying])
def test_a_timer_that_is_due_while_a_request_is_in_flight_is_ignored(make):
    story = make()
    before = story.snapshot
    story.tell(due)
    assert story.ignored == "a request is in flight"
    assert story.snapshot == before


# --- after a crash --------------------------------------------------------------------------------------------------


def test_a_poll_that_was_in_flight_is_made_again():
    assert polling().tell(resume).request == effects.GetRun(run_id="run_1")


def test_a_request_that_was_waiting_is_made():
    assert posting().tell(delayed(), resume).request == POST


def test_with_nothing_in_flight_there_is_nothing_to_resume():
    story = idle().tell(resume)
    assert story.ignored == "no request was in flight"
    assert story.state is State.IDLE


# --- impossible inputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "impossible"),
    [(running, posted()), (running, created()), (polling, page()), (failed, busy()), (running, runs())],
)
def test_an_input_that_cannot_happen_raises_and_changes_nothing(make, impossible):
    story = make()
    before = story.snapshot
    with pytest.raises(IllegalInput, match=f"{impossible.trigger} cannot happen in state {story.state}"):
        advance(before, impossible, story.settings)
    assert story.snapshot is before


def test_the_run_of_a_stranger_is_read_in_the_servers_order():
    story = reading().tell(page(question("msg_1"), answer("msg_2")), connect, runs(run(run_id="run_2")))
    story.tell(completed("run_2"))
    assert story.request == effects.ListMessages(after="msg_2")
    everything = page(question("msg_1"), answer("msg_2"), answer("msg_3"))
    assert [event.message_id for event in story.tell(everything).events] == ["msg_3"]


def test_a_cursor_that_the_user_moves_says_nothing_about_the_order():
    story = reading().tell(inputs.Connect(assistant_id="asst_1", last_message_id="msg_2"))
    story.tell(page(question("msg_1"), answer("msg_2"), answer("msg_3")))
    assert [event.message_id for event in story.events] == ["msg_3"]


def test_a_cursor_that_the_server_does_not_know_leads_to_a_reading_from_the_start():
    story = second_turn("msg_2").tell(refused())
    assert (story.only.operation, story.only.will_retry) == ("list_messages", True)
    assert story.request == effects.ListMessages(after=None)
    assert story.moves == []
    story.tell(page(answer("msg_0", run_id="run_0"), answer("msg_4", run_id="run_2")))
    assert [event.message_id for event in story.events] == ["msg_4"]
    assert story.snapshot.cursor.last_message_id == "msg_4"


def test_a_reading_without_a_cursor_that_is_refused_is_parked():
    assert reading().tell(refused()).snapshot.outbox.parked


def test_a_blocking_run_may_be_any_of_those_listed():
    story = posting().tell(busy(), runs(run(RunStatus.COMPLETED, "run_1"), run(run_id="run_9")))
    assert story.request == effects.GetRun(run_id="run_9")


def test_a_run_that_the_server_denies_knowing_and_that_still_blocks_is_given_up_in_the_end():
    story = refuse_the_poll(posting(request_max_attempts=3).tell(busy(), runs(run(run_id="run_9"))))
    assert story.said == ["RequestFailed", "RunFailed"]
    failures = 1
    for _ in range(20):
        if story.state == "failed":
            break
        if story.request == POST:
            story.tell(busy())
        elif story.request == WIDE_LOOK:
            story.tell(runs(run(run_id="run_9")))
        else:
            story.tell(due)
        failures += story.said.count("RunFailed")
    assert failures == 1
    assert story.snapshot.outbox.parked


def test_a_published_message_is_never_published_again():
    story = second_turn().tell(page(answer("msg_2"), answer("msg_4")))
    assert [event.message_id for event in story.events] == ["msg_4"]
    story.tell(say("Three", "k3"), posted("msg_5"), created(run_id="run_3"), due, completed("run_3"))
    story.tell(page(answer("msg_2"), question("msg_5"), answer("msg_6")))
    assert [event.message_id for event in story.events] == ["msg_6"]


def test_a_whole_reading_with_run_ids_publishes_nothing_of_other_runs():
    story = from_the_start().tell(page(answer("msg_0", run_id="run_0")))
    assert story.events == ()


@pytest.mark.parametrize(("most", "tries"), [(1, 3), (2, 3), (5, 5)])
def test_an_answer_that_cannot_be_read_is_asked_for_three_times_at_least(most, tries):
    story = reading(request_max_attempts=most)
    malformed = inputs.RequestDelayed(status=200, message="HTML")
    for attempt in range(1, tries + 1):
        story.tell(malformed)
        assert story.only.will_retry is (attempt < tries)
        story.tell(due) if attempt < tries else None
    assert story.state == "failed"
