"""Helpers to request and read streams of events."""

import time

from tests.local.stand_ins import PATIENCE

BEGINS = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
]


ENDS = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed", "done"]


def names(events):
    return [name for name, _ in events]


def run_stream(api, *said, **options):
    body = {"assistant_id": "asst_1", "stream": True} | options
    return api.stream("POST", f"/threads/{api.thread(*said)}/runs", json=body)


def response_stream(api, said="Hello", **options):
    return api.stream("POST", "/responses", json={"model": "m", "input": said, "stream": True} | options)


def until(stream, name):
    """Read on to the first event with this name, and return its data."""
    return next(data for each, data in stream if each == name)


def deltas(events):
    if any(name.startswith("response.") for name in names(events)):
        return [data["delta"] for name, data in events if name == "response.output_text.delta"]
    pieces = [data["delta"]["content"] for name, data in events if name == "thread.message.delta"]
    return [content[0]["text"]["value"] for content in pieces]


def wait_until(question):
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline
