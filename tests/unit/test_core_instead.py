"""A message that comes instead of the run in progress, and the options of a message's run: the rules of the machine."""

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects
from gpt_agent_fsm.machine.queue import QueuedMessage
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    LOCATE,
    MEASURE,
    awaiting,
    busy,
    cancel,
    created,
    creating,
    denied,
    due,
    failed,
    idle,
    output,
    parked,
    polling,
    posted,
    posting,
    rate_limit,
    rate_limited,
    run,
    running,
    runs,
    say,
    seen,
    submitting,
    unknown,
)

OPTIONS = '{"model":"large"}'
INSTEAD = say("Stop. Rather:", "k9", instead=True)
CANCELLED = seen(RunStatus.FAILED, code="cancelled", message="Cancelled.")


def keys(story):
    return [message.key for message in story.snapshot.queue]


# --- instead --------------------------------------------------------------------------------------------


def test_a_message_instead_of_a_run_cancels_the_run_and_is_sent_before_the_others():
    story = running().tell(say("Two", "k2"), INSTEAD)
    assert keys(story) == ["k9", "k2"]
    assert story.request == effects.CancelRun(run_id="run_1")
    story.tell(CANCELLED)
    assert story.request == effects.PostMessage(key="k9", content="Stop. Rather:")
    assert keys(story) == ["k9", "k2"]


def test_a_message_that_comes_next_cancels_nothing():
    story = running().tell(say("Two", "k2"), say("Three", "k3"))
    assert (keys(story), story.state) == (["k2", "k3"], "running")
    assert story.snapshot.run.ending is None


def test_during_a_poll_the_run_is_cancelled_after_it():
    story = polling().tell(INSTEAD)
    assert story.snapshot.run.must_cancel
    assert isinstance(story.tell(seen()).request, effects.CancelRun)


def test_a_run_that_waits_for_tools_is_cancelled():
    story = awaiting().tell(INSTEAD)
    assert story.request == effects.CancelRun(run_id="run_1")
    story.tell(CANCELLED)
    assert story.request == effects.PostMessage(key="k9", content="Stop. Rather:")


def test_a_run_is_cancelled_after_its_outputs_were_sent():
    story = submitting().tell(INSTEAD)
    assert story.snapshot.run.must_cancel
    assert story.tell(seen()).request == effects.CancelRun(run_id="run_1")


def test_at_rest_the_message_is_sent_at_once():
    story = idle().tell(INSTEAD)
    assert story.request == effects.PostMessage(key="k9", content="Stop. Rather:")
    assert not story.ignored


def test_after_a_failed_run_the_message_is_sent_at_once():
    story = failed().tell(INSTEAD)
    assert story.request == effects.PostMessage(key="k9", content="Stop. Rather:")


def test_a_message_that_is_being_sent_stays_first():
    story = posting().tell(say("Two", "k2"), INSTEAD)
    assert keys(story) == ["k1", "k9", "k2"]
    assert story.snapshot.request == effects.PostMessage(key="k1", content="Hello")


def test_a_message_that_may_have_been_sent_stays_first():
    story = posting().tell(say("Two", "k2"), unknown(), INSTEAD)
    assert keys(story) == ["k1", "k9", "k2"]


def test_a_message_that_waits_to_be_sent_again_comes_second():
    story = parked().tell(INSTEAD)
    assert keys(story) == ["k9", "k1"]
    assert story.request == effects.PostMessage(key="k9", content="Stop. Rather:")
    assert not story.snapshot.outbox.parked


def test_a_run_that_waits_for_its_rate_limit_is_dropped():
    story = rate_limited().tell(INSTEAD)
    (told,) = (event for event in story.events if isinstance(event, events.RunFailed))
    assert (told.id, told.code) == ("run_1", "cancelled")
    assert story.request == effects.PostMessage(key="k9", content="Stop. Rather:")


def test_a_run_that_could_not_be_created_is_dropped():
    story = creating().tell(denied(), INSTEAD)
    (told,) = (event for event in story.events if isinstance(event, events.RunFailed))
    assert (told.id, told.code) == (None, "cancelled")
    assert story.request == effects.PostMessage(key="k9", content="Stop. Rather:")


def test_a_run_that_is_being_created_is_cancelled_as_soon_as_it_is_there():
    story = creating().tell(INSTEAD, created())
    assert isinstance(story.request, effects.CancelRun)


def test_behind_the_run_of_another_client_the_own_run_is_dropped_and_the_other_one_cancelled():
    story = creating().tell(busy(), runs(run(run_id="run_elsewhere")))
    assert story.snapshot.outbox.owed is not None
    story.tell(INSTEAD)
    assert story.snapshot.outbox.owed is None
    story.tell(seen(run_id="run_elsewhere"))
    assert story.request == effects.CancelRun(run_id="run_elsewhere")


# --- options ----------------------------------------------------------------------------------------------


def with_options():
    return idle().tell(say(run_options=OPTIONS), posted())


def test_the_options_of_a_message_are_those_of_its_run():
    story = with_options()
    assert story.request.run_options == OPTIONS


def test_the_options_hold_for_the_outputs_of_the_run():
    story = with_options().tell(created(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE, MEASURE)))
    story.tell(output(LOCATE), output(MEASURE))
    assert story.request.run_options == OPTIONS


def test_a_rate_limited_run_is_started_again_with_its_options():
    story = with_options().tell(created(), due, rate_limit(), due)
    assert isinstance(story.request, effects.CreateRun)
    assert story.request.run_options == OPTIONS


def test_the_options_of_one_message_are_not_those_of_the_next():
    story = with_options().tell(say("Two", "k2"), created(), due, CANCELLED, posted("msg_2"))
    assert isinstance(story.request, effects.CreateRun)
    assert story.request.run_options == ""


@pytest.mark.parametrize("stop", [cancel, INSTEAD])
def test_the_options_wait_in_the_queue(stop):
    story = polling().tell(say("Two", "k2", run_options=OPTIONS), stop)
    assert QueuedMessage(key="k2", content="Two", run_options=OPTIONS) in list(story.snapshot.queue)
    assert attrs.evolve(story.snapshot.queue.messages[-1], run_options="") == QueuedMessage(key="k2", content="Two")
