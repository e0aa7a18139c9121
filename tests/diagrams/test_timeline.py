"""What a timeline shows of the records of a thread."""

import attrs
import pytest

from gpt_agent_fsm import events as e
from gpt_agent_fsm.diagrams import timeline_of
from gpt_agent_fsm.diagrams.timeline import MAX_RECORDS
from gpt_agent_fsm.ports import Record
from tests.story import (
    LOCATE,
    MEASURE,
    awaiting,
    creating,
    idle,
    parked,
    polling,
    posting,
    rate_limited,
    reading,
    say,
    submitting,
    waiting,
)

COMMON = {"thread_id": "thread_1", "run_id": "run_1", "assistant_id": "asst_1"}


def records(*pairs):
    """Return records of these times and events."""
    return [Record(seq=seq, at=at, event=event) for seq, (at, event) in enumerate(pairs, 1)]


def make(kind, **fields):
    """Return an event. Its ids are those of `COMMON` if the test gives none."""
    names = {field.name for field in attrs.fields(kind)}
    return kind(**{name: value for name, value in COMMON.items() if name in names} | fields)


def moved(source, dest, trigger="run_seen"):
    return make(e.StateChanged, source=source, dest=dest, trigger=trigger)


STARTED = make(e.RunStarted, id="run_1")
COMPLETED = make(e.RunCompleted, id="run_1", prompt_tokens=1, completion_tokens=1, total_tokens=2)
CALLED = make(e.ToolCallRequested, id="c", name="pay", arguments={"iban": "secret"})
ASKED = make(e.ToolApprovalRequested, id="c", name="pay", arguments={"iban": "secret"})
RECORDED = make(e.ToolCallOutputRecorded, id="c", name="pay", output="secret")


def shown(*pairs):
    """Return the bars of a timeline as tuples. A bar that has not ended has an exclamation mark."""
    return [(bar.lane, bar.name + "!" * bar.is_open, bar.start, bar.end) for bar in timeline_of(records(*pairs)).bars]


def failed(**fields):
    return make(e.RunFailed, **{"id": "run_1", "code": "server_error", "message": "secret"} | fields)


def test_a_run_lasts_from_its_start_to_its_result():
    assert shown((1, STARTED), (3, COMPLETED)) == [("runs", "run_1 completed", 1, 3)]
    assert shown((1, STARTED), (3, failed())) == [("runs", "run_1 failed: server_error", 1, 3)]


def test_a_run_that_has_not_ended_lasts_until_the_last_record():
    message = make(e.UserMessageAdded, id="msg_1", content="secret")
    assert shown((1, STARTED), (4, message)) == [("runs", "run_1!", 1, 4), ("messages", "user msg_1", 4, 4)]


def test_a_run_that_was_found_begins_when_it_was_found():
    bars = shown((1, moved("idle", "running", "runs_listed")), (3, COMPLETED))
    assert ("runs", "run_1 completed", 1, 3) in bars


def test_a_run_that_was_never_created_is_a_mark():
    assert shown((2, failed(id=None, code="cancelled"))) == [("runs", "no run failed: cancelled", 2, 2)]


def test_the_state_before_the_first_change_is_shown_too():
    assert shown((1, STARTED), (2, moved("idle", "running")), (5, moved("running", "failed"))) == [
        ("state", "idle", 1, 2), ("runs", "run_1!", 1, 5), ("state", "running", 2, 5), ("state", "failed!", 5, 5),
    ]  # fmt: skip


def test_a_call_lasts_until_its_output_and_an_approval_until_its_decision():
    approved = make(e.ToolApproved, id="c", by="Ann", note="secret")
    assert shown((1, CALLED), (1, ASKED), (5, approved), (6, RECORDED)) == [
        ("approvals", "pay approved", 1, 5), ("tool calls", "pay", 1, 6),
    ]  # fmt: skip
    denied = make(e.ToolDenied, id="c", by="Ann", reason="secret")
    assert ("approvals", "pay denied", 1, 5) in shown((1, ASKED), (5, denied))


def test_a_run_that_ends_ends_its_calls_and_approvals():
    bars = shown((1, STARTED), (2, CALLED), (2, ASKED), (9, failed(code="expired")))
    assert ("tool calls", "pay (run ended)", 2, 9) in bars
    assert ("approvals", "pay (run ended)", 2, 9) in bars


def test_a_rate_limit_is_waited_for_until_the_state_changes():
    limited = make(e.RateLimited, retries_remaining=2)
    bars = shown(
        (1, STARTED), (2, limited), (2, moved("running", "rate_limited")), (30, moved("rate_limited", "running"))
    )
    assert ("runs", "run_1 rate limited", 1, 2) in bars
    assert ("waits", "rate limit", 2, 30) in bars


def refusal(*, will_retry):
    return make(
        e.RequestFailed, operation="get_run", status=503, code=None, message="secret", attempt=1, will_retry=will_retry
    )


def test_the_retries_of_a_request_are_one_wait_that_the_next_event_ends():
    bars = shown((1, STARTED), (2, refusal(will_retry=True)), (3, refusal(will_retry=True)), (8, COMPLETED))
    assert [bar for bar in bars if bar[0] == "waits"] == [("waits", "retry of get_run", 2, 8)]
    assert ("waits", "get_run failed", 2, 2) in shown((2, refusal(will_retry=False)))


def test_a_stalled_thread_waits_since_the_wait_began():
    stalled = make(e.ThreadStalled, reason="secret", since=2.0, next_look=None)
    assert ("waits", "stalled", 2, 400) in shown((1, STARTED), (302, stalled), (400, COMPLETED))


@pytest.mark.parametrize(
    ("story", "name"),
    [
        (posting, "posting of a message"),
        (creating, "creation of a run"),
        (polling, "answer of run_1"),
        (lambda: awaiting(LOCATE), "output of locate"),
        (lambda: awaiting(LOCATE, MEASURE), "output of locate and 1 more"),
        (submitting, "outputs of run_1"),
        (rate_limited, "rate limit"),
        (reading, "messages of run_1"),
    ],
)
def test_a_thread_that_is_not_at_rest_waits_for_something_until_now(story, name):
    timeline = timeline_of(records((1, STARTED), (3, ASKED)), snapshot=waiting(story(), 2.0).snapshot, now=500.0)
    assert (timeline.end, timeline.times, timeline.lasts) == (500.0, (1, 2.0, 3, 500.0), True)
    (wait,) = (bar for bar in timeline.bars if bar.lane == "waits")
    assert (wait.name, wait.start, wait.end, wait.is_open) == (name, 2.0, 500.0, True)
    (run,) = (bar for bar in timeline.bars if bar.lane == "runs")
    assert (run.end, run.is_open) == (500.0, True)


def test_a_parked_queue_waits_since_the_last_record_and_its_messages_are_counted():
    bars = timeline_of(records((1, STARTED), (3, COMPLETED)), snapshot=parked().snapshot, now=500.0).bars
    assert ("waits", "parked", 3, 500.0) in [(bar.lane, bar.name, bar.start, bar.end) for bar in bars]
    assert ("messages", "1 queued", 500.0) in [(bar.lane, bar.name, bar.start) for bar in bars]


def test_the_messages_behind_a_run_are_counted_and_not_shown():
    snapshot = polling().tell(say("secret", "k2"), say("secret", "k3")).snapshot
    timeline = timeline_of(records((1, STARTED)), snapshot=snapshot, now=9.0)
    assert "2 queued" in [bar.name for bar in timeline.bars]
    assert "secret" not in repr(timeline)


def test_a_thread_at_rest_ends_at_its_last_record_whatever_the_time_is():
    told = records((1, STARTED), (3, COMPLETED))
    assert timeline_of(told, snapshot=idle().snapshot, now=500.0) == timeline_of(told)


def test_a_thread_without_records_may_wait():
    timeline = timeline_of([], "thread_1", snapshot=posting().snapshot, now=500.0)
    assert {(bar.name, bar.start) for bar in timeline.bars} == {("posting of a message", 500.0), ("1 queued", 500.0)}


def test_a_clock_that_was_set_back_since_the_last_record_breaks_no_wait():
    timeline = timeline_of(records((10, STARTED)), snapshot=waiting(polling(), 10.0).snapshot, now=4.0)
    assert (timeline.start, timeline.end) == (10, 10)


@pytest.mark.parametrize("kind", e.Event.__args__, ids=lambda kind: kind.__name__)
def test_no_event_brings_the_text_of_a_message_into_a_timeline(kind):
    private = ["content", "text", "message", "arguments", "output", "details", "reason", "note", "by", "refusal"]
    public = {
        "at": 1.0,
        "since": 1.0,
        "source": "idle",
        "dest": "failed",
        "keys": (),
        "parts": (),
        "used": 1,
        "limit": 1,
    }
    fields = {field.name: public.get(field.name, "x1") for field in attrs.fields(kind)}
    fields |= {name: "secret" for name in private if name in fields}
    timeline = timeline_of(records((1.0, kind(**fields))))
    assert "secret" not in repr(timeline)


def test_names_are_short_and_can_be_printed():
    (bar,) = timeline_of(records((1, make(e.RunStarted, id="run\n\x00\ud800" + "x" * 100)))).bars
    assert bar.name == "run???" + "x" * 33 + "…"
    bar.name.encode()


def test_a_long_history_shows_its_newest_records_and_the_bars_that_reach_into_them():
    old = [(at, moved("idle", "running")) for at in range(50)]
    many = records((0, STARTED), *old, *((100 + at, refusal(will_retry=False)) for at in range(MAX_RECORDS)))
    timeline = timeline_of(many)
    assert (timeline.start, timeline.end, timeline.left_out) == (100, 99 + MAX_RECORDS, 51)
    assert ("runs", 100) in {(bar.lane, bar.start) for bar in timeline.bars}
    assert len(timeline.bars) == MAX_RECORDS + 2


def test_a_clock_that_was_set_back_breaks_nothing():
    bars = shown((10, STARTED), (4, COMPLETED))
    assert bars == [("runs", "run_1 completed", 10, 10)]


def test_a_thread_without_records_has_an_empty_timeline():
    timeline = timeline_of([])
    assert (timeline.thread_id, timeline.bars, timeline.left_out) == ("a thread", (), 0)
    assert timeline_of([], "thread_9").thread_id == "thread_9"
