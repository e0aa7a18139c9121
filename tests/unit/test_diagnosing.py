"""The findings about one thread, and the repairs that need no server."""

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.engine.diagnosing import find, repaired
from gpt_agent_fsm.engine.protocols import Saved
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.objects import CallStage
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import Waiting
from tests.story import (
    LOCATE,
    MEASURE,
    SETTINGS,
    awaiting,
    creating,
    failed,
    idle,
    parked,
    polling,
    posting,
    rate_limited,
    reading,
    say,
    seen,
    submitting,
)

NOW = 10_000.0


def expired():
    return polling().tell(seen(RunStatus.FAILED, code="expired", message="It took too long"))


def asking(**fields):
    """A thread whose only call waits for an approval since `NOW`."""
    call = attrs.evolve(LOCATE, stage=CallStage.ASKING, asked_at=NOW)
    story = awaiting(LOCATE)
    story.snapshot = attrs.evolve(story.snapshot, run=attrs.evolve(story.snapshot.run, calls=(call,)))
    story.settings = attrs.evolve(SETTINGS, **fields)
    return story


def findings(story, *inbox, owned=False, now=NOW):
    saved = Saved(snapshot=story.snapshot, inbox=tuple(enumerate(inbox, 1)))
    return find(saved, story.settings, now, owned=owned)


def repair(story, *inbox):
    """Carry out all repairs of a thread, and return the decision."""
    saved = Saved(snapshot=story.snapshot, inbox=tuple(enumerate(inbox, 1)))
    commands = tuple(command for finding in findings(story, *inbox) for command in finding.commands)
    return repaired(saved, commands, story.settings, NOW)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (posting, "unfinished"),
        (creating, "unfinished"),
        (rate_limited, "unfinished"),
        (reading, "unfinished"),
        (polling, "stuck_run"),
        (submitting, "stuck_run"),
        (expired, "expired_run"),
        (parked, "parked_queue"),
        (asking, "approval"),
        (lambda: awaiting(LOCATE), "open_call"),
    ],
)
def test_each_trouble_has_one_finding_that_names_the_thread_and_what_to_do(make, kind):
    (finding,) = findings(make())
    assert (finding.kind, finding.thread_id) == (kind, "thread_1")
    assert finding.problem.endswith(".")
    assert finding.advice.endswith(".")


@pytest.mark.parametrize("make", [idle, failed])
def test_a_thread_at_rest_is_well(make):
    assert findings(make()) == ()


@pytest.mark.parametrize("make", [posting, polling, submitting])
def test_a_thread_that_a_process_drives_is_well_until_it_stalls(make):
    story = make()
    story.snapshot = attrs.evolve(story.snapshot, waiting=Waiting(since=NOW - SETTINGS.stall_after))
    assert findings(story, owned=True, now=NOW - 1) == ()
    assert len(findings(story, owned=True)) == 1
    story.settings = attrs.evolve(SETTINGS, stall_after=None)
    assert findings(story, owned=True) == ()


def test_each_open_call_is_a_finding_even_if_a_process_drives_the_thread():
    assert [finding.kind for finding in findings(awaiting(LOCATE, MEASURE), owned=True)] == ["open_call", "open_call"]


def test_a_call_that_a_function_answers_is_not_answered_by_a_repair():
    story = awaiting(LOCATE)
    call = attrs.evolve(LOCATE, stage=CallStage.STARTED, attempt=1)
    story.snapshot = attrs.evolve(story.snapshot, run=attrs.evolve(story.snapshot.run, calls=(call,)))
    (finding,) = findings(story)
    assert (finding.kind, finding.repair, finding.commands) == ("open_call", "", ())


def test_a_message_that_no_process_has_seen_yet_is_found():
    (finding,) = findings(idle(), say())
    assert finding.kind == "unfinished"


def test_a_parked_queue_is_repaired_without_a_server():
    decision = repair(parked())
    assert [type(event) for event in decision.happened] == [events.MessagesDiscarded]
    assert find(Saved(snapshot=decision.snapshot), SETTINGS, NOW, owned=False) == ()


def test_a_command_that_waits_in_the_inbox_is_carried_out_before_the_repair():
    decision = repair(parked(), inputs.SetAssistant(assistant_id="asst_9"))
    assert decision.consumed == 1
    assert decision.snapshot.assistant_id == "asst_9"


def test_answered_calls_leave_a_request_for_the_next_process_that_was_not_sent():
    snapshot = repair(awaiting(LOCATE, MEASURE)).snapshot
    assert snapshot.state == "submitting"
    assert snapshot.has_waiting_request
    (finding,) = find(Saved(snapshot=snapshot), SETTINGS, NOW, owned=False)
    assert finding.kind == "stuck_run"
    assert "needs the server" in finding.advice


def test_an_approval_is_denied_only_when_its_time_is_over():
    (early,) = findings(asking(approval_timeout=60), now=NOW + 59)
    assert early.commands == ()
    (late,) = findings(asking(approval_timeout=60), now=NOW + 60)
    assert [type(command) for command in late.commands] == [inputs.DenyToolCall]
    decision = repair(asking())
    assert any(isinstance(event, events.ToolDenied) for event in decision.happened)
