"""Requests on the Responses wire, and helpers to read the answers."""

import threading

from tests.local.stand_ins import PATIENCE

HELLO = {"role": "user", "content": "Hello"}


TOOL = {"type": "function", "name": "get", "description": "Gets.", "parameters": {"type": "object"}, "strict": False}


def calls_of(response):
    return [item for item in response["output"] if item["type"] == "function_call"]


def outputs_for(response, *values):
    return [
        {"type": "function_call_output", "call_id": call["call_id"], "output": value}
        for call, value in zip(calls_of(response), values, strict=True)
    ]


def said_in(items):
    return [item["content"][0]["text"] for item in items if item["type"] == "message"]


def refused(api, body, status=400):
    return api.error("POST", "/responses", status, json={"model": "m"} | body)


def in_thread(action):
    """Start a blocking call, and return a function that waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(action()))
    thread.start()

    def result():
        thread.join(PATIENCE)
        assert results
        return results[0]

    return result
