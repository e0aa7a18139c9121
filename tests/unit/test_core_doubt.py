"""If it is unknown whether a request took effect: search, wait for the grace, and only then send it again."""

import attrs
import pytest

from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    LOCATE,
    MEASURE,
    NOTHING_NEW,
    Story,
    answer,
    cancel,
    completed,
    connect,
    created,
    creating,
    delayed,
    denied,
    due,
    page,
    polling,
    posted,
    posting,
    question,
    reading,
    refused,
    resume,
    retrying,
    run,
    runs,
    say,
    seen,
    submitting,
    unknown,
)

POST = effects.PostMessage(key="k1", content="Hello")
CREATE = effects.CreateRun(key="k1.1", assistant_id="asst_1")
SEARCH = effects.ListMessages(after=None, newest_first=True)
AGAIN = effects.CreateRun(key="k1.1", assistant_id="asst_1", may_exist=True)
FIND = effects.GetLatestRun(key="k1.1")
GRACE = effects.Wait(seconds=30)


def searching(*, in_flight: bool = True, **settings) -> Story:
    """A message was sent, its answer was lost, and it is being searched for."""
    return posting(**settings).tell(unknown(in_flight=in_flight), due)


def finding(*, in_flight: bool = True, **settings) -> Story:
    """A run was requested, the answer was lost, and it is being searched for."""
    return creating(**settings).tell(unknown(in_flight=in_flight), due)


# --- messages -----------------------------------------------------------------------------------------


def test_a_message_in_doubt_is_searched_for_before_it_is_sent_again():
    story = posting().tell(unknown())
    assert (story.only.operation, story.only.attempt, story.only.will_retry) == ("post_message", 1, True)
    assert story.wait == effects.Wait(seconds=1, spread=1)
    assert story.state == "idle"
    assert story.tell(due).request == SEARCH


def test_a_message_that_is_found_by_its_key_is_not_sent_again():
    story = searching().tell(page(answer("msg_5"), question("msg_4", key="k1")))
    assert story.only.id == "msg_4"
    assert story.request == CREATE
    assert story.snapshot.server.message_keys_kept


def test_a_message_that_is_not_there_is_sent_again_only_after_the_grace():
    story = searching().tell(page())
    assert story.wait == GRACE
    assert story.tell(due).request == SEARCH
    assert story.tell(page()).request == POST
    assert story.tell(posted()).said == ["UserMessageAdded"]


def test_a_message_that_lands_late_is_found_by_the_second_search():
    story = searching().tell(page(), due, page(question("msg_4", key="k1")))
    assert story.said == ["UserMessageAdded"]


def test_after_an_unusable_answer_one_search_is_enough():
    assert searching(in_flight=False).tell(page()).request == POST


def test_every_page_that_can_matter_is_searched():
    story = searching().tell(page(answer("msg_9"), next_after="msg_9"))
    assert story.request == effects.ListMessages(after="msg_9", newest_first=True)
    assert story.tell(page(question("msg_4", key="k1"))).said == ["UserMessageAdded"]


@pytest.mark.parametrize(
    ("pages", "known_to_be_newer"),
    [
        ([page(question("msg_4", key="k2"), answer("msg_2"), question("msg_1"))], True),
        ([page(answer("msg_2"), question("msg_0", key="k2"), question("msg_1"))], False),
        ([page(question("msg_4", key="k2"), next_after="msg_4")], True),
        ([page(answer("msg_9"), next_after="msg_9"), page(question("msg_4", key="k2"))], False),
    ],
)
def test_a_message_that_is_found_before_the_cursor_says_nothing_about_the_order_of_lists(pages, known_to_be_newer):
    """The messages of another run may have been read while the message was in doubt."""
    story = reading().tell(page(question("msg_1"), answer("msg_2")), say("Two", "k2"), unknown(), due, *pages)
    assert story.said[-1] == "UserMessageAdded"
    assert (story.snapshot.cursor.posted_since is not None) == known_to_be_newer


def test_an_answer_is_read_although_the_question_was_found_before_an_answer_that_was_read():
    story = reading().tell(page(question("msg_1"), answer("msg_2")), say("Two", "k2"), unknown(), due)
    story.tell(page(answer("msg_2"), question("msg_0", key="k2"), question("msg_1")), created(run_id="run_2"), due)
    listed = page(question("msg_1"), question("msg_0", key="k2"), answer("msg_2"), answer("msg_5"))
    story.tell(completed("run_2"), listed)
    assert [event.message_id for event in story.events if hasattr(event, "message_id")] == ["msg_5"]


def test_the_search_ends_at_the_newest_message_that_is_known():
    story = reading().tell(page(question("msg_1"), answer("msg_2")), say("Two", "k2"), unknown(), due)
    story.tell(page(answer("msg_2"), next_after="msg_2"))
    assert story.wait == GRACE


def test_the_second_search_starts_at_the_newest_message_again():
    story = searching().tell(page(answer("msg_9"), next_after="msg_9"), page(answer("msg_8")), due)
    assert story.request == SEARCH


def test_a_search_that_fails_is_repeated_within_its_own_limit():
    story = searching().tell(delayed())
    assert (story.only.operation, story.only.attempt) == ("list_messages", 1)
    assert story.tell(due).request == SEARCH


def test_a_message_in_doubt_whose_search_is_given_up_is_searched_for_again_and_not_sent():
    story = searching(request_max_attempts=2).tell(delayed(), due, delayed())
    assert story.state == "failed"
    assert story.snapshot.settled
    story.tell(say("Two", "k2"))
    assert story.request == SEARCH
    assert story.tell(page(question("msg_4", key="k1"))).only.content == "Hello"


def test_a_message_in_doubt_without_attempts_left_is_parked_and_searched_for_with_the_next_command():
    story = posting(request_max_attempts=1).tell(unknown())
    assert story.only.will_retry is False
    assert story.state == "failed"
    story.tell(inputs.Connect(assistant_id="asst_1"))
    assert story.request == SEARCH
    assert story.tell(page()).wait == GRACE


def test_searching_for_a_run_does_not_settle_a_doubt_about_a_message():
    story = posting(request_max_attempts=1).tell(unknown(), connect)
    assert story.request == effects.GetLatestRun()
    assert story.tell(runs()).request == SEARCH


# --- servers that drop metadata -----------------------------------------------------------------------------


def in_second_turn() -> Story:
    """A message in doubt on a thread whose newest known message is msg_2."""
    story = reading().tell(page(question("msg_1"), answer("msg_2")))
    return story.tell(say("Two", "k2"), unknown(), due)


def test_a_single_new_message_of_the_same_text_is_ours_if_the_server_drops_metadata():
    story = in_second_turn().tell(page(question("msg_3", "Two"), answer("msg_2"), question("msg_1")))
    assert story.only.id == "msg_3"
    assert not story.snapshot.server.run_keys_kept


def test_an_older_message_of_the_same_text_is_not_ours():
    story = in_second_turn().tell(page(answer("msg_2"), question("msg_1", "Two")))
    assert story.wait == GRACE


def test_two_new_messages_of_the_same_text_cannot_be_distinguished():
    story = in_second_turn().tell(page(question("msg_4", "Two"), question("msg_3", "Two"), answer("msg_2")))
    assert (story.only.operation, story.only.code, story.only.will_retry) == ("post_message", "outcome_unknown", False)
    assert story.state == "failed"
    assert story.snapshot.settled
    assert [message.content for message in story.snapshot.queue] == ["Two"]
    assert story.tell(say("Three", "k3")).request == SEARCH


def test_a_message_of_the_same_text_and_of_unknown_age_cannot_be_distinguished():
    story = searching().tell(page(question("msg_4"), next_after="msg_4"))
    assert story.only.code == "outcome_unknown"


def test_a_message_of_the_same_text_without_our_key_is_a_strangers_if_the_server_keeps_keys():
    story = searching().tell(page(question("msg_4"), answer("msg_3", key="k0")))
    assert story.wait == GRACE
    story = Story().tell(connect, runs(), say("One", "k0"), posted(kept=True))
    story.tell(created(RunStatus.FAILED, code="x", message="y"), say(), unknown(), due)
    assert story.tell(page(question("msg_4"))).wait == GRACE


# --- runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "key"), [(creating, "k1.1"), (retrying, "k1.2")])
def test_a_run_in_doubt_is_searched_for_before_it_is_created_again(make, key):
    story = make().tell(unknown())
    state = story.state
    assert story.only.operation == "create_run"
    assert story.tell(due).request == effects.GetLatestRun(key=key)
    assert story.state == state
    story.tell(runs(run(RunStatus.ACTIVE, "run_5", key=key)))
    assert story.said == ["RunStarted"]
    assert story.state == "running"
    assert story.snapshot.run_id == "run_5"


def test_a_found_run_that_is_over_already_is_announced_with_its_end():
    story = finding().tell(runs(run(RunStatus.COMPLETED, "run_5", key="k1.1")))
    assert story.said == ["RunStarted", "RunCompleted"]


def test_a_found_run_is_distinguished_from_newer_runs_of_others():
    story = finding().tell(runs(run(RunStatus.COMPLETED, "run_6", key="z"), run(run_id="run_5", key="k1.1")))
    assert story.snapshot.run_id == "run_5"


@pytest.mark.parametrize(("make", "key"), [(creating, "k1.1"), (retrying, "k1.2")])
def test_a_run_that_is_not_there_is_created_again_only_after_the_grace(make, key):
    story = make().tell(unknown(), due, runs())
    assert story.wait == GRACE
    story.tell(due)
    assert story.request == effects.GetLatestRun(key=key)
    assert story.tell(runs()).request == attrs.evolve(AGAIN, key=key)


def test_a_single_new_run_without_a_key_is_ours_if_the_server_drops_metadata():
    story = finding().tell(runs(run(run_id="run_5")))
    assert story.said == ["RunStarted"]


def test_a_run_that_was_known_before_is_not_ours():
    story = Story().tell(connect, runs(run(RunStatus.COMPLETED, "run_0")), say(), posted(), unknown(), due)
    assert story.tell(runs(run(RunStatus.COMPLETED, "run_0"))).wait == GRACE


def test_a_run_that_has_ended_is_not_ours_even_if_it_was_not_listed_in_between():
    story = polling().tell(completed(), *NOTHING_NEW, inputs.Connect(assistant_id="asst_1", look=True), runs())
    story.tell(say("Two", "k2"), posted("msg_9"), unknown(in_flight=False), due, runs(run(RunStatus.COMPLETED)))
    assert isinstance(story.request, effects.CreateRun)
    story.tell(unknown(in_flight=False), due, runs(run(RunStatus.COMPLETED, "run_2"), run(RunStatus.COMPLETED)))
    assert story.said == ["RunStarted", "RunCompleted"]


def test_of_two_new_runs_without_a_key_the_one_in_progress_is_adopted_as_a_strangers():
    story = finding().tell(runs(run(run_id="run_6"), run(RunStatus.COMPLETED, "run_5")))
    assert story.said == []
    assert story.state == "running"
    assert story.snapshot.outbox.owed


def test_a_run_without_a_key_is_a_strangers_if_the_server_keeps_keys():
    story = Story().tell(connect, runs(), say(), posted(kept=True), unknown(), due)
    assert story.tell(runs(run(RunStatus.COMPLETED, "run_5"))).wait == GRACE


def test_a_strangers_run_does_not_settle_the_doubt_about_ours():
    story = finding().tell(runs(run(run_id="run_9", key="other")))
    assert story.state == "running"
    story.tell(seen(RunStatus.FAILED, "run_9", code="x", message="y"))
    assert story.request == FIND


@pytest.mark.parametrize("make", [creating, retrying])
def test_a_run_in_doubt_without_attempts_left_is_searched_for_with_the_next_command(make):
    story = make(request_max_attempts=1).tell(unknown())
    assert story.only.will_retry is False
    assert story.state == "failed"
    key = story.snapshot.outbox.turn.run_key
    assert story.tell(say("Two", "k2")).request == effects.GetLatestRun(key=key)


def test_a_run_in_doubt_is_found_by_the_search_of_a_reconnect():
    story = creating(request_max_attempts=1).tell(unknown(), connect)
    assert story.request == FIND
    story.tell(runs(run(run_id="run_5", key="k1.1")))
    assert story.said == ["RunStarted"]
    assert story.state == "running"


def test_a_run_in_doubt_that_a_reconnect_does_not_find_is_searched_for_again_after_the_grace():
    story = creating(request_max_attempts=1).tell(unknown(), connect, runs())
    assert story.wait == GRACE
    assert story.state == "failed"
    story.tell(due, runs())
    assert story.request == AGAIN
    assert story.state == "idle"


# --- after a crash --------------------------------------------------------------------------------------------------


def test_a_message_that_was_in_flight_at_a_crash_is_searched_for():
    story = posting().tell(resume)
    assert story.request == SEARCH
    assert (story.only.operation, story.only.code, story.only.will_retry) == ("post_message", "outcome_unknown", True)
    assert story.tell(page()).wait == GRACE


@pytest.mark.parametrize(("make", "key"), [(creating, "k1.1"), (retrying, "k1.2")])
def test_a_run_that_was_being_created_at_a_crash_is_searched_for(make, key):
    story = make().tell(resume)
    assert story.request == effects.GetLatestRun(key=key)
    assert story.tell(runs()).wait == GRACE


def test_outputs_that_were_in_flight_at_a_crash_are_sent_again_only_if_the_run_still_waits():
    story = submitting().tell(resume)
    assert story.request == effects.GetRun(run_id="run_1", in_doubt=True)
    assert story.tell(needs_again()).request.operation == "submit_tool_outputs"
    assert submitting().tell(resume, seen()).state == "running"


def needs_again() -> inputs.RunSeen:
    return seen(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE, MEASURE))


def test_a_grace_that_a_crash_cut_short_is_waited_for_again():
    story = searching().tell(page(), resume)
    assert story.request == SEARCH
    assert story.tell(page()).wait == GRACE


def test_a_poll_resumed_after_a_crash_is_not_a_search():
    assert polling().tell(resume).snapshot.outbox.owed is None


def test_reading_the_run_of_a_stranger_does_not_hide_a_message_in_doubt():
    story = posting(request_max_attempts=1).tell(unknown(), connect, runs(run(run_id="run_9")))
    story.tell(seen(RunStatus.COMPLETED, "run_9"), page(question("msg_4", key="k1"), answer("msg_5")))
    assert story.request == SEARCH
    assert story.tell(page(answer("msg_5"), next_after="msg_5")).request == effects.ListMessages(
        after="msg_5", newest_first=True
    )
    assert story.tell(page(question("msg_4", key="k1"))).only.id == "msg_4"


def test_adopting_the_run_of_a_stranger_does_not_hide_a_run_in_doubt():
    story = finding().tell(runs(run(run_id="run_9"), run(RunStatus.COMPLETED, "run_8")))
    story.tell(seen(RunStatus.FAILED, "run_9", code="x", message="y"))
    assert story.tell(runs(run(RunStatus.FAILED, "run_9"))).said == ["RunStarted", "RunFailed"]
    assert story.snapshot.usage.runs == 1


def test_a_grace_for_a_run_that_a_crash_cut_short_is_waited_for_again():
    story = finding().tell(runs(), resume)
    assert story.request == FIND
    assert story.tell(runs()).wait == GRACE


def test_on_a_thread_that_was_empty_a_single_message_of_the_same_text_is_ours():
    from gpt_agent_fsm.machine.snapshot import Newest, ServerView, Snapshot

    story = Story(
        Snapshot(thread_id="thread_1", assistant_id="asst_1", server=ServerView(last_posted=Newest.seen(None)))
    )
    story.tell(connect, runs(), say(), unknown(), due)
    story.tell(page(question("msg_1")))
    assert story.only.id == "msg_1"


def test_a_listing_against_the_order_is_searched_to_its_end():
    story = in_second_turn().tell(
        page(question("msg_1", created_at=1.0), answer("msg_2", created_at=2.0), next_after="msg_2")
    )
    assert story.request == effects.ListMessages(after="msg_2", newest_first=True)
    story.tell(page(question("msg_3", "Two", key="k2", created_at=3.0)))
    assert story.only.id == "msg_3"


# --- a run in doubt, and runs of others -----------------------------------------------------------------------------


def between_answers() -> Story:
    """A run is in doubt, somebody else's was adopted and is completed, and its answers are being read."""
    story = finding().tell(runs(run(run_id="run_9"), run(RunStatus.COMPLETED, "run_8")))
    return story.tell(seen(RunStatus.COMPLETED, "run_9"))


def test_a_run_in_doubt_is_searched_for_once_the_answers_of_another_are_read():
    story = between_answers().tell(*NOTHING_NEW)
    assert (story.request, story.state) == (FIND, "idle")


def test_connecting_while_a_run_is_in_doubt_searches_for_that_run_and_not_for_any():
    story = between_answers().tell(connect, *NOTHING_NEW)
    assert (story.request, story.state) == (FIND, "idle")


def test_a_run_in_doubt_that_was_parked_is_searched_for_from_idle():
    story = creating(request_max_attempts=1).tell(unknown())
    assert story.state == "failed"
    story.tell(say("Two", "k2"))
    assert (story.request, story.state) == (FIND, "idle")


@pytest.mark.parametrize("make", [finding, lambda: retrying().tell(unknown(), due)])
def test_the_state_stays_while_a_run_in_doubt_is_not_there_yet(make):
    story = make()
    before = story.state
    assert story.tell(runs()).wait == GRACE
    assert story.state == before


def test_a_retry_whose_answer_is_lost_stays_rate_limited():
    assert retrying().tell(unknown()).state == "rate_limited"


def test_a_retry_that_is_cancelled_while_it_is_being_created_stays_rate_limited_until_it_is_known():
    assert retrying().tell(cancel).state == "rate_limited"


def test_a_cancel_is_forgotten_with_the_creation_that_is_given_up():
    story = creating(request_max_attempts=1).tell(cancel, delayed())
    assert story.state == "failed"
    story.tell(say("Two", "k2"), created())
    assert (story.state, story.request) == ("running", None)


# --- a doubt lasts until a run is there -----------------------------------------------------------------


def searched(**settings):
    """A run in doubt that two searches did not find is being created again."""
    return creating(**settings).tell(unknown(), due, runs(), due, runs())


def test_a_run_that_is_not_found_is_created_again_at_once():
    story = searched()
    assert story.request == AGAIN


@pytest.mark.parametrize("pause", [delayed(), delayed(20)])
def test_after_a_wait_the_run_is_searched_for_again_before_it_is_created(pause):
    story = searched().tell(pause)
    assert story.wait is not None
    story.tell(due)
    assert story.request == effects.GetLatestRun(key="k1.1")
    story.tell(runs())
    assert story.request == AGAIN


@pytest.mark.parametrize("no", [denied(), denied(quota=True), refused()])
@pytest.mark.parametrize("command", [say("Two", "k2"), connect, inputs.SetAssistant(assistant_id="asst_1")])
def test_a_parked_run_in_doubt_is_searched_for_when_a_person_has_acted(no, command):
    story = searched().tell(no)
    assert story.snapshot.outbox.parked
    story.tell(command)
    assert story.request == effects.GetLatestRun(key="k1.1")
    story.tell(runs(run(RunStatus.COMPLETED, key="k1.1")))
    assert "RunStarted" in story.said


def test_a_run_in_doubt_that_waits_is_searched_for_after_a_crash():
    story = searched().tell(delayed(), resume)
    assert story.request == effects.GetLatestRun(key="k1.1")


def test_a_rate_limited_run_in_doubt_is_searched_for_after_each_wait():
    story = retrying().tell(unknown(), due, runs(), due, runs())
    assert story.request == attrs.evolve(AGAIN, key="k1.2")
    assert story.tell(delayed(), due).request == effects.GetLatestRun(key="k1.2")
    assert story.tell(runs()).request == attrs.evolve(AGAIN, key="k1.2")


def test_a_run_that_was_created_leaves_no_doubt():
    story = searched().tell(created())
    assert story.snapshot.outbox.owed is None
