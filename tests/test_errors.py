"""Everything raised on purpose has one root, says what happened in one line, and survives a trip to another process."""

import copy
import inspect
import pickle

import attrs
import pytest

from gpt_agent_fsm import Assistant, FunctionTool, Runtime, Settings, errors, tool
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler

ALL = [getattr(errors, name) for name in errors.__all__]
API = [kind for kind in ALL if issubclass(kind, errors.ApiError)]


def test_all_that_is_defined_is_exported_and_has_one_root():
    defined = {
        value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert defined == set(ALL)
    assert all(issubclass(kind, errors.GptAgentError) for kind in ALL)


def test_the_table_in_the_documentation_names_every_error_a_caller_can_get():
    named = {line.split("`")[1] for line in (errors.__doc__ or "").splitlines() if line.startswith("`")}
    assert named == set(errors.__all__) - {"GptAgentError", "ApiError", "IllegalInput"}


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.WaitTimeout, TimeoutError),
        (errors.WaitInHandler, RuntimeError),
        (errors.UsedAfterFork, RuntimeError),
        (errors.InvalidThreadId, errors.RequestRefused),
        (errors.RequestRefused, errors.ApiError),
        (errors.AccessDenied, errors.ApiError),
        (errors.QuotaExceeded, errors.ApiError),
        (errors.TransientError, errors.ApiError),
        (errors.OutcomeUnknown, errors.TransientError),
        (errors.ThreadBusy, errors.ApiError),
    ],
)
def test_the_branches_say_who_must_act(kind, parent):
    assert issubclass(kind, parent)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ((None, None, "Lost."), "Lost."),
        ((404, None, "Gone."), "Gone. (HTTP 404)"),
        ((404, "not_found", "Gone."), "Gone. (HTTP 404, code not_found)"),
        ((None, "x", "Gone."), "Gone. (code x)"),
        ((404, "", "Gone.", "req_1"), "Gone. (HTTP 404, request req_1)"),
        ((0, "c", "Gone.", "req_1"), "Gone. (HTTP 0, code c, request req_1)"),
    ],
)
@pytest.mark.parametrize("kind", API)
def test_an_api_error_reads_as_its_message_and_the_facts_there_are(kind, facts, text):
    assert str(kind(*facts)) == text


@pytest.mark.parametrize(
    ("code", "message", "run_id", "text"),
    [
        ("x", "Gone.", "run_1", "Gone. (x, thread_1, run_1)"),
        ("x", "Gone. (HTTP 404, code x).", None, "Gone. (HTTP 404, code x). (thread_1)"),
        ("x", "Gone. (HTTP 404, code x, request req_1).", None, "Gone. (HTTP 404, code x, request req_1). (thread_1)"),
        ("x", "Gone. (HTTP 404, code xy).", None, "Gone. (HTTP 404, code xy). (x, thread_1)"),
    ],
)
def test_the_error_of_a_run_says_its_code_once(code, message, run_id, text):
    assert str(errors.RunError(code, message, "thread_1", run_id)) == text


@pytest.mark.parametrize("kind", API)
def test_an_api_error_keeps_its_facts(kind):
    error = kind(429, "c", "M", "req_1")
    assert (error.status, error.code, error.message, error.request_id) == (429, "c", "M", "req_1")
    assert kind(None, None, "M").request_id is None


def test_branches_carry_what_the_library_needs():
    assert errors.RequestRefused(400, None, "M", param="content").param == "content"
    assert errors.RequestRefused(400, None, "M").param is None
    error = errors.TransientError(503, None, "M", retry_after=2.0, hopeless=True)
    assert (error.retry_after, error.hopeless) == (2.0, True)
    assert (errors.TransientError(503, None, "M").retry_after, errors.TransientError(503, None, "M").hopeless) == (
        None,
        False,
    )
    error = errors.OutcomeUnknown(None, None, "M", retry_after=2.0, in_flight=True)
    assert (error.retry_after, error.hopeless, error.in_flight) == (2.0, False, True)
    assert errors.OutcomeUnknown(None, None, "M").in_flight is False


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])  # noqa: S301
@pytest.mark.parametrize(
    "error",
    [
        errors.OutcomeUnknown(502, "c", "M", "req_1", retry_after=2.0, in_flight=True),
        errors.TransientError(None, None, "M", hopeless=True),
        errors.InvalidThreadId(404, "c", "M", param="p"),
        errors.QuotaExceeded(429, "c", "M"),
        errors.WaitTimeout("late"),
    ],
)
def test_an_error_can_be_copied_and_pickled(error, again):
    twin = again(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


# --- wrong keywords --------------------------------------------------------------------------------------------

SERVER = SimulatedServer()


def runtime():
    return Runtime(SERVER, scheduler=VirtualScheduler())


def agent():
    return runtime().start("asst_1")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: Settings(hearbeat_interval=1),
            "Settings takes no argument 'hearbeat_interval'; did you mean 'heartbeat",
        ),
        (lambda: attrs.evolve(Settings(), worker=1), "Settings takes no argument 'worker'; did you mean 'workers'?"),
        (lambda: Runtime(SERVER, setings=1), "Runtime takes no argument 'setings'; did you mean 'settings'?"),
        (
            lambda: runtime().connect(thred_id="x"),
            "Runtime.connect takes no argument 'thred_id'; did you mean 'thread_id'?",
        ),
        (lambda: runtime().start("a", kye="x"), "Runtime.start takes no argument 'kye'; did you mean 'key'?"),
        (lambda: runtime().history("x", affter=1), "Runtime.history takes no argument 'affter'; did you mean 'after'?"),
        (lambda: runtime().find(kee="x"), "Runtime.find takes no argument 'kee'; did you mean 'key'?"),
        (lambda: agent().wait(timeot=1), "Agent.wait takes no argument 'timeot'; did you mean 'timeout'?"),
        (lambda: agent().ask("x", timout=1), "Agent.ask takes no argument 'timout'; did you mean 'timeout'?"),
        (lambda: agent().ask("x", timout=None), "Agent.ask takes no argument 'timout'; did you mean 'timeout'?"),
        (lambda: agent().stream("x", otput=1), "Agent.stream takes no argument 'otput'; did you mean 'output'?"),
        (
            lambda: agent().add_user_message("x", modl="m"),
            "Agent.add_user_message takes no argument 'modl'; did you mean 'model'?",
        ),
        (lambda: agent().approve("c", nte="x"), "Agent.approve takes no argument 'nte'; did you mean 'note'?"),
        (lambda: agent().deny("c", reson="x"), "Agent.deny takes no argument 'reson'; did you mean 'reason'?"),
        (
            lambda: agent().submit_tool_output("c", outptu=1),
            "Agent.submit_tool_output takes no argument 'outptu'; did you mean 'output'?",
        ),
        (lambda: agent().diagram(formt="svg"), "Agent.diagram takes no argument 'formt'; did you mean 'format'?"),
        (lambda: tool(aprove=True), "tool takes no argument 'aprove'; did you mean 'approve'?"),
        (
            lambda: tool(abs, zzz=1),
            "tool takes no argument 'zzz'; there are timeout, approve, retry, strict, name, desc",
        ),
        (
            lambda: Assistant("m", instruction=""),
            "Assistant takes no argument 'instruction'; did you mean 'instructions'?",
        ),
        (lambda: FunctionTool(nme="x"), "FunctionTool takes no argument 'nme'; did you mean 'name'?"),
        (
            lambda: AssistantsBackend(api_kye=""),
            "AssistantsBackend takes no argument 'api_kye'; did you mean 'api_key'?",
        ),
        (
            lambda: ResponsesBackend(asistants={}),
            "ResponsesBackend takes no argument 'asistants'; did you mean 'assistant",
        ),
        (lambda: SQLStore("sqlite://", readonly=1), "SQLStore takes no argument 'readonly'; did you mean 'read_only'?"),
        (lambda: LocalServer(prot=1), "LocalServer takes no argument 'prot'; did you mean 'port'?"),
    ],
)
def test_a_wrong_keyword_is_refused_with_the_nearest_right_one(call, sentence):
    with pytest.raises(TypeError) as raised:
        call()
    assert str(raised.value).startswith(sentence)
    assert raised.value.__context__ is None, "the traceback shows the sentence alone"


def test_another_error_of_a_call_stays_as_it_is():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'backend'"):
        Runtime()

    def explode():
        raise TypeError("within")
        yield

    with pytest.raises(TypeError, match=r"^within$"):
        Runtime(SERVER, tools=explode())


def test_the_signature_of_a_class_stays_as_it_is():
    names = ["backend", "settings", "store", "tools", "scheduler", "rng", "trace"]
    assert list(inspect.signature(Runtime).parameters) == names
    assert list(inspect.signature(Settings).parameters) == [field.name for field in attrs.fields(Settings)]
