"""One request and its result: `perform` returns a fact for anything that a backend does, and never raises."""

import asyncio
import json
import logging
from typing import get_args

import attrs
import pytest

from gpt_agent_fsm import errors
from gpt_agent_fsm.engine.runner import perform
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import MessagePage, Run, RunPage
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import RunRequest, ToolOutputsRequest

RUN = Run(id="run_1", status=RunStatus.ACTIVE)
PAGE = MessagePage(messages=(), next_after=None)


class FakeBackend:
    """Records its calls; each one returns or raises the given result."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            if isinstance(self.outcome, BaseException):
                raise self.outcome
            return self.outcome

        return call


GET_LATEST_RUN = effects.GetLatestRun()
POST_MESSAGE = effects.PostMessage(key="k", content="Hello")
OUTPUTS = ToolOutputsRequest(
    thread_id="t", run_id="run_1", outputs=(("call_1", "1"),), assistant_id="asst_1", handle="h"
)
CREATE_RUN = effects.CreateRun(key="k", assistant_id="asst_1", retry_of="h")
GET_RUN = effects.GetRun(run_id="run_1", handle="h", in_doubt=True)
SUBMIT = effects.SubmitToolOutputs(run_id="run_1", outputs=(("call_1", "1"),), assistant_id="asst_1", handle="h")
LIST_MESSAGES = effects.ListMessages(after="msg_1")
CANCEL_RUN = effects.CancelRun(run_id="run_1", handle="h")
READING = [GET_LATEST_RUN, GET_RUN, LIST_MESSAGES]
IN_DOUBT = [POST_MESSAGE, CREATE_RUN, SUBMIT]
ALL = [*READING, *IN_DOUBT, CANCEL_RUN]
by_operation = pytest.mark.parametrize("request_", ALL, ids=lambda request: request.operation)


def outcome_of(error, request):
    return perform(FakeBackend(error), "t", request, 5.0)


def test_every_request_is_tested_here():
    assert {type(request) for request in ALL} == set(get_args(effects.Request))


@pytest.mark.parametrize(
    ("request_", "answer", "call", "fact"),
    [
        (
            GET_LATEST_RUN,
            RunPage(runs=(RUN,)),
            ("list_runs", ("t",), {"limit": 1, "key": None, "retry_of": None}),
            inputs.RunsListed(runs=(RUN,)),
        ),
        (
            effects.GetLatestRun(key="k", retry_of="h"),
            RunPage(runs=(RUN, RUN), newest_message_id="msg_1"),
            ("list_runs", ("t",), {"limit": 100, "key": "k", "retry_of": "h"}),
            inputs.RunsListed(runs=(RUN, RUN), newest_message_id="msg_1"),
        ),
        (
            POST_MESSAGE,
            ("msg_1", True),
            ("post_message", ("t", "Hello"), {"key": "k"}),
            inputs.MessagePosted(message_id="msg_1", key_kept=True),
        ),
        (
            CREATE_RUN,
            RUN,
            ("create_run", (RunRequest(thread_id="t", assistant_id="asst_1", key="k", retry_of="h"),), {}),
            inputs.RunCreated(run=RUN),
        ),
        (GET_RUN, RUN, ("get_run", ("t", "run_1"), {"handle": "h", "in_doubt": True}), inputs.RunSeen(run=RUN)),
        (
            SUBMIT,
            RUN,
            ("submit_tool_outputs", (OUTPUTS,), {}),
            inputs.RunSeen(run=RUN),
        ),
        (
            LIST_MESSAGES,
            PAGE,
            ("list_messages", ("t",), {"after": "msg_1", "newest_first": False}),
            inputs.MessagesListed(page=PAGE),
        ),
        (
            effects.ListMessages(after=None, newest_first=True),
            PAGE,
            ("list_messages", ("t",), {"after": None, "newest_first": True}),
            inputs.MessagesListed(page=PAGE),
        ),
        (CANCEL_RUN, RUN, ("cancel_run", ("t", "run_1"), {"handle": "h"}), inputs.RunSeen(run=RUN)),
    ],
)
def test_a_request_is_one_call_and_its_answer_one_fact(request_, answer, call, fact):
    backend = FakeBackend(answer)
    assert perform(backend, "t", request_, 2.5) == fact
    name, args, kwargs = call
    assert backend.calls == [(name, args, kwargs | {"timeout": 2.5})]


@pytest.mark.parametrize(("request_", "durable"), [(CREATE_RUN, True), (SUBMIT, True), (CREATE_RUN, False)])
def test_a_backend_is_told_whether_a_store_keeps_the_id_of_the_run(request_, durable):
    backend = FakeBackend(RUN)
    perform(backend, "t", request_, 2.5, durable=durable)
    ((_, (made,), _),) = backend.calls
    assert made.durable is durable


def test_a_backend_is_told_which_calls_are_not_those_of_the_new_run():
    backend = FakeBackend(RUN)
    perform(backend, "t", CREATE_RUN, 2.5, ended_calls=("call_1",))
    ((_, (made,), _),) = backend.calls
    assert made.ended_calls == ("call_1",)


@by_operation
def test_a_transient_error_delays_any_request(request_):
    error = errors.TransientError(503, "slow_down", "Busy.", "req_1", retry_after=3.0)
    assert outcome_of(error, request_) == inputs.RequestDelayed(
        status=503, code="slow_down", message="Busy. (HTTP 503, code slow_down, request req_1)", retry_after=3.0
    )


@pytest.mark.parametrize("in_flight", [True, False])
@pytest.mark.parametrize("request_", IN_DOUBT, ids=lambda request: request.operation)
def test_an_unknown_outcome_stays_unknown_if_repeating_would_do_harm(request_, in_flight):
    error = errors.OutcomeUnknown(None, None, "Lost.", retry_after=1.0, in_flight=in_flight)
    assert outcome_of(error, request_) == inputs.RequestUnresolved(
        message="Lost.", retry_after=1.0, in_flight=in_flight
    )


@pytest.mark.parametrize("request_", [*READING, CANCEL_RUN], ids=lambda request: request.operation)
def test_an_unknown_outcome_delays_if_repeating_is_harmless(request_):
    error = errors.OutcomeUnknown(500, None, "Lost.", in_flight=True)
    assert outcome_of(error, request_) == inputs.RequestDelayed(status=500, message="Lost. (HTTP 500)")


@by_operation
def test_a_busy_thread_matters_to_messages_and_runs_alone(request_):
    fact = outcome_of(errors.ThreadBusy(400, None, "A run is active."), request_)
    if request_ in (POST_MESSAGE, CREATE_RUN):
        assert fact == inputs.RequestBlocked(status=400, message="A run is active. (HTTP 400)")
    else:
        assert fact == inputs.RequestRejected(status=400, message="A run is active. (HTTP 400)")


@by_operation
def test_a_problem_that_a_person_must_solve_denies_any_request(request_):
    denied = outcome_of(errors.AccessDenied(401, "invalid_api_key", "No."), request_)
    assert denied == inputs.RequestNeedsOperator(
        status=401, code="invalid_api_key", message="No. (HTTP 401, code invalid_api_key)", quota=False
    )
    denied = outcome_of(errors.QuotaExceeded(429, "insufficient_quota", "Empty."), request_)
    assert denied == inputs.RequestNeedsOperator(
        status=429, code="insufficient_quota", message="Empty. (HTTP 429, code insufficient_quota)", quota=True
    )


@pytest.mark.parametrize(
    ("error", "content_refused"),
    [
        (errors.RequestRefused(400, None, "No."), False),
        (errors.RequestRefused(400, None, "No.", param="assistant_id"), False),
        (errors.RequestRefused(400, None, "No.", param="contents"), False),
        (errors.RequestRefused(400, None, "No.", param="metadata.content"), False),
        (errors.RequestRefused(400, None, "No.", param="content"), True),
        (errors.RequestRefused(422, None, "No.", param="content.0.text"), True),
        (errors.RequestRefused(400, None, "No.", param="content[0].text"), True),
        (errors.RequestRefused(413, None, "Too large."), True),
        (errors.ApiError(413, None, "Too large."), True),
        (errors.ApiError(418, None, "No."), False),
        (errors.InvalidThreadId(404, None, "No."), False),
    ],
)
def test_a_refusal_says_whether_it_is_about_the_text(error, content_refused):
    fact = outcome_of(error, POST_MESSAGE)
    expected = inputs.RequestRejected(status=error.status, message=str(error), content_refused=content_refused)
    assert fact == expected


@pytest.mark.parametrize(
    ("options", "param", "content_refused"),
    [
        ({"max_output_tokens": 1}, "max_output_tokens", True),
        ({"max_output_tokens": 1}, "max_completion_tokens", True),
        ({"tool_choice": "required"}, "tool_choice", True),
        ({"model": "small"}, "model", True),
        ({"metadata": {"a": "b"}}, "metadata.a", True),
        ({"additional_instructions": "Be brief"}, "instructions", True),
        ({"output": {"name": "forecast"}}, "response_format.json_schema.schema", True),
        ({"output": {"name": "forecast"}}, "text.format.schema", True),
        ({"model": "small"}, "tool_choice", False),
        ({"stream": True}, "stream", False),
        ({}, "max_completion_tokens", False),
        ({}, "model", False),
        ({"model": "small"}, None, False),
    ],
)
def test_a_refusal_says_whether_it_is_about_an_option_of_the_run(options, param, content_refused):
    request = attrs.evolve(CREATE_RUN, run_options=json.dumps(options) if options else "")
    fact = outcome_of(errors.RequestRefused(400, None, "No.", param=param), request)
    assert fact == inputs.RequestRejected(status=400, message="No. (HTTP 400)", content_refused=content_refused)


@by_operation
def test_a_defect_of_a_backend_is_logged_and_may_leave_the_outcome_unknown(request_, caplog):
    fact = outcome_of(ZeroDivisionError("oh"), request_)
    message = "FakeBackend failed with ZeroDivisionError; the log has the details."
    if request_ in IN_DOUBT:
        assert fact == inputs.RequestUnresolved(message=message, in_flight=True)
    else:
        assert fact == inputs.RequestDelayed(message=message)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"t: {request_.operation} raised an exception that is not an ApiError"
    assert record.exc_info[0] is ZeroDivisionError


def test_an_answer_of_another_shape_is_a_defect_too(caplog):
    assert isinstance(perform(FakeBackend("msg_1"), "t", POST_MESSAGE, 5.0), inputs.RequestUnresolved)
    assert caplog.records[0].exc_info[0] is ValueError


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
def test_no_exception_of_a_backend_ends_a_worker(error, caplog):
    assert isinstance(outcome_of(error, GET_RUN), inputs.RequestDelayed)
    assert caplog.records[0].exc_info[0] is type(error)


def test_exceptions_that_end_the_process_propagate():
    with pytest.raises(KeyboardInterrupt):
        outcome_of(KeyboardInterrupt(), GET_RUN)


def test_a_run_is_called_by_the_id_that_was_asked_for():
    from gpt_agent_fsm.testing import SimulatedServer

    server = SimulatedServer()
    thread_id = server.create_thread(timeout=1)
    run = server.create_run(RunRequest(thread_id=thread_id, assistant_id="a", key="k"), timeout=1)

    class Spelling(SimulatedServer):
        def get_run(self, thread_id, run_id, **how):
            return server.get_run(thread_id, run.id, **how)

    fact = perform(Spelling(), thread_id, effects.GetRun(run_id="RUN"), 1)
    assert fact.run.id == "RUN"


def test_a_cancel_that_meets_a_lock_is_tried_again():
    error = errors.ThreadBusy(400, "conversation_locked", "Locked.", locked=True)
    assert isinstance(outcome_of(error, CANCEL_RUN), inputs.RequestDelayed)
    assert isinstance(outcome_of(error, SUBMIT), inputs.RequestBlocked)
    assert isinstance(outcome_of(error, GET_RUN), inputs.RequestRejected)


@pytest.mark.parametrize("quoted", ['{"name":"Ada"}', r"{\"name\":\"Ada\"}"])
def test_tool_outputs_are_cut_out_of_the_servers_error_text(quoted):
    request = effects.SubmitToolOutputs(run_id="run_1", outputs=(("call_1", '{"name":"Ada"}'), ("call_2", "1")))
    fact = outcome_of(errors.RequestRefused(400, None, f"Not this: {quoted}!"), request)
    assert fact.message == "Not this: ...! (HTTP 400)"


def test_message_texts_are_cut_out_of_the_servers_error_text():
    from gpt_agent_fsm.testing import SimulatedServer

    class Repeating(SimulatedServer):
        def post_message(self, thread_id, content, *, key, timeout):
            raise errors.RequestRefused(400, None, f"Your message {content!r} is not welcome.")

    fact = perform(Repeating(), "thread_1", effects.PostMessage(key="k", content="my PIN is 4711"), 1)
    assert fact.message == "Your message '...' is not welcome. (HTTP 400)"


# --- the runs of other threads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "result", "kind"),
    [
        (CREATE_RUN, RUN, inputs.RequestUnresolved),
        (SUBMIT, RUN, inputs.RequestUnresolved),
        (GET_RUN, RUN, inputs.RequestDelayed),
        (CANCEL_RUN, RUN, inputs.RequestDelayed),
        (GET_LATEST_RUN, RunPage(runs=(RUN,)), inputs.RequestDelayed),
    ],
    ids=lambda value: getattr(value, "operation", None),
)
def test_an_answer_about_a_run_of_another_thread_is_not_believed(request_, result, kind):
    asked = []

    def belongs_elsewhere(run, thread_id):
        asked.append((run, thread_id))
        return True

    fact = perform(FakeBackend(result), "t", request_, 5.0, belongs_elsewhere)
    assert type(fact) is kind
    assert "a run of another thread" in fact.message
    assert asked == [("run_1", "t")]
    assert type(perform(FakeBackend(result), "t", request_, 5.0)) is not kind


def test_a_run_with_a_handle_is_known_by_it():
    asked = []
    run = Run(id="run_1", status=RunStatus.ACTIVE, handle="resp_2")
    perform(FakeBackend(run), "t", GET_RUN, 5.0, lambda name, thread_id: bool(asked.append(name)))
    assert asked == ["resp_2"]
