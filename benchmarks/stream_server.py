"""A small server of the Assistants API for `streams.py`: it streams, answers polls, and costs as little as possible.

Each piece is the time at which it was sent, so that a client can measure how long the piece was on its way. A message
with the text "poll" gets a run that is completed after some polls.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from typing import Any

from benchmarks.serving import json_answer, serve

_counter = itertools.count(1)
_runs: dict[str, dict[str, Any]] = {}
_said: dict[str, str] = {}
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(name: str, data: object) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    event = f"event: {name}\ndata: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def _new(kind: str, **fields: object) -> dict[str, Any]:
    return {"id": f"{kind}_{next(_counter)}", "created_at": int(time.time()), **fields}


class Server:
    """Answers requests.

    Args:
        first: the seconds until the first piece of a stream.
        interval: the seconds between two pieces.
        pieces: how many pieces a stream has.
        polls: after how many polls a run without a stream is completed.
    """

    def __init__(self, first: float, interval: float, pieces: int, polls: int) -> None:
        self._first, self._interval, self._pieces, self._polls = first, interval, pieces, polls

    async def answer(self, writer: asyncio.StreamWriter, method: str, path: str, body: dict[str, Any]) -> None:
        """Answer one request."""
        match method, path.split("?", maxsplit=1)[0].split("/"):
            case "POST", ["threads"]:
                writer.write(json_answer(_new("thread")))
            case "GET", ["threads", thread_id]:
                writer.write(json_answer({"id": thread_id}))
            case "POST", ["threads", thread_id, "messages"]:
                _said[thread_id] = body["content"]
                writer.write(json_answer({**_new("msg", thread_id=thread_id), **body}))
            case "POST", ["threads", thread_id, "runs"]:
                run = _new("run", thread_id=thread_id, status="queued", metadata=body.get("metadata") or {})
                run |= {
                    "object": "thread.run",
                    "assistant_id": "a",
                    "message": _new("msg")["id"],
                    "text": "",
                    "polls": 0,
                }
                _runs[run["id"]] = _runs[thread_id] = run
                if body.get("stream"):
                    await self._stream(writer, run)
                else:
                    writer.write(json_answer(run))
            case "GET", ["threads", _, "runs", run_id]:
                run = _runs[run_id]
                run["polls"] += 1
                if _said[run["thread_id"]] == "poll" and run["polls"] >= self._polls:
                    run["status"], run["text"] = "completed", "Done."
                writer.write(json_answer(run))
            case "GET", ["threads", thread_id, "runs"]:
                writer.write(json_answer({"data": [_runs[thread_id]] if thread_id in _runs else [], "has_more": False}))
            case "GET", ["threads", thread_id, "messages"]:
                run = _runs[thread_id]
                content = [{"type": "text", "text": {"value": run["text"], "annotations": []}}]
                message = {"id": run["message"], "thread_id": thread_id, "role": "assistant", "run_id": run["id"]}
                writer.write(json_answer({"data": [{**message, "content": content}], "has_more": False}))

    async def _stream(self, writer: asyncio.StreamWriter, run: dict[str, Any]) -> None:
        run["status"] = "in_progress"
        writer.write(_STREAM + _chunk("thread.run.created", run))
        await asyncio.sleep(self._first)
        for _ in range(self._pieces):
            piece = f"{time.time():.6f} "
            run["text"] += piece
            content = [{"index": 0, "type": "text", "text": {"value": piece}}]
            delta = {"id": run["message"], "object": "thread.message.delta", "delta": {"content": content}}
            writer.write(_chunk("thread.message.delta", delta))
            await asyncio.sleep(self._interval)
        run["status"] = "completed"
        writer.write(_chunk("thread.run.completed", run) + _chunk("done", "[DONE]") + b"0\r\n\r\n")


if __name__ == "__main__":
    first, interval, pieces, polls = sys.argv[1:]
    asyncio.run(serve(Server(float(first), float(interval), int(pieces), int(polls)).answer))
