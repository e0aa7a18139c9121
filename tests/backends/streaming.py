"""The events of streamed runs on both APIs, as a server sends them."""

import json

from gpt_agent_fsm.ports import RunRequest, ToolOutputsRequest
from tests.backends.conftest import PATIENCE, RUN

RESPONSE = {"id": "resp_1", "status": "queued", "conversation": "t", "metadata": {}}
CREATE = RunRequest(thread_id="t", assistant_id="a", key="k")
OUTPUTS = ToolOutputsRequest(thread_id="t", run_id="run_1", outputs=(("call_1", "21"),), assistant_id="a")


def event(name, data):
    text = data if isinstance(data, str) else json.dumps(data)
    return f"event: {name}\ndata: {text}\n\n".encode()


def delta(text, message_id="msg_1", index=0, **content):
    content = {"index": index, "type": "text", "text": {"value": text}} | content
    data = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [content]}}
    return event("thread.message.delta", data)


def message(kind, text="", message_id="msg_1", **fields):
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    data = {"id": message_id, "object": "thread.message", "role": "assistant", "thread_id": "t", "content": content}
    return event(f"thread.message.{kind}", {**data, **fields})


RUN_CREATED = event("thread.run.created", RUN)
DONE = event("done", "[DONE]")


def numbered(number, kind, **fields):
    return event(kind, {"type": kind, "sequence_number": number, **fields})


def piece(number, text, item_id="msg_1", part=0, place=0):
    fields = {"item_id": item_id, "output_index": place, "content_index": part, "delta": text}
    return numbered(number, "response.output_text.delta", **fields)


def completed(number, *texts, kind="response.completed"):
    content = [{"type": "output_text", "text": text} for text in texts]
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": content}
    return numbered(number, kind, response={**RESPONSE, "status": "completed", "output": [item] if texts else []})


RESPONSE_CREATED = numbered(0, "response.created", response=RESPONSE)


def stream_of(*events, ends=True):
    """Return an HTTP answer of these events, in chunks; without an end if it should break off."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in events)
    return head + chunks + (b"0\r\n\r\n" if ends else b"")


class Api:
    """One wire: its backend, and the events that say the same in it."""

    def __init__(self, wire, make):
        self.wire = wire
        self.streams = []
        self._make = make
        self.first = RUN_CREATED if wire == "assistants" else RESPONSE_CREATED

    def backend(self, server):
        return self._make(server.base_url)

    def say(self, *texts):
        """Return the events of a message that comes in these pieces, up to the end of the stream."""
        if self.wire == "assistants":
            return [self.first, *(delta(text) for text in texts), DONE]
        pieces = [piece(number, text) for number, text in enumerate(texts, 1)]
        return [self.first, *pieces, completed(len(texts) + 1, "".join(texts))]


def texts(stream):
    found = []
    while (said := stream.next_piece(silence=PATIENCE)) is not None:
        found.append(said.text)
    return found


def create(api, server):
    run, stream = api.backend(server).create_run_streamed(CREATE, timeout=PATIENCE)
    if stream is not None:
        api.streams.append(stream)
    return run, stream
