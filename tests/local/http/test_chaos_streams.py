"""Faults of streams: the client gets a part of the events, and the run or response continues."""

import contextlib
import random
import threading
import time

import pytest
import requests

from gpt_agent_fsm.local import Chaos
from gpt_agent_fsm.local.http.chaos import HEADER, REQUEST_FAULTS, STREAM_FAULTS
from gpt_agent_fsm.local.http.chaos_streams import broken
from gpt_agent_fsm.local.http.listener import HangUp
from tests.local.stand_ins import PATIENCE, Speaker

EVENTS = [b"event: number\ndata: %d\n\n" % number for number in range(20)]
ENDS = ["response.completed", "response.cancelled", "error", "thread.run.failed", "thread.run.requires_action", "done"]


def received(fault, events, after=3, stall=0.0, closing=None):
    """Return what a client gets of these events, and whether the server hangs up on it."""
    got = []
    stream = broken(fault, events, random.Random(1), after=after, stall=stall, closing=closing or threading.Event())
    try:
        got.extend(stream)
    except HangUp:
        return got, True
    return got, False


def test_a_stream_that_is_dropped_ends_in_the_middle_of_an_event():
    got, hung_up = received("stream-drop", EVENTS)
    assert (got[:3], hung_up) == (EVENTS[:3], True)
    assert EVENTS[3].startswith(got[3])
    assert got[3:] != [EVENTS[3]]


def test_a_stream_that_stalls_is_dropped_when_the_silence_is_over():
    assert received("stream-stall", EVENTS) == (EVENTS[:3], True)


def test_a_stream_that_stalls_ends_at_once_when_the_server_closes():
    closing = threading.Event()
    closing.set()
    began = time.monotonic()
    assert received("stream-stall", EVENTS, stall=3600.0, closing=closing) == (EVENTS[:3], True)
    assert time.monotonic() - began < 60


def test_a_stream_repeats_one_event():
    assert received("stream-repeat", EVENTS) == ([*EVENTS[:4], EVENTS[3], *EVENTS[4:]], False)


def test_a_stream_ends_as_if_it_were_whole():
    assert received("stream-end", EVENTS) == (EVENTS[:3], False)


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_a_short_stream_meets_its_fault_before_its_end(fault, name):
    end = b"event: %s\ndata: {}\n\n" % name.encode()
    got, hung_up = received(fault, [*EVENTS[:2], end], after=50)
    assert got[:2] == EVENTS[:2]
    assert got[2:] == [end, end] if fault == "stream-repeat" else end not in got
    assert hung_up == (fault in ("stream-drop", "stream-stall"))


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_chance_decides_where_a_fault_comes_and_the_seed_decides_over_chance(fault):
    def lengths():
        dice = random.Random(7)
        for _ in range(50):
            stream = broken(fault, EVENTS, dice, after=None, stall=0.0, closing=threading.Event())
            got = []
            with contextlib.suppress(HangUp):
                got.extend(stream)
            yield len(got)

    seen = [*lengths()]
    assert seen == [*lengths()]
    assert len(set(seen)) > 3 or fault == "stream-repeat"


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_the_application_hears_that_its_stream_is_over(fault):
    class Body(list):
        closed = False

        def close(self):
            self.closed = True

    body = Body(EVENTS)
    received(fault, body)
    assert body.closed


def events_of(api, fault, path, body):
    """Return the names of the events that a client gets, and whether the server hangs up on it."""
    url, headers = api.server.base_url + path, {HEADER: fault}
    names = []
    with api.session.post(
        url, json=body | {"stream": True}, headers=headers, timeout=PATIENCE, stream=True
    ) as response:
        try:
            for line in response.iter_lines(chunk_size=1):
                if line.startswith(b"event: "):
                    names.append(line.decode().removeprefix("event: "))
        except requests.exceptions.ChunkedEncodingError:
            return names, True
    return names, False


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_a_response_continues_and_its_stream_can_be_resumed(serve, fault):
    api = serve(Speaker("Hel", "lo"), chaos=Chaos(7, rate=0, stall=0.0, stream_after=6))
    names, hung_up = events_of(api, fault, "/responses", {"model": "m", "input": "x", "background": True})
    assert hung_up == (fault in ("stream-drop", "stream-stall"))
    assert ("response.completed" in names) == (fault == "stream-repeat")
    if fault == "stream-repeat":
        assert names.count("response.output_text.delta") == 3
        return
    with api.server._storage.transaction() as tx:
        [response] = tx.children("response", "")
    api.follow(response, "completed")
    rest = list(api.stream("GET", f"/responses/{response['id']}", params={"stream": "true", "starting_after": 5}))
    assert rest[0][1]["delta"] == "lo"


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_a_run_continues_although_its_stream_is_broken(serve, fault):
    api = serve(Speaker("Hel", "lo"), chaos=Chaos(7, rate=0, stall=0.0))
    thread = api.thread("Hi")
    events_of(api, fault, f"/threads/{thread}/runs", {"assistant_id": "asst_1"})
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    api.see(run, "completed")
    assert "Hello" in api.texts(thread)


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_an_answer_that_is_not_a_stream_is_sent_as_it_is(serve, fault):
    api = serve(chaos=Chaos(7, rate=0))
    response = api.session.post(f"{api.server.base_url}/threads", json={}, headers={HEADER: fault}, timeout=PATIENCE)
    assert (response.status_code, response.json()["object"]) == (200, "thread")


def test_streams_are_broken_only_by_a_chaos_that_names_a_fault_of_streams():
    assert {Chaos(1, rate=1).fault(number) for number in range(200)} == set(REQUEST_FAULTS)
    assert {Chaos(1, rate=1, faults=["stream-end"]).fault(number) for number in range(50)} == {"stream-end"}


def test_a_negative_place_of_a_fault_is_a_value_error():
    with pytest.raises(ValueError, match="stream_after"):
        Chaos(1, stream_after=-1)
