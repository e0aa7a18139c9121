"""A log handler or filter with a defect: reported as `logging` reports it, and never raised for the caller."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

import gpt_agent_fsm
from gpt_agent_fsm.logs import get_logger, must_propagate
from gpt_agent_fsm.testing.network import Crash

NAME = "gpt_agent_fsm.a_test"
ANYTHING = [ConnectionError("the log service is down"), SystemExit(1), GeneratorExit(), KeyboardInterrupt()]


class Broken(logging.Handler):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def emit(self, record):
        raise self.error


@pytest.fixture
def logger():
    made = logging.getLogger(NAME)
    before, made.propagate = made.propagate, False
    made.setLevel(logging.DEBUG)
    yield made
    made.propagate = before
    made.handlers.clear()
    made.filters.clear()
    made.setLevel(logging.NOTSET)


def on_a_worker(work):
    """Return what `work` raises on an OS thread that is not the main one, or None."""
    raised = []

    def catch():
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def log_each_way():
    log = get_logger(NAME)
    log.debug("one %s", 1)
    log.info("two")
    log.warning("three")
    log.error("four")
    log.log(logging.ERROR, "five")
    try:
        int("mine")
    except ValueError:
        log.exception("six")


@pytest.mark.parametrize("error", ANYTHING, ids=repr)
def test_no_error_of_a_log_handler_reaches_the_caller(logger, capsys, error):
    logger.addHandler(Broken(error))
    assert on_a_worker(log_each_way) is None
    reported = capsys.readouterr().err
    assert reported.count("--- Logging error ---") == 6
    assert type(error).__name__ in reported
    assert "ValueError: invalid literal" in reported


def test_no_error_of_a_log_filter_reaches_the_caller(logger, capsys):
    def broken(record):
        raise LookupError("no such tenant")

    logger.addFilter(broken)
    log_each_way()
    assert "LookupError: no such tenant" in capsys.readouterr().err


def test_nothing_is_reported_if_logging_is_configured_not_to(logger, capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.addHandler(Broken(ConnectionError()))
    log_each_way()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stream", [None, Path("no stream at all")])
def test_an_unwritable_standard_error_raises_nothing(logger, monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)
    logger.addHandler(Broken(ConnectionError()))
    log_each_way()


def test_ctrl_c_while_the_main_thread_logs_is_passed_on(logger):
    logger.addHandler(Broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        get_logger(NAME).error("one")


def test_a_record_has_the_place_that_it_was_logged_at(logger):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    log_each_way()
    assert [record.getMessage() for record in records] == ["one 1", "two", "three", "four", "five", "six"]
    assert {(record.funcName, record.pathname, record.name) for record in records} == {("log_each_way", __file__, NAME)}


def test_ctrl_c_must_propagate_on_the_main_thread_alone():
    assert must_propagate(KeyboardInterrupt())
    seen = []
    assert on_a_worker(lambda: seen.append(must_propagate(KeyboardInterrupt()))) is None
    assert seen == [False]


def test_a_simulated_crash_must_propagate_and_other_errors_must_not():
    assert must_propagate(Crash())
    assert not any(map(must_propagate, (SystemExit(), GeneratorExit(), ValueError())))


def test_every_module_logs_through_a_logger_that_never_raises():
    root = Path(gpt_agent_fsm.__file__).parent
    plain = [path.name for path in root.rglob("*.py") if "= logging.getLogger(__" in path.read_text()]
    assert plain == []
