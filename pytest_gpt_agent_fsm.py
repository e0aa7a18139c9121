"""Fixtures for tests of your own code: the embedded server, the requests to this server, and a runtime that uses it.

pytest finds this plugin by itself if the package is installed. The plugin is a module outside the package
`gpt_agent_fsm`. So pytest imports the library only if a test uses a fixture of the plugin. The fixtures need the extra
`local`.

=================  =========================================================================================
fixture            meaning
=================  =========================================================================================
`local_model`      the server's model, from the mark `local_model`; by default, it echoes each message
`local_server`     a `LocalServer` with this model, closed after the test
`local_requests`   the requests that the server has answered so far: a list of `SeenRequest`
`agent_backend`    an `AssistantsBackend` for the server
`agent_settings`   `Settings` with short delays
`agent_runtime`    a `Runtime` with this backend and these settings, closed after the test
=================  =========================================================================================

You may override each fixture.

With the option `agent_handler_errors = true`, a test that uses `agent_runtime` fails if an event handler raises an
exception during the test. The test then fails with the first such exception.

With the command line option `--gpt-agent-fsm-timelines DIR`, a failed test that uses `agent_runtime` leaves the
timelines and histories of its threads in this folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gpt_agent_fsm import Runtime, Settings
    from gpt_agent_fsm.local import LocalServer, SeenRequest
    from gpt_agent_fsm.local.models.protocol import Model
    from gpt_agent_fsm.ports import Backend


_handler_errors = pytest.StashKey[list[BaseException]]()
_failed = pytest.StashKey[bool]()
_MAX_NAME = 150
"""The longest part of a file's name that comes from the name of the test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options."""
    sentence = "a handler that raises during a test of `agent_runtime` fails the test with its own exception"
    parser.addini("agent_handler_errors", sentence, type="bool", default=False)
    sentence = "a failed test of `agent_runtime` leaves the timelines (SVG) and histories (JSON) of its threads here"
    group = parser.getgroup("gpt-agent-fsm")
    group.addoption("--gpt-agent-fsm-timelines", dest="agent_timelines", type=Path, metavar="DIR", help=sentence)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember that a test has failed, for its fixtures."""
    report: Any = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report  # type: ignore[no-any-return]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Run the test, and raise the first exception that a handler raised during the test.

    If the test itself fails, too, the handler's exception is probably the reason.
    """
    try:
        return (yield)
    finally:
        _raise_first(item)


def _raise_first(item: pytest.Item) -> None:
    """Raise the first exception of the handlers. Do nothing if there is none, or if it was raised here before."""
    errors = item.stash.get(_handler_errors, [])
    if errors:
        del item.stash[_handler_errors]
        raise errors[0]


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark `local_model`."""
    config.addinivalue_line(
        "markers", "local_model(model): the model of `local_server`: a callable, or a script as YAML text or file"
    )


def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    """Refuse a mark whose argument is the model. pytest takes it for the decorator of the model, and loses the test."""
    marks = getattr(obj, "pytestmark", ()) if isinstance(obj, FunctionType) else ()
    bare = any(mark.name == "local_model" and not mark.args and not mark.kwargs for mark in marks)
    if bare and not collector.funcnamefilter(name):
        sentence = f"@pytest.mark.local_model({name}) decorates the model {name} instead of a test"
        raise collector.CollectError(f"{sentence}; write @pytest.mark.local_model.with_args({name})")


@pytest.fixture
def local_model(request: pytest.FixtureRequest) -> Model | None:
    """Return the model of the server. None means a model that echoes each message.

    The model comes from the mark `local_model`, or from an indirect parameter.
    """
    mark = request.node.get_closest_marker("local_model")
    model: Any = getattr(request, "param", None) if mark is None else _model_of(mark)
    if isinstance(model, str | Path):
        from gpt_agent_fsm.local import ScriptedModel

        return ScriptedModel.from_yaml(model)
    return model  # type: ignore[no-any-return]


def _model_of(mark: pytest.Mark) -> object:
    if len(mark.args) != 1 or mark.kwargs:
        forms = "a callable, a script as YAML text, or the path of a script"
        raise pytest.UsageError(f"@pytest.mark.local_model takes one argument, the model: {forms}")
    return mark.args[0]


@pytest.fixture
def local_requests() -> list[SeenRequest]:
    """Return the list of requests that the server has answered so far, in the order of the HTTP answers."""
    return []


@pytest.fixture
def local_server(local_model: Model | None, local_requests: list[SeenRequest]) -> Iterator[LocalServer]:
    """Yield a server on the loopback interface. The server is closed after the test."""
    from gpt_agent_fsm.local import LocalServer

    with LocalServer(local_model, on_request=local_requests.append) as server:
        yield server


@pytest.fixture
def agent_backend(local_server: LocalServer) -> Backend:
    """Return a backend for `local_server`."""
    from gpt_agent_fsm.backends import AssistantsBackend

    return AssistantsBackend(local_server.base_url, "any-key")


@pytest.fixture
def agent_settings() -> Settings:
    """Return settings with short delays."""
    from gpt_agent_fsm import Settings

    return Settings(
        heartbeat_interval=0.01, rate_limit_retry_delay=0.01, tool_output_retry_delay=0.01, request_retry_delay=0.01
    )


@pytest.fixture
def agent_runtime(
    request: pytest.FixtureRequest, agent_backend: Backend, agent_settings: Settings
) -> Iterator[Runtime]:
    """Yield a runtime with `agent_backend` and `agent_settings`. The runtime is closed after the test."""
    from gpt_agent_fsm import Runtime, signals

    errors: list[BaseException] = []
    if request.config.getini("agent_handler_errors"):
        request.node.stash[_handler_errors] = errors
    with signals.failures_added_to(errors), Runtime(agent_backend, agent_settings) as runtime:
        yield runtime
        if request.node.stash.get(_failed, False):
            _save_timelines(request, runtime)
    _raise_first(request.node)


def _save_timelines(request: pytest.FixtureRequest, runtime: Runtime) -> None:
    """Write the timeline and the history of each thread into the folder of the option. Do nothing without a folder."""
    folder = request.config.getoption("agent_timelines")
    if folder is None:
        return
    from gpt_agent_fsm.diagrams import timeline_of, timeline_svg
    from gpt_agent_fsm.engine.showing import fields_of, json_value

    folder = request.config.invocation_params.dir / folder
    folder.mkdir(parents=True, exist_ok=True)
    test = re.sub(r"[^\w.-]+", "-", request.node.nodeid).strip("-")[-_MAX_NAME:]
    saved, now = [], runtime.scheduler.clock.time()
    for snapshot in (row.snapshot for row in runtime.store.threads()):  # type: ignore[attr-defined]
        thread_id, records = snapshot.thread_id, runtime.history(snapshot.thread_id)
        path = folder / f"{test}-{thread_id}"
        history = json.dumps([fields_of(record) for record in records], indent=2, default=json_value)
        path.with_name(f"{path.name}.json").write_text(f"{history}\n", encoding="utf-8")
        picture = timeline_svg(timeline_of(records, thread_id, snapshot=snapshot, now=now))
        path.with_name(f"{path.name}.svg").write_text(picture, encoding="utf-8")
        saved.append(f"{path}.svg, .json")
    request.node.add_report_section("teardown", "timelines of gpt-agent-fsm", "\n".join(saved))
