"""Tool calls that functions answer, and those that a person must approve: the rules of the machine."""

import json

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects
from gpt_agent_fsm.machine.arguments import error_output
from gpt_agent_fsm.machine.objects import CallStage, HostedTool, ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.waits import only_a_person_is_waited_for, open_approvals, open_calls
from tests.story import (
    LOCATE,
    MEASURE,
    MEASURE_AGAIN,
    approve,
    ask_approval,
    awaiting,
    cancel,
    completed,
    created,
    deny,
    deny_the_poll,
    due,
    idle,
    needs,
    output,
    polling,
    posted,
    rate_limit,
    refuse_the_poll,
    running,
    say,
    seen,
    start_tool,
    submitting,
    tool_ended,
    tool_lost,
    unknown,
)

ONE = LOCATE.id


def asking():
    return awaiting().tell(ask_approval(LOCATE, at=5.0))


def started(*, safe=False):
    return awaiting().tell(start_tool(LOCATE, safe=safe))


def left_with_a_function():
    """The run was left because polls are denied, while a function still runs."""
    return deny_the_poll(started().tell(due))


def stage(story, call=LOCATE):
    return next(each.stage for each in story.snapshot.calls if each.id == call.id)


def stays(story, before, *told):
    """Tell it, and make sure that it is ignored."""
    for input_ in told:
        assert story.tell(input_).ignored
        assert story.snapshot == before


# --- functions ----------------------------------------------------------------------------------------


def test_the_start_of_a_function_is_announced_with_its_attempt():
    story = started()
    assert story.only == events.ToolStarted(id=ONE, thread_id="thread_1", run_id="run_1", name="locate", attempt=1)
    assert (story.state, story.request) == ("awaiting_tools", None)
    assert stage(story) is CallStage.STARTED


def test_the_output_of_a_function_is_recorded():
    story = started().tell(tool_ended(LOCATE, '"Oslo"'))
    assert story.only == events.ToolCallOutputRecorded(
        id=ONE, thread_id="thread_1", run_id="run_1", name="locate", output='"Oslo"'
    )
    assert story.state == "awaiting_tools"


def test_the_last_output_of_a_function_is_sent():
    story = started().tell(output(MEASURE, "2"), tool_ended(LOCATE))
    assert story.request == effects.SubmitToolOutputs(
        run_id="run_1", outputs=((ONE, "1"), (MEASURE.id, "2")), assistant_id="asst_1"
    )
    assert story.moves == ["awaiting_tools -> submitting"]


def test_an_output_by_hand_is_ignored_after_the_function_was_started():
    story = started()
    stays(story, story.snapshot, output(LOCATE))


def test_a_function_is_not_started_after_an_output_by_hand():
    story = awaiting().tell(output(LOCATE))
    stays(story, story.snapshot, start_tool(LOCATE), ask_approval(LOCATE))


def test_a_function_that_is_not_safe_is_not_started_twice():
    story = started()
    stays(story, story.snapshot, start_tool(LOCATE))


def test_a_safe_function_is_started_again():
    story = started(safe=True).tell(start_tool(LOCATE, safe=True))
    assert story.only.attempt == 2
    stays(story, story.snapshot, tool_ended(LOCATE, attempt=1))
    assert story.tell(tool_ended(LOCATE, attempt=2)).said == ["ToolCallOutputRecorded"]


def test_a_lost_function_is_announced_and_the_model_is_told():
    story = started().tell(tool_lost(LOCATE))
    unknown, recorded = story.events
    assert unknown == events.ToolOutcomeUnknown(id=ONE, thread_id="thread_1", run_id="run_1", name="locate")
    assert recorded.output == '{"error":"Nobody knows."}'


@pytest.mark.parametrize("fact", [tool_ended(LOCATE), tool_lost(LOCATE)])
@pytest.mark.parametrize("make", [idle, running, awaiting, submitting, lambda: started().tell(tool_ended(LOCATE))])
def test_the_end_of_a_function_that_does_not_run_is_ignored(make, fact):
    story = make()
    stays(story, story.snapshot, fact)


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        (tool_ended(LOCATE), ["ToolCallOutputRecorded"]),
        (tool_lost(LOCATE), ["ToolOutcomeUnknown", "ToolCallOutputRecorded"]),
    ],
)
def test_the_end_of_a_function_is_kept_for_a_run_that_was_left(fact, said):
    story = left_with_a_function()
    assert story.state == "failed"
    assert story.tell(fact).said == said
    assert story.state == "failed"


def test_a_poll_during_a_function_changes_nothing():
    story = started().tell(due, needs(LOCATE, MEASURE))
    assert story.said == []
    assert stage(story) is CallStage.STARTED


def test_an_unknown_call_is_not_started():
    story = awaiting()
    stays(
        story, story.snapshot, start_tool(MEASURE_AGAIN), ask_approval(MEASURE_AGAIN), deny(MEASURE_AGAIN, by_rule=True)
    )


# --- approvals ----------------------------------------------------------------------------------------


def test_the_question_is_announced_with_the_arguments():
    story = asking()
    assert story.only == events.ToolApprovalRequested(
        id=ONE, thread_id="thread_1", run_id="run_1", name="locate", arguments={"city": "Oslo"}
    )
    assert [call.id for call in open_approvals(story.snapshot)] == [ONE]
    assert [call.id for call in open_calls(story.snapshot)] == [MEASURE.id]
    assert story.snapshot.calls.by_id[ONE].asked_at == 5.0


def test_a_question_is_asked_once():
    story = asking()
    stays(story, story.snapshot, ask_approval(LOCATE))


def test_nothing_else_is_accepted_while_a_person_is_asked():
    story = asking()
    stays(story, story.snapshot, output(LOCATE), start_tool(LOCATE), tool_ended(LOCATE))


def test_an_approved_call_may_be_started():
    story = asking().tell(approve(LOCATE, "ann", "fine"))
    assert story.only == events.ToolApproved(id=ONE, thread_id="thread_1", by="ann", note="fine")
    assert stage(story) is CallStage.APPROVED
    assert story.tell(start_tool(LOCATE)).said == ["ToolStarted"]


def test_a_denied_call_is_answered_with_the_reason():
    story = asking().tell(deny(LOCATE, "too dear", by="ann"))
    denied, recorded = story.events
    assert denied == events.ToolDenied(id=ONE, thread_id="thread_1", by="ann", reason="too dear")
    assert recorded.output == '{"error":"The call was denied: too dear"}'


def test_the_last_call_that_is_denied_lets_the_outputs_be_sent():
    story = asking().tell(output(MEASURE, "2"), deny(LOCATE, ""))
    assert isinstance(story.request, effects.SubmitToolOutputs)
    assert dict(story.request.outputs)[ONE] == '{"error":"The call was denied"}'


@pytest.mark.parametrize("decision", [approve(LOCATE), deny(LOCATE)])
@pytest.mark.parametrize(
    "make", [idle, running, awaiting, submitting, started, lambda: asking().tell(approve(LOCATE)), left_with_a_function]
)
def test_a_decision_that_nobody_waits_for_is_ignored(make, decision):
    story = make()
    stays(story, story.snapshot, decision)


def test_the_rule_of_a_tool_may_deny_a_call_before_anybody_was_asked():
    assert awaiting().tell(deny(LOCATE, by_rule=True)).said == ["ToolDenied", "ToolCallOutputRecorded"]
    story = started()
    stays(story, story.snapshot, deny(LOCATE, by_rule=True))


@pytest.mark.parametrize(
    "end",
    [
        lambda story: story.tell(seen(RunStatus.FAILED, code="expired", message="Too late")),
        lambda story: story.tell(completed()),
        lambda story: story.tell(rate_limit()),
        refuse_the_poll,
    ],
    ids=["failed", "completed", "rate limited", "lost"],
)
def test_the_end_of_the_run_is_a_denial_of_what_nobody_has_decided(end):
    story = end(asking().tell(due))
    (denied,) = (event for event in story.events if isinstance(event, events.ToolDenied))
    assert denied == events.ToolDenied(id=ONE, thread_id="thread_1", by=None, reason="run ended")


def test_a_decision_is_kept_over_a_poll():
    story = asking().tell(due, needs(LOCATE, MEASURE))
    assert story.said == []
    assert [call.id for call in open_approvals(story.snapshot)] == [ONE]


@pytest.mark.parametrize("make", [started, asking], ids=["started", "asking"])
def test_a_call_that_has_begun_is_the_same_call_whatever_the_server_says_of_its_arguments(make):
    story = make()
    before = stage(story)
    story.tell(due, needs(attrs.evolve(LOCATE, arguments='{"town":"Oslo"}'), MEASURE))
    assert story.said == []
    assert stage(story) is before


# --- a call is missing in one poll ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [started, asking], ids=["started", "asking"])
def test_a_call_that_has_begun_does_not_begin_again_after_a_poll_without_it(make):
    story = make()
    before = stage(story)
    assert story.tell(due, needs(MEASURE)).said == []
    assert story.tell(due, needs(LOCATE, MEASURE)).said == []
    assert stage(story) is before
    assert [call.id for call in story.snapshot.calls] == [LOCATE.id, MEASURE.id]


def test_a_call_without_an_output_that_has_not_begun_is_requested_again_after_a_poll_without_it():
    story = awaiting().tell(due, needs(MEASURE))
    assert [call.id for call in story.snapshot.calls] == [MEASURE.id]
    assert story.tell(due, needs(LOCATE, MEASURE)).said == ["ToolCallRequested"]


def test_the_result_of_a_function_is_kept_although_the_run_does_not_name_its_call_now():
    story = started().tell(due, needs(MEASURE), tool_ended(LOCATE))
    assert story.said == ["ToolCallOutputRecorded"]
    assert story.tell(due, needs(LOCATE, MEASURE)).said == []
    story.tell(output(MEASURE))
    assert [id_ for id_, _ in story.request.outputs] == [LOCATE.id, MEASURE.id]


def test_a_person_may_decide_about_a_call_that_the_run_does_not_name_now():
    story = asking().tell(due, needs(MEASURE))
    assert [call.id for call in open_approvals(story.snapshot)] == [ONE]
    assert story.tell(approve(LOCATE)).said == ["ToolApproved"]
    assert stage(story) is CallStage.APPROVED


def test_only_the_outputs_of_calls_that_the_run_names_are_sent():
    story = started().tell(due, needs(MEASURE), output(MEASURE))
    assert [id_ for id_, _ in story.request.outputs] == [MEASURE.id]
    story = awaiting().tell(output(LOCATE), due, needs(MEASURE), output(MEASURE))
    assert [id_ for id_, _ in story.request.outputs] == [MEASURE.id]


def test_a_call_that_is_named_again_after_the_others_were_answered_is_answered_too():
    story = started().tell(due, needs(MEASURE), output(MEASURE), seen(), tool_ended(LOCATE), due, needs(LOCATE))
    assert "ToolCallRequested" not in story.said
    assert stage(story) is not CallStage.OPEN


def test_an_output_that_was_not_sent_with_the_others_is_sent_when_its_call_is_named_again():
    story = awaiting().tell(output(LOCATE), due, needs(MEASURE), output(MEASURE), seen(), due, needs(LOCATE))
    assert story.said == []
    assert story.request.outputs == ((LOCATE.id, "1"),)


def test_a_call_that_never_ends_does_not_switch_off_the_limit_of_rounds():
    story = awaiting(max_tool_rounds=2).tell(ask_approval(LOCATE), due, needs(MEASURE), output(MEASURE))
    for number in range(2):
        again = ToolCall(id=f"again_{number}", name="measure", arguments="{}")
        story.tell(seen(), due, needs(again))
        if story.request is None or not isinstance(story.request, effects.CancelRun):
            story.tell(output(again))
    assert isinstance(story.request, effects.CancelRun)


def test_a_function_of_another_run_does_not_answer_a_call_with_the_same_id():
    rome = attrs.evolve(LOCATE, arguments='{"city":"Rome"}')
    story = refuse_the_poll(polling().tell(needs(LOCATE), start_tool(LOCATE), due))
    story.tell(say("Two", "k2"), posted("msg_2"), created(RunStatus.NEEDS_TOOLS, "run_2", tool_calls=(rome,)))
    assert "ToolCallRequested" in story.said
    assert stage(story) is CallStage.OPEN


def test_after_a_round_that_is_complete_its_calls_are_forgotten():
    again = ToolCall(id="call_8", name="locate", arguments="{}")
    story = submitting().tell(seen(), due, needs(again))
    assert [call.id for call in story.snapshot.calls] == ["call_8"]


def test_a_person_alone_is_waited_for_if_only_calls_that_the_run_does_not_name_have_begun():
    story = asking().tell(due, needs(MEASURE), ask_approval(MEASURE, at=6.0))
    assert only_a_person_is_waited_for(story.snapshot)
    assert not only_a_person_is_waited_for(asking().tell(due, needs(MEASURE)).snapshot)


def test_a_person_alone_is_waited_for_if_every_open_call_waits_for_an_approval():
    story = asking()
    assert not only_a_person_is_waited_for(story.snapshot)
    assert only_a_person_is_waited_for(story.tell(output(MEASURE)).snapshot)
    assert not only_a_person_is_waited_for(story.tell(approve(LOCATE)).snapshot)
    assert not only_a_person_is_waited_for(idle().snapshot)


# --- calls that the server makes itself --------------------------------------------------------------

SEARCH = ToolCall(id="call_5", name="search", arguments="{broken", by_server=True)


def test_a_call_of_the_server_takes_no_output_and_no_function():
    story = polling().tell(needs(SEARCH))
    assert story.said == ["ToolCallRequested"]
    assert open_calls(story.snapshot) == ()
    stays(story, story.snapshot, output(SEARCH), start_tool(SEARCH), approve(SEARCH))


def test_arguments_of_a_call_of_the_server_that_are_not_valid_json_are_announced_as_text():
    story = polling().tell(needs(SEARCH))
    requested = story.only
    asked = story.tell(ask_approval(SEARCH)).only
    (waiting,) = open_approvals(story.snapshot)
    assert [event.arguments for event in (requested, asked, waiting)] == ["{broken"] * 3


@pytest.mark.parametrize(
    ("decide", "said", "sent"),
    [
        (approve(SEARCH), ["ToolApproved"], '{"approve": true}'),
        (deny(SEARCH, "no"), ["ToolDenied"], '{"approve": false, "reason": "no"}'),
        (deny(SEARCH, ""), ["ToolDenied"], '{"approve": false}'),
    ],
)
def test_the_decision_about_a_call_of_the_server_is_sent(decide, said, sent):
    story = polling().tell(needs(SEARCH), ask_approval(SEARCH))
    assert [call.id for call in open_approvals(story.snapshot)] == [SEARCH.id]
    story.tell(decide)
    assert story.said == said
    assert story.request == effects.SubmitToolOutputs(
        run_id="run_1", outputs=(), assistant_id="asst_1", decisions=((SEARCH.id, sent),)
    )


def test_decisions_and_outputs_are_sent_together():
    story = polling().tell(needs(SEARCH, MEASURE), ask_approval(SEARCH), approve(SEARCH))
    assert story.request is None
    story.tell(output(MEASURE, "2"))
    assert story.request.outputs == ((MEASURE.id, "2"),)
    assert story.request.decisions == ((SEARCH.id, '{"approve": true}'),)


# --- rounds -------------------------------------------------------------------------------------------


def test_a_run_that_asks_too_often_is_cancelled():
    story = submitting(max_tool_rounds=1).tell(seen(), due, needs(MEASURE_AGAIN))
    assert story.request == effects.CancelRun(run_id="run_1")
    assert story.state == "running"
    story.tell(seen(RunStatus.FAILED, code="cancelled", message="Cancelled"))
    assert (story.only.code, story.state) == ("max_tool_rounds", "failed")
    assert "more than 1 times" in story.only.message


def test_the_rounds_up_to_the_limit_are_announced():
    story = submitting(max_tool_rounds=2).tell(seen(), due, needs(MEASURE_AGAIN))
    assert story.said == ["ToolCallRequested"]
    story.tell(output(MEASURE_AGAIN), seen(), due, needs(attrs.evolve(MEASURE_AGAIN, id="call_9")))
    assert story.request == effects.CancelRun(run_id="run_1")


def test_a_run_that_asks_for_more_while_its_outputs_are_in_doubt_is_cancelled():
    story = submitting(max_tool_rounds=1).tell(unknown(), due, needs(MEASURE_AGAIN))
    assert story.request == effects.CancelRun(run_id="run_1")
    assert story.moves == ["submitting -> running"]


def test_calls_that_are_named_a_little_later_are_of_the_same_round():
    story = awaiting(LOCATE, max_tool_rounds=1).tell(due, needs(LOCATE, MEASURE))
    assert story.said == ["ToolCallRequested"]
    assert story.snapshot.run.rounds == 1


def test_polls_of_one_round_count_once():
    story = awaiting(max_tool_rounds=1)
    for _ in range(3):
        story.tell(due, needs(LOCATE, MEASURE))
    assert story.state == "awaiting_tools"
    assert story.tell(output(LOCATE), output(MEASURE)).state == "submitting"


def test_an_outdated_poll_after_the_outputs_is_no_new_round():
    story = submitting(max_tool_rounds=1).tell(seen(), due, needs(LOCATE, MEASURE))
    assert story.state == "running"
    assert story.request is None


def shown_outdated_for_long(story):
    """Polls show the calls of the last round for so long that they look like a new round."""
    story.tell(seen())
    for _ in range(6):
        story.tell(due, needs(LOCATE, MEASURE))
    return story


def test_the_output_of_a_function_that_must_not_run_twice_is_sent_again_if_its_call_is_shown_for_very_long():
    story = started().tell(output(MEASURE, "2"), tool_ended(LOCATE))
    shown_outdated_for_long(story)
    # The other call was answered by hand: its handler decides again.
    assert story.only.id == MEASURE.id
    story.tell(output(MEASURE, "3"))
    assert story.request == effects.SubmitToolOutputs(
        run_id="run_1", outputs=((ONE, "1"), (MEASURE.id, "3")), assistant_id="asst_1"
    )


def test_a_round_of_functions_that_must_not_run_twice_is_sent_again_as_a_whole():
    story = started().tell(start_tool(MEASURE), tool_ended(LOCATE), tool_ended(MEASURE, "2"))
    shown_outdated_for_long(story)
    assert story.said == []
    assert story.request == effects.SubmitToolOutputs(
        run_id="run_1", outputs=((ONE, "1"), (MEASURE.id, "2")), assistant_id="asst_1"
    )


def test_a_safe_function_answers_again_if_its_call_is_shown_for_very_long():
    story = started(safe=True).tell(output(MEASURE), tool_ended(LOCATE))
    shown_outdated_for_long(story)
    assert story.said == ["ToolCallRequested", "ToolCallRequested"]


def test_without_a_limit_rounds_are_not_counted_against_the_run():
    story = polling()
    for number in range(50):
        call = attrs.evolve(MEASURE, id=f"call_{number}")
        story.tell(needs(call), output(call), seen(), due)
    assert story.state == "running"
    assert not isinstance(story.request, effects.CancelRun)


def test_a_cancel_is_sent_while_a_function_runs():
    story = started().tell(cancel)
    assert story.request == effects.CancelRun(run_id="run_1")
    assert story.tell(tool_ended(LOCATE)).said == ["ToolCallOutputRecorded"]


def test_the_output_of_a_call_that_went_wrong_can_be_sent():
    output = error_output("FileNotFoundError: caf\udce9")
    assert json.loads(output) == {"error": "FileNotFoundError: caf\\udce9"}
    output.encode()


# --- tools that the server runs itself -------------------------------------------------------------------

WEB_SEARCH = HostedTool(kind="web_search", id="ws_1", details='{"action":{"query":"Oslo"}}')
CODE = HostedTool(kind="code_interpreter", id="ci_1")
WEB_SEARCHED = events.HostedToolUsed(
    thread_id="thread_1", run_id="run_1", kind="web_search", id="ws_1", details={"action": {"query": "Oslo"}}
)


def hosted(story):
    return [event.id for event in story.events if isinstance(event, events.HostedToolUsed)]


def test_the_use_of_a_tool_of_the_server_is_announced():
    story = polling().tell(seen(hosted_tools=(WEB_SEARCH,)))
    assert story.only == WEB_SEARCHED


def test_the_use_of_a_tool_of_the_server_is_announced_once():
    story = polling().tell(seen(hosted_tools=(WEB_SEARCH,)), due, seen(hosted_tools=(WEB_SEARCH, CODE)))
    assert hosted(story) == ["ci_1"]
    assert hosted(story.tell(due, seen(hosted_tools=(WEB_SEARCH, CODE)))) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"status": RunStatus.COMPLETED},
        {"status": RunStatus.FAILED, "code": "server_error", "message": "Sorry"},
        {"status": RunStatus.NEEDS_TOOLS, "tool_calls": (LOCATE,)},
    ],
)
def test_the_use_of_a_tool_of_the_server_comes_before_what_follows_from_it(fields):
    story = polling().tell(seen(hosted_tools=(WEB_SEARCH,), **fields))
    assert story.said[0] == "HostedToolUsed"
    assert len(story.said) == 2
