"""The pytest plugin: its fixtures in the tests of another project."""

import json
import subprocess
import sys

import pytest
import sqlalchemy

# `pytester` drops modules that its tests were the first to import, and SQLAlchemy's compiled parts cannot be imported
# twice. So SQLAlchemy is imported here, independent of earlier tests.
assert sqlalchemy

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "pytest_gpt_agent_fsm", "-p", "no:gpt-agent-fsm", "-p", "no:cacheprovider")
# The inner tests run in our process, where the library is already imported.
QUIET = ("-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning")
CONVERSATION = """
def converse(runtime, *words):
    said = []

    def hear(agent, event):
        kind = type(event).__name__
        if kind == "ToolCallRequested":
            agent.submit_tool_output(event.id, {"celsius": 21})
        if kind == "AssistantMessageAdded":
            said.append(event.content)

    agent = runtime.connect(
        thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None, subscribe=hear
    )
    for word in words:
        agent.add_user_message(word)
    agent.wait(timeout=20)
    return said
"""


@pytest.fixture
def run(pytester):
    """Run a test file of another project; return its outcomes."""
    pytester.makepyfile(conversation=CONVERSATION)

    def run(code, *arguments):
        pytester.makepyfile(test_it=f"import pytest\nfrom conversation import converse\n{code}")
        return pytester.runpytest_inprocess(*PLUGIN, *QUIET, "--strict-markers", *arguments)

    return run


def test_a_runtime_talks_to_an_echo_server(run):
    run(
        """
def test_it(agent_runtime):
    assert converse(agent_runtime, "Hello") == ["You said: Hello"]
"""
    ).assert_outcomes(passed=1)


def test_a_script_can_be_in_the_marker_of_a_test(run):
    run(
        '''
SCRIPT = """
rules:
  - when: warm
    steps:
      - call: {name: get_weather, arguments: {city: Oslo}}
      - say: "The service says {outputs}."
"""

@pytest.mark.local_model(SCRIPT)
def test_it(agent_runtime):
    assert converse(agent_runtime, "How warm is it?") == ['The service says {"celsius":21}.']
'''
    ).assert_outcomes(passed=1)


def test_a_script_can_be_in_a_file(run, pytester):
    pytester.makefile(".yaml", script="otherwise: {say: From a file}")
    run(
        """
from pathlib import Path

@pytest.mark.local_model(Path("script.yaml"))
def test_it(agent_runtime):
    assert converse(agent_runtime, "Hello") == ["From a file"]
"""
    ).assert_outcomes(passed=1)


def test_a_model_can_be_a_callable_and_a_parameter(run):
    run(
        """
@pytest.mark.parametrize("local_model", [lambda request: "one", lambda request: "two"], indirect=True, ids=["1", "2"])
def test_it(agent_runtime, request):
    assert converse(agent_runtime, "Hello") == [{"1": "one", "2": "two"}[request.node.callspec.id]]
"""
    ).assert_outcomes(passed=2)


def test_fixtures_can_be_overridden(run):
    run(
        """
from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import ResponsesBackend

@pytest.fixture
def local_model():
    return lambda request: request.instructions

@pytest.fixture
def agent_backend(local_server):
    return ResponsesBackend(local_server.base_url, assistants={"asst_1": Assistant("m", "Be kind")})

def test_it(agent_runtime):
    assert converse(agent_runtime, "Hello") == ["Be kind"]
"""
    ).assert_outcomes(passed=1)


@pytest.mark.parametrize("mark", ["local_model", "local_model()", "local_model(1, 2)", "local_model(model=1)"])
def test_a_marker_without_its_one_argument_explains_itself(run, mark):
    result = run(
        f"""
@pytest.mark.{mark}
def test_it(agent_runtime):
    pass
"""
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.local_model takes one argument, the model: a callable, a script as*"])


def test_a_mark_that_decorates_the_model_instead_of_the_test_is_refused(run):
    result = run(
        """
def model(request):
    return "x"

@pytest.mark.local_model(model)
def test_it(agent_runtime):
    assert False
"""
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*write @pytest.mark.local_model.with_args(model)*"])


BROKEN_HANDLER = """
class Mine(Exception):
    pass

def broken(agent, event):
    raise Mine(type(event).__name__)

def converse_with_a_broken_handler(runtime):
    agent = runtime.start("asst_1", subscribe=broken)
    agent.add_user_message("Hello")
    return agent.wait(timeout=20)
"""


@pytest.mark.parametrize(
    "test",
    [
        """
def test_it(agent_runtime):
    assert converse_with_a_broken_handler(agent_runtime) == "idle"
""",
        """
def test_it(agent_runtime):
    assert converse_with_a_broken_handler(agent_runtime) == "the test has another failure as well"
""",
    ],
)
def test_with_the_option_a_test_fails_with_the_exception_of_its_handler(run, pytester, test):
    pytester.makeini("[pytest]\nagent_handler_errors = true")
    result = run(BROKEN_HANDLER + test)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_it - test_it.Mine: UserMessageAdded"])


def test_with_the_option_a_handler_that_raises_after_the_test_is_an_error_of_the_test(run, pytester):
    pytester.makeini("[pytest]\nagent_handler_errors = true")
    result = run(
        BROKEN_HANDLER
        + """
def test_it(agent_runtime):
    def hear(agent, event):
        if type(event).__name__ == "AgentStopped":
            raise Mine("stopped")

    agent_runtime.start("asst_1", subscribe=hear)
"""
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["ERROR test_it.py::test_it - test_it.Mine: stopped"])


def test_without_the_option_a_handler_that_raises_is_only_logged(run):
    code = """
def test_it(agent_runtime, caplog):
    assert converse_with_a_broken_handler(agent_runtime) == "idle"
    assert "broken failed on UserMessageAdded" in caplog.text
"""
    run(BROKEN_HANDLER + code).assert_outcomes(passed=1)


def test_with_the_option_a_test_without_failing_handlers_passes(run, pytester):
    pytester.makeini("[pytest]\nagent_handler_errors = true")
    run(
        """
def test_it(agent_runtime):
    assert converse(agent_runtime, "Hello") == ["You said: Hello"]
"""
    ).assert_outcomes(passed=1)


# --- timelines -----------------------------------------------------------------------------------------------

OPTION = "--gpt-agent-fsm-timelines"
FAILING = """
@pytest.mark.parametrize("word", ["Hello", "Good/morning"])
def test_it(agent_runtime, word):
    assert converse(agent_runtime, word) == "something else"

def test_that_passes(agent_runtime):
    assert converse(agent_runtime, "Hello")

def test_without_the_fixture():
    assert False
"""


def test_a_failed_test_leaves_the_timeline_and_the_history_of_each_thread(run, pytester):
    result = run(FAILING, OPTION, "saved/here")
    result.assert_outcomes(failed=3, passed=1)
    saved = sorted((pytester.path / "saved" / "here").iterdir())
    assert [(path.suffix, path.name.partition("-thread_")[0]) for path in saved] == [
        (".json", "test_it.py-test_it-Good-morning"),
        (".svg", "test_it.py-test_it-Good-morning"),
        (".json", "test_it.py-test_it-Hello"),
        (".svg", "test_it.py-test_it-Hello"),
    ]
    history = json.loads(saved[2].read_text(encoding="utf-8"))
    assert (history[0]["seq"], history[0]["type"]) == (1, "UserMessageAdded")
    assert history[0]["content"] == "Hello"
    assert saved[3].read_text(encoding="utf-8").startswith("<svg ")
    result.stdout.fnmatch_lines(["*timelines of gpt-agent-fsm teardown*", f"{saved[3]}, .json"])


def test_a_test_that_fails_because_of_its_handler_leaves_its_timeline_too(run, pytester):
    pytester.makeini("[pytest]\nagent_handler_errors = true")
    code = "def test_it(agent_runtime):\n    converse_with_a_broken_handler(agent_runtime)\n"
    run(BROKEN_HANDLER + code, OPTION, "saved").assert_outcomes(failed=1)
    assert len(list((pytester.path / "saved").iterdir())) == 2


def test_a_test_whose_name_is_very_long_leaves_its_timeline(run, pytester):
    code = '@pytest.mark.parametrize("word", ["Hello" * 100])\ndef test_it(agent_runtime, word):\n'
    run(f"{code}    converse(agent_runtime, word)\n    assert False\n", OPTION, "saved").assert_outcomes(failed=1)
    assert len(list((pytester.path / "saved").iterdir())) == 2


def test_without_the_option_and_without_a_failure_no_file_is_written(run, pytester):
    before = {path.name for path in pytester.path.iterdir()}
    run(FAILING).assert_outcomes(failed=3, passed=1)
    passing = "def test_it(agent_runtime):\n    converse(agent_runtime, 'Hello')\n"
    run(passing, OPTION, "saved").assert_outcomes(passed=1)
    assert {path.name for path in pytester.path.iterdir()} - before <= {"test_it.py", "__pycache__"}


def test_the_requests_to_the_server_can_be_inspected(run):
    run(
        """
def test_it(agent_runtime, local_requests):
    converse(agent_runtime, "Hello")
    posted = [request for request in local_requests if request.path.endswith("/messages") and request.method == "POST"]
    assert [request.body["content"] for request in posted] == ["Hello"]
    assert posted[0].status == 200
    assert posted[0].headers["OpenAI-Beta"] == "assistants=v2"
"""
    ).assert_outcomes(passed=1)


def test_each_test_has_its_own_server(run):
    run(
        """
seen = set()

@pytest.mark.parametrize("n", [1, 2])
def test_it(local_server, local_requests, n):
    assert local_requests == []
    assert local_server.base_url not in seen
    seen.add(local_server.base_url)
"""
    ).assert_outcomes(passed=2)


def test_loading_the_plugin_does_not_import_the_package():
    code = "import sys, pytest_gpt_agent_fsm; sys.exit('gpt_agent_fsm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
