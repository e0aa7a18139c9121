"""Transient errors: which requests are retried, how often, and after which pause."""

from functools import partial

import attrs
import pytest

from gpt_agent_fsm.errors import (
    RequestRefused,
    ThreadBusy,
    TransientError,
)
from tests.backends.importing.importer import MANY, SETTINGS, before

EVERY = [
    ("GET", ""),
    ("GET", "/messages"),
    ("POST", "/conversations"),
    ("POST", "/items"),
    ("GET", "/items"),
]


@pytest.mark.parametrize(("method", "end"), EVERY)
def test_a_transient_error_is_tried_again_after_a_growing_pause(local, importer, wires, method, end):
    thread_id = local.thread(*MANY)
    wires.on(method, end, *[before(partial(TransientError, 503, None, "Slow down."))] * 3)
    done = importer(thread_id)
    assert local.told(done.conversation_id) == MANY
    assert len(importer.pauses) == 3
    for pause, longest in zip(importer.pauses, [2, 4, 6], strict=True):
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(("method", "end"), EVERY)
def test_it_is_given_up_after_all_attempts(local, importer, wires, method, end):
    wires.on(method, end, *[before(partial(TransientError, 503, None, "Slow down."))] * 4)
    with pytest.raises(TransientError, match="Slow down"):
        importer(local.thread(*MANY))
    assert len(importer.pauses) == 3


def test_each_request_has_all_its_attempts(local, importer, wires):
    busy = before(partial(TransientError, 503, None, "Slow down."))
    wires.on("POST", "/items", busy, busy, None, busy, busy, None, busy, busy)
    assert local.told(importer(local.thread(*MANY)).conversation_id) == MANY


def test_the_server_says_how_long_to_wait(local, importer, wires):
    wires.on("POST", "/items", before(partial(TransientError, 429, None, "Wait.", retry_after=77)))
    importer(local.thread("Hello"))
    assert importer.pauses == [77]


def test_a_wait_of_hours_ends_the_import(local, importer, wires):
    wires.on("POST", "/items", before(partial(TransientError, 429, None, "Wait.", retry_after=301)))
    with pytest.raises(TransientError, match="Wait"):
        importer(local.thread("Hello"))
    assert importer.pauses == []


def test_an_import_fails_soon_if_nobody_listens(local, importer, wires):
    settings = attrs.evolve(SETTINGS, request_max_attempts=8)
    wires.on("GET", "", *[before(partial(TransientError, None, None, "Nobody.", hopeless=True))] * 8)
    with pytest.raises(TransientError, match="Nobody"):
        importer(local.thread("Hello"), settings=settings)
    assert len(importer.pauses) == 2


def test_a_conversation_that_is_in_use_is_waited_for(local, importer, wires):
    wires.on("POST", "/items", before(partial(ThreadBusy, 400, "conversation_locked", "In use.")))
    done = importer(local.thread(*MANY))
    assert local.told(done.conversation_id) == MANY
    assert len(importer.pauses) == 1


def test_a_refused_request_is_not_sent_again(local, importer, wires):
    wires.on("POST", "/items", before(partial(RequestRefused, 400, None, "No.")))
    with pytest.raises(RequestRefused, match="No"):
        importer(local.thread("Hello"))
    assert len(wires.batches) == 1
    assert importer.pauses == []


def test_each_new_try_is_logged_with_its_reason(local, importer, wires, caplog):
    wires.on("POST", "/items", before(partial(TransientError, 503, None, "Slow down.")))
    importer(local.thread("Hello"))
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "gpt_agent_fsm.backends.importing")
    assert "seconds: Slow down. (HTTP 503)" in record.getMessage()
