"""Each invariant, and no other, catches the violation planted for it; none reports a good life."""

from __future__ import annotations

import importlib
import pkgutil

import attrs
import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.machine.objects import CallStage, ToolCall
from gpt_agent_fsm.machine.snapshot import LiveRun, Outbox, Snapshot
from gpt_agent_fsm.ports import Image, Message, Record, Saved, Text, Usage
from gpt_agent_fsm.testing.simulation import invariants
from gpt_agent_fsm.testing.simulation.facts import Facts
from gpt_agent_fsm.testing.simulation.functions import Execution

THREAD = "thread_1"
FILES = sorted(module.name for module in pkgutil.iter_modules(invariants.__path__))


LOOK = (Text("one"), Image(url="https://e.com/one"))


def said(name, text):
    return Message(id=name, role="user", content=text)


def answered(name, run_id):
    return Message(id=name, role="assistant", content="Hi", run_id=run_id)


def published(name, run_id):
    return events.AssistantMessageAdded(
        message_id=name, thread_id=THREAD, run_id=run_id, assistant_id="asst_1", content="Hi"
    )


def piece(index, text, run_id="run_1"):
    return events.AssistantMessageDelta(thread_id=THREAD, run_id=run_id, message_id="msg_2", index=index, text=text)


def completed(run_id):
    return events.RunCompleted(
        id=run_id, thread_id=THREAD, assistant_id="asst_1", prompt_tokens=1, completion_tokens=1, total_tokens=2
    )


def requested(call_id):
    return events.ToolCallRequested(id=call_id, thread_id=THREAD, run_id="run_1", name="f", arguments="{}")


def of_call(kind, name="once", call_id="call_1", **fields):
    return kind(id=call_id, thread_id=THREAD, run_id="run_1", name=name, **fields)


def started(attempt=1, name="once"):
    return of_call(events.ToolStarted, name, attempt=attempt)


def output(text, name="once"):
    return of_call(events.ToolCallOutputRecorded, name, output=text)


def decided(kind):
    return kind(id="call_1", thread_id=THREAD)


def budget(used, limit):
    return events.BudgetExceeded(thread_id=THREAD, used=used, limit=limit)


def rate_limited(run_id):
    return events.RateLimited(run_id=run_id, thread_id=THREAD, assistant_id="asst_1", retries_remaining=1)


def execution(name="once", attempt=1, number=0, **more):
    return Execution(thread_id=THREAD, call_id="call_1", name=name, attempt=attempt, number=number, **more)


def used(tokens):
    usage = Usage(total_tokens=tokens)
    return Saved(snapshot=Snapshot(thread_id=THREAD, assistant_id="asst_1", usage=usage))


def failed(operation, attempt):
    return events.RequestFailed(
        thread_id=THREAD, operation=operation, status=500, code=None, message="no", attempt=attempt, will_retry=True
    )


def run_failed(run_id, code):
    return events.RunFailed(id=run_id, thread_id=THREAD, assistant_id="asst_1", code=code, message="no")


def recorded(happened):
    return tuple(Record(seq=seq, at=0.0, event=event) for seq, event in enumerate(happened, start=1))


HAPPENED = (failed("create_run", 2), requested("call_1"), completed("run_1"), published("msg_2", "run_1"))
STOPPED = events.AgentStopped(thread_id=THREAD, reason="idle")
GOOD = Facts(
    accepted=("one", "two"),
    messages=(said("msg_1", "one"), answered("msg_2", "run_1"), said("msg_3", "two")),
    outputs={"call_1": ("1",)},
    records=recorded(HAPPENED),
    heard=(*HAPPENED, STOPPED),
    max_attempts=2,
)


def living(*happened, **changes):
    """Return the changes for a life in which these events happened and were received."""
    return {"records": recorded(happened), "heard": happened, **changes}


STREAMED = {"streamed": {"msg_2": ("run_1", "Hi")}}
GAPS = "the history has gaps"
PARKED = Saved(snapshot=Snapshot(thread_id=THREAD, assistant_id="asst_1", outbox=Outbox(parked=True)))
ASKED = of_call(events.ToolApprovalRequested, "asked", arguments={})
WAITING_CALL = ToolCall(id="call_1", name="asked", arguments="{}", stage=CallStage.ASKING)
WAITS = Saved(
    snapshot=Snapshot(thread_id=THREAD, assistant_id="asst_1", run=LiveRun(id="run_1", calls=(WAITING_CALL,)))
)
TWICE = "received an event twice, or out of order, without a crash"
OFTEN = "tried a request more often than allowed"

PLANTED = [
    # the invariant, the change to a good life, the violation
    ("comes_to_rest", {"settled": False}, "is stuck: None"),
    (
        "posted_at_most_once",
        {"messages": (*GOOD.messages, said("msg_4", "two"))},
        "message 'two' is on the server 2 times",
    ),
    (
        "posted_at_most_once",  # even if it is unknown whether it was accepted
        {"messages": (*GOOD.messages, said("msg_4", "doubtful"), said("msg_5", "doubtful"))},
        "message 'doubtful' is on the server 2 times",
    ),
    (
        "accepted_is_posted",
        {"messages": GOOD.messages[:2]},
        "messages ['two'] were accepted and are not on the server",
    ),
    (
        "posted_in_order",
        {"messages": GOOD.messages[::-1]},
        "messages were accepted as ['one', 'two'] and posted as ['two', 'one']",
    ),
    (
        "posted_in_order",  # a message that interrupts is not overtaken by a later one
        {"messages": GOOD.messages[::-1], "interrupting": frozenset({"one"})},
        "messages were accepted as ['one', 'two'] and posted as ['two', 'one']",
    ),
    ("calls_answered_at_most_once", {"outputs": {"call_1": ("1", "1")}}, "tool call call_1 was answered 2 times"),
    ("answers_published_once", living(completed("run_1")), "assistant message msg_2 was published 0 times"),
    (
        "answers_published_once",
        living(completed("run_1"), published("msg_2", "run_1"), published("msg_2", "run_1")),
        "assistant message msg_2 was published 2 times",
    ),
    (
        "calls_requested_at_most_once",
        living(requested("call_1"), requested("call_1"), run_failed("run_1", "timeout")),
        "tool calls were requested more than once: Counter({'call_1': 2})",
    ),
    (
        "posted_with_its_parts",
        {"parts": {"one": LOOK}},
        f"message 'one' was posted as {(Text('one'),)} and not as {LOOK}",
    ),
    (
        "posted_with_its_parts",
        living(*HAPPENED, events.UserMessageAdded(id="msg_1", thread_id=THREAD, content="one", parts=LOOK)),
        f"the history has a message with {LOOK}, which nobody sent",
    ),
    ("history_has_no_gaps", {"records": (*GOOD.records[:3], Record(seq=5, at=0.0, event=HAPPENED[3]))}, GAPS),
    (
        "history_has_no_gaps",
        {"records": (Record(seq=2, at=0.0, event=STOPPED),), "heard": (STOPPED,), "agents": 2},
        GAPS,
    ),
    ("history_is_heard", {"heard": HAPPENED[1:], "agents": 2}, f"never received {HAPPENED[0]}"),
    ("heard_once_in_order", {"heard": HAPPENED[::-1]}, TWICE),
    ("heard_once_in_order", {"heard": (*HAPPENED, HAPPENED[0])}, TWICE),
    ("attempts_are_limited", living(failed("create_run", 3)), OFTEN),
    ("attempts_are_limited", living(failed("list_messages", 3)), OFTEN),
    ("attempts_are_limited", living(failed("cancel_run", 7)), OFTEN),
    (
        "deadlines_bring_rest",
        {"rested": False},
        "did not come to rest after its deadlines, or did not say that it waits: None",
    ),
    ("deadlines_bring_rest", {"saved": PARKED}, "is parked, and the user was not told why"),
    ("only_the_owner_sends", {"sent_without_right": ("POST /threads",)}, "sent without the right to: POST /threads"),
    (
        "failed_runs_have_failed",
        living(run_failed("run_1", "not_found"), *HAPPENED),
        "run run_1 was announced as failed (not_found), but has not failed",
    ),
    ("dropped_is_not_started", {"started_when_dropped": 2}, "posted or created 2 although everything was dropped"),
    (
        "cancelled_runs_are_not_repeated",
        {"cancelled": frozenset({"run_2"}), **living(rate_limited("run_2"), *HAPPENED)},
        "run run_2 was repeated although the user had cancelled it",
    ),
    ("runs_created_once", {"run_keys": ("k.1", "k.2", "k.1")}, "run k.1 was created 2 times"),
    (
        "functions_start_in_the_history",
        {"executions": (execution(attempt=2),), **living(started(), *HAPPENED)},
        "the function once ran for the call call_1, and start 2 was not saved",
    ),
    (
        "functions_run_at_most_once",
        {"executions": (execution(), execution(attempt=2)), **living(started(), started(2), *HAPPENED)},
        "the function once ran 2 times for the call call_1",
    ),
    (
        "functions_run_at_most_once",
        {"executions": (execution("again"), execution("again")), **living(started(), *HAPPENED)},
        "the function again ran 2 times for the call call_1",
    ),
    (
        "functions_run_when_approved",
        {"executions": (execution("asked", is_allowed=False),), **living(started(), *HAPPENED)},
        "the function asked ran for the call call_1 without an approval",
    ),
    (
        "functions_have_results",
        living(*HAPPENED[:2], started(), output("1"), *HAPPENED[2:]),
        "the output of the call call_1 is not the result of its function: 1",
    ),
    (
        "functions_have_results",
        {"executions": (execution(),), **living(*HAPPENED[:2], started(), output('{"execution":1}'), *HAPPENED[2:])},
        'the output of the call call_1 is not the result of its function: {"execution":1}',
    ),
    (
        "calls_have_outputs",
        {"messages": GOOD.messages[::2], **living(requested("call_1"))},
        "the call call_1 was requested 1 times and has 0 outputs",
    ),
    (
        "calls_have_outputs",
        living(requested("call_1"), output("1"), output("2"), *HAPPENED[2:]),
        "the call call_1 was requested 1 times and has 2 outputs",
    ),
    (
        "calls_have_outputs",  # a person decides about a call of the server
        {"calls_by_server": frozenset(["call_1"]), **living(requested("call_1"), output("1"), *HAPPENED[2:])},
        "the call call_1 was requested 1 times and has 1 outputs",
    ),
    ("approvals_decided_once", living(ASKED, *HAPPENED), "the approval of the call call_1 was never decided"),
    (
        "approvals_decided_once",
        living(ASKED, decided(events.ToolDenied), decided(events.ToolApproved), *HAPPENED),
        "a decision about the call call_1 was announced that was not requested",
    ),
    (
        "approvals_decided_once",
        living(ASKED, ASKED, decided(events.ToolApproved), *HAPPENED),
        "an approval of the call call_1 was requested again before it was decided",
    ),
    ("budget_is_kept", {"beyond_limit": ("POST /runs",)}, "sent although the tokens were used up: POST /runs"),
    (
        "budget_told_once",
        living(budget(2, 2), budget(2, 2), *HAPPENED),
        "the limit 2 was announced twice for 2 tokens",
    ),
    ("budget_told_once", living(budget(2, 3), *HAPPENED), "the limit 3 was announced when 2 tokens were used"),
    (
        "usage_is_that_of_the_server",
        {"saved": used(4), "tokens": {"run_1": 2}},
        "the thread has used 4 tokens, and its runs from 2 to 2",
    ),
    (
        "usage_is_that_of_the_server",
        {"saved": used(2), "tokens": {"run_1": 2, "run_2": 1}, **living(*HAPPENED, rate_limited("run_2"))},
        "the thread has used 2 tokens, and its runs from 3 to 3",
    ),
    (
        "usage_is_that_of_the_server",
        {"saved": used(1), "tokens": {"run_1": 2}, "lists_runs": False},
        "the thread has used 1 tokens, and its runs from 2 to 2",
    ),
    (
        "pieces_are_the_text",
        {**STREAMED, "pieces": ((0, piece(0, "H")), (0, published("msg_2", "run_1")), (0, piece(1, "i")))},
        "piece 1 of msg_2 came after the message",
    ),
    (
        "pieces_are_the_text",
        {**STREAMED, "pieces": ((0, piece(0, "H")), (0, piece(0, "H")))},
        "piece 0 of msg_2 came instead of piece 1",
    ),
    (
        "pieces_are_the_text",
        {**STREAMED, "pieces": ((0, piece(1, "H")),)},
        "piece 1 of msg_2 is not the text of its run at this place",
    ),
    (
        "pieces_are_the_text",
        {**STREAMED, "pieces": ((0, piece(0, "H", "run_2")),)},
        "piece 0 of msg_2 is not the text of its run at this place",
    ),
]

ALLOWED = [
    {**STREAMED, "pieces": ((0, piece(0, "H")), (1, piece(1, "i")), (1, published("msg_2", "run_1")))},
    {"messages": GOOD.messages[::-1], "interrupting": frozenset({"two"})},
    # If the network violated the model and the user was told, a message may be lost, duplicated or out of order.
    {"strict": False, "messages": (*GOOD.messages, said("msg_4", "two"))},
    {"strict": False, "messages": GOOD.messages[:2]},
    {"strict": False, "messages": GOOD.messages[::-1]},
    # A message may have been accepted when the process crashed.
    {"messages": (*GOOD.messages, said("msg_4", "doubtful"))},
    # An answer is published when its run is completed; messages of others need not be.
    {"messages": (*GOOD.messages, answered("msg_4", "run_2"), answered("msg_5", None))},
    # Each agent announces the whole history, and its own end.
    {"heard": HAPPENED * 2, "agents": 2},
    {"heard": (*HAPPENED[:1], STOPPED, *HAPPENED[1:])},
    # A run is polled until it ends, and a cancel has attempts of its own.
    living(failed("get_run", 99), *HAPPENED),
    living(failed("cancel_run", 6), *HAPPENED),
    # A discarded message, or one whose text is refused for good, is not posted.
    {"messages": GOOD.messages[:2], "excused": frozenset({"two"})},
    # A queue is parked for a reason that was told.
    {"saved": PARKED, **living(attrs.evolve(failed("create_run", 1), will_retry=False), *HAPPENED)},
    # The library and its user may end a run that has not failed, and a run may really fail.
    living(run_failed("run_2", "timeout"), run_failed(None, "cancelled"), *HAPPENED),
    {"failed_runs": frozenset({"run_2"}), **living(run_failed("run_2", "server_error"), *HAPPENED)},
    # A run that the user has cancelled may end by the cancel, and another run may be rate limited.
    {"cancelled": frozenset({"run_1", "run_3"}), **living(rate_limited("run_2"), *HAPPENED)},
    # A server that lists no runs may hide one that was created.
    {"run_keys": ("k.1", "k.1"), "lists_runs": False},
    {"run_keys": ("k.1", "k.1"), "strict": False},
    # A message that arrives too late may hide a run that was found by its messages.
    {"strict": False, "lists_runs": False, **living(run_failed("fc_1", "not_found"), *HAPPENED)},
    {"strict": False, "lists_runs": False, "messages": (*GOOD.messages, answered("msg_4", "run_1"))},
    # A server that shows a round for long makes it a new one, except for a function that must not run twice.
    {"repeats_rounds": True, **living(requested("call_1"), output("1"), requested("call_1"), output("1"), *HAPPENED)},
    # A safe function runs once for each start; another one may be lost, and its outcome is unknown.
    {"executions": (execution("again"), execution("again", 2)), **living(started(), started(2), *HAPPENED)},
    living(*HAPPENED[:2], started(), of_call(events.ToolOutcomeUnknown), output('{"error":""}'), *HAPPENED[2:]),
    # A function does not run with wrong arguments, and its error is its result.
    living(attrs.evolve(requested("call_1"), arguments={"x": "no number"}), started(), output("{}"), *HAPPENED[2:]),
    {"executions": (execution(),), **living(*HAPPENED[:2], started(), output('{"error":""}'), *HAPPENED[2:])},
    # An approval is decided by the end of its run, or is open; a rule decides without a question.
    living(ASKED, decided(events.ToolApproved), ASKED, decided(events.ToolDenied), *HAPPENED),
    {"verdicts": {"call_1": False}, **living(decided(events.ToolDenied), *HAPPENED)},
    {"saved": WAITS, **living(ASKED, *HAPPENED[:1], *HAPPENED[2:])},
    # A person decides about a call of the server, and that is no output.
    {"calls_by_server": frozenset(["call_1"]), "messages": GOOD.messages[::2], **living(requested("call_1"))},
    # A run that is left for a told reason may leave its calls open.
    {
        "messages": GOOD.messages[::2],
        **living(requested("call_1"), attrs.evolve(failed("get_run", 1), will_retry=False)),
    },
    # A limit is announced again after more tokens, and after another limit.
    living(budget(2, 2), budget(4, 2), budget(4, 3), *HAPPENED),
    {"saved": PARKED, **living(budget(2, 2), *HAPPENED)},
    {"limits_change": True, **living(budget(2, 2), budget(2, 2), *HAPPENED)},
    # The library may not have seen the end of a run that it ended; an API without a list may hide tokens.
    {"saved": used(2), "tokens": {"run_1": 2, "run_2": 1}, **living(*HAPPENED, run_failed("run_2", "timeout"))},
    {"saved": used(3), "tokens": {"run_1": 2, "run_2": 1}, **living(*HAPPENED, run_failed("run_2", "timeout"))},
    {
        "saved": used(1),
        "tokens": {"run_1": 2, "run_2": 3},
        "lists_runs": False,
        **living(*HAPPENED[:2], attrs.evolve(HAPPENED[2], total_tokens=0), HAPPENED[3], rate_limited("run_2")),
    },
]


def check_of(name):
    return importlib.import_module(f"{invariants.__name__}.{name}").check


@pytest.mark.parametrize(("name", "changes", "sentence"), PLANTED)
def test_an_invariant_catches_its_violation_and_no_other_does(name, changes, sentence):
    facts = attrs.evolve(GOOD, **changes)
    caught = list(check_of(name)(facts))
    assert caught == [sentence]
    assert list(invariants.violations_of(facts)) == caught


def test_every_invariant_has_a_planted_violation():
    assert sorted({name for name, _, _ in PLANTED}) == FILES


@pytest.mark.parametrize("name", FILES)
def test_an_invariant_reports_no_violation_of_a_good_life(name):
    assert list(check_of(name)(GOOD)) == []
    assert list(check_of(name)(Facts())) == []


@pytest.mark.parametrize("changes", ALLOWED)
def test_no_invariant_forbids_more_than_its_sentence(changes):
    assert list(invariants.violations_of(attrs.evolve(GOOD, **changes))) == []


def test_all_invariants_are_in_the_list():
    assert sorted(check.__module__.rpartition(".")[2] for check in invariants.INVARIANTS) == FILES


@pytest.mark.parametrize("name", FILES)
def test_the_docstring_of_a_file_is_its_invariant_in_one_sentence(name):
    sentence = importlib.import_module(f"{invariants.__name__}.{name}").__doc__
    assert sentence.endswith(".")
    assert "\n" not in sentence
