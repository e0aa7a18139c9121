"""The deadline of a request, and the check that runs while nothing arrives."""

import time

import pytest
import requests

from gpt_agent_fsm.backends.http.adapter import Adapter
from gpt_agent_fsm.backends.http.exchange import begin
from tests.backends.conftest import PATIENCE
from tests.backends.conftest import http as answer


class NotWanted(Exception):
    pass


@pytest.fixture
def session():
    with requests.Session() as made:
        made.trust_env = False
        made.mount("http://", Adapter())
        yield made


def test_a_check_that_raises_ends_a_request_without_an_answer(serve, session):
    server = serve(lambda *_: server.stopping.wait(PATIENCE))
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise NotWanted

    begin(PATIENCE, check)
    begun = time.monotonic()
    with pytest.raises(NotWanted):
        session.get(server.base_url, timeout=PATIENCE)
    assert time.monotonic() - begun < PATIENCE / 2


def test_the_deadline_holds_beside_a_check(serve, session):
    server = serve(lambda *_: server.stopping.wait(PATIENCE))
    calls = []
    begin(0.2, lambda: calls.append(None))
    with pytest.raises(requests.RequestException, match="timed out"):
        session.get(server.base_url, timeout=PATIENCE)
    assert len(calls) > 1


def test_the_next_request_has_no_check_unless_it_names_one(serve, session):
    def refuse():
        raise NotWanted

    server = serve(answer({"ok": True}))
    begin(PATIENCE, refuse)
    begin(PATIENCE)
    assert session.get(server.base_url, timeout=PATIENCE).json() == {"ok": True}
