"""Promises that hold in every state, and moves that no row may make."""

import attrs
import pytest

from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    LOCATE,
    MEASURE,
    NOTHING_NEW,
    Story,
    awaiting,
    cancel,
    completed,
    connect,
    created,
    creating,
    delayed,
    denied,
    deny_the_poll,
    due,
    failed,
    idle,
    needs,
    output,
    page,
    polling,
    posted,
    posting,
    question,
    rate_limit,
    rate_limited,
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
    submitting,
    unknown,
)

IN_EVERY_STATE = [idle, running, awaiting, submitting, rate_limited, failed]
POLL = effects.GetRun(run_id="run_1")
CANCEL = effects.CancelRun(run_id="run_1")
everywhere = pytest.mark.parametrize("make", IN_EVERY_STATE)


def looking_again() -> Story:
    """Awaiting tools, with a poll in flight."""
    return awaiting().tell(due)


def resubmitting() -> Story:
    """Submitting, with a poll in flight."""
    return submitting().tell(unknown(), due)


def looking_while_failed() -> Story:
    """Failed, with a search for a run in flight."""
    return failed(request_max_attempts=1).tell(connect)


def assistants_of_runs_to_come(story: Story) -> set[str]:
    """Return the assistant of the run whose request waits, if one does."""
    waits = isinstance(story.snapshot.request, effects.CreateRun) and not story.snapshot.pending.sent
    return {story.snapshot.request.assistant_id} if waits else set()


@everywhere
def test_the_assistant_may_be_changed_in_every_state(make):
    story = make()
    state, request = story.state, story.snapshot.request
    story.tell(inputs.SetAssistant(assistant_id="asst_2"))
    assert story.snapshot.assistant_id == "asst_2"
    assert story.moves == []
    assert story.state == state
    assert type(story.snapshot.request) is type(request)
    assert assistants_of_runs_to_come(story) <= {"asst_2"}


def test_a_run_that_is_still_owed_is_distinguished_from_one_in_progress():
    assert assistants_of_runs_to_come(rate_limited()) == {"asst_1"}
    assert assistants_of_runs_to_come(creating()) == set()


@everywhere
def test_an_agent_may_be_connected_again_in_every_state(make):
    story = make()
    state = story.state
    story.tell(inputs.Connect(assistant_id="asst_2", last_message_id="msg_9"))
    assert (story.snapshot.assistant_id, story.snapshot.cursor.last_message_id) == ("asst_2", "msg_9")
    assert assistants_of_runs_to_come(story) <= {"asst_2"}
    assert story.moves == []
    assert story.state == state


@everywhere
def test_a_message_is_accepted_in_every_state(make):
    story = make()
    state = story.state
    story.tell(say("Later", "k9"))
    assert story.snapshot.queue[-1].content == "Later"
    assert story.moves == (["failed -> idle"] if state == "failed" else [])


@pytest.mark.parametrize(
    ("make", "request_"),
    [
        (running, POLL),
        (awaiting, POLL),
        (lambda: submitting().tell(unknown()), effects.GetRun(run_id="run_1", in_doubt=True)),
        (lambda: submitting().tell(delayed()), effects.SubmitToolOutputs),
        (rate_limited, effects.CreateRun(key="k1.2", assistant_id="asst_1")),
        (looking_while_failed, effects.GetLatestRun()),
        (lambda: posting().tell(delayed()), effects.PostMessage(key="k1", content="Hello")),
    ],
    ids=["running", "awaiting", "looking", "submitting", "rate_limited", "failed", "posting"],
)
def test_the_next_request_is_made_after_a_crash_in_every_state(make, request_):
    story = make().tell(resume)
    assert story.request == request_ or isinstance(story.request, request_)
    assert story.moves == []


@pytest.mark.parametrize("make", [looking_again, resubmitting])
def test_a_fact_about_another_run_moves_nothing(make):
    story = make()
    before = story.snapshot
    for fact in (completed("run_0"), seen(RunStatus.ACTIVE, "run_0")):
        assert story.tell(fact).ignored
        assert story.snapshot == before


@pytest.mark.parametrize("make", [polling, looking_again, resubmitting])
def test_retries_may_be_exhausted_in_every_state_that_polls(make):
    snapshot = make().snapshot
    outbox = attrs.evolve(snapshot.outbox, turn=attrs.evolve(snapshot.outbox.turn, retries_left=0))
    story = Story(attrs.evolve(snapshot, outbox=outbox)).tell(rate_limit())
    assert story.said == ["RateLimited", "RateLimitRetriesExhausted"]
    assert story.state == "failed"


@pytest.mark.parametrize("make", [looking_again, resubmitting])
def test_a_cancel_is_sent_before_tools_and_outputs(make):
    story = make().tell(cancel, needs(LOCATE, MEASURE))
    assert story.request == CANCEL
    assert story.moves[-1].endswith("-> running")


@pytest.mark.parametrize("make", [polling, lambda: awaiting().tell(due), looking_again, resubmitting])
def test_a_poll_that_is_refused_once_changes_nothing(make):
    story = make()
    state, calls = story.state, story.snapshot.calls
    story.tell(refused(404))
    assert (story.state, story.snapshot.calls, story.moves) == (state, calls, [])
    assert story.only.will_retry


@pytest.mark.parametrize("make", [looking_again, resubmitting])
def test_a_run_that_the_server_denies_knowing_during_a_poll_is_lost(make):
    assert refuse_the_poll(make()).said == ["RequestFailed", "RunFailed"]


@pytest.mark.parametrize("make", [running, awaiting, lambda: submitting().tell(delayed())])
def test_a_cancel_that_came_too_late_leads_to_a_poll_and_moves_nothing(make):
    story = make().tell(cancel, refused())
    assert story.request == POLL
    assert story.moves == []
    assert story.only.operation == "cancel_run"


@pytest.mark.parametrize("make", [running, awaiting, lambda: submitting().tell(delayed())])
def test_a_delayed_cancel_moves_nothing(make):
    story = make().tell(cancel, delayed())
    assert story.only.will_retry is True
    assert story.moves == []


def test_a_search_that_is_denied_or_fails_permanently_parks_a_failed_thread():
    for no in (delayed(), refused(), denied()):
        story = looking_while_failed().tell(no)
        assert story.only.will_retry is False
        assert story.moves == []
        assert story.snapshot.outbox.parked
        assert story.snapshot.settled
        assert story.snapshot.server.must_check


def test_a_message_that_is_posted_or_found_moves_nothing():
    assert posting().tell(posted()).moves == []
    searching = posting().tell(unknown(in_flight=False), due)
    assert Story(searching.snapshot).tell(page(question("msg_4", key="k1"))).moves == []
    assert searching.tell(page()).moves == []


def test_a_found_run_moves_the_thread_once():
    story = creating().tell(unknown(), due, runs(run(run_id="run_5", key="k1.1")))
    assert story.moves == ["idle -> running"]


def test_an_output_for_an_abandoned_run_stays_in_failed_until_the_run_is_seen():
    story = deny_the_poll(awaiting().tell(due)).tell(output(LOCATE))
    assert story.moves == []
    assert story.state == "failed"


def test_the_answer_to_the_cancel_of_an_abandoned_run_moves_nothing():
    for fact in (seen(RunStatus.CANCELLING), delayed(), refused()):
        story = submitting(tool_output_max_attempts=1, request_max_attempts=1).tell(delayed())
        assert story.tell(fact).moves == []
        assert story.state == "failed"
        assert story.snapshot.settled


def test_a_refused_submission_moves_nothing_before_the_run_was_polled():
    assert submitting().tell(refused()).moves == []


def test_broken_arguments_of_a_later_round_are_answered_in_every_state():
    broken = ToolCall(id="call_7", name="f", arguments="{")
    story = submitting().tell(needs(broken))
    assert story.request.outputs[0][0] == "call_7"
    assert story.state == "submitting"
    story = looking_again().tell(needs(broken))
    assert story.request.outputs[0][0] == "call_7"
    assert story.state == "submitting"


def test_a_stale_poll_of_a_run_whose_outputs_were_accepted_changes_only_the_time():
    story = submitting().tell(seen(), due, needs(LOCATE, MEASURE))
    assert story.state == "running"
    assert story.moves == []


def test_only_the_new_call_beside_accepted_outputs_is_requested():
    other = ToolCall(id="call_8", name="g", arguments="{}")
    story = submitting().tell(seen(), due, needs(LOCATE, MEASURE, other))
    assert [event.id for event in story.events if hasattr(event, "arguments")] == ["call_8"]
    story.tell(due, needs(LOCATE, MEASURE))
    assert story.state == "submitting"


def test_a_reading_in_progress_survives_a_new_message():
    story = reading().tell(say("Two", "k2"), *NOTHING_NEW)
    assert story.request == effects.PostMessage(key="k2", content="Two")


@pytest.mark.parametrize("make", [creating, retrying])
def test_a_run_may_be_over_when_its_creation_is_answered(make):
    story = make().tell(created(RunStatus.FAILED, "run_3", code="x", message="y"))
    assert story.said == ["RunStarted", "RunFailed"]
    assert story.moves[-1] == "running -> failed"


# --- deadlines and the quota ------------------------------------------------------------------------------------

LATE = inputs.DeadlinePassed(setting="run_timeout", seconds=60)


@pytest.mark.parametrize("make", [running, awaiting, lambda: submitting().tell(delayed())])
def test_a_run_that_takes_too_long_is_cancelled_and_its_end_is_a_timeout(make):
    story = make().tell(LATE)
    assert story.request == CANCEL
    assert story.moves == []
    story.tell(seen(RunStatus.CANCELLING), due, seen(RunStatus.FAILED, code="cancelled", message="m"))
    assert story.only.code == "timeout"
    assert story.only.message == "The run was cancelled: it took longer than run_timeout (60 seconds)."
    assert story.snapshot.run is None


def test_a_timeout_does_not_outlive_its_run():
    story = running().tell(LATE, completed())
    assert story.snapshot.run is None
    story = running().tell(LATE, rate_limit())
    assert story.snapshot.run is None
    sorry = seen(RunStatus.FAILED, "run_2", code="server_error", message="Sorry")
    story.tell(say("Two", "k2"), posted("msg_2"), created(run_id="run_2"), due, sorry)
    assert story.only.code == "server_error"
    story = rate_limited().tell(due, created(run_id="run_2"), due, LATE, sorry)
    assert story.only.code == "timeout"


@pytest.mark.parametrize("make", [idle, rate_limited, failed])
def test_a_deadline_of_a_run_that_is_over_is_ignored(make):
    assert make().tell(LATE).ignored == "that run is over"


def test_a_parked_thread_tries_again_when_the_quota_is_restored():
    story = posting().tell(denied(quota=True), inputs.QuotaRestored())
    assert story.request == effects.PostMessage(key="k1", content="Hello")
    assert story.state == "idle"


@everywhere
def test_a_restored_quota_changes_nothing_if_nothing_is_parked(make):
    assert make().tell(inputs.QuotaRestored()).ignored == "nothing is parked"


def test_a_failed_thread_that_searches_after_the_quota_was_restored_stays_failed_until_it_finds_something():
    story = looking_while_failed().tell(denied(quota=True), inputs.QuotaRestored())
    assert story.request == effects.GetLatestRun()
    assert story.moves == []
