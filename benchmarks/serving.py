"""The small servers of the benchmarks: each is a module that runs in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).parents[1]
Answer: TypeAlias = Callable[[asyncio.StreamWriter, str, str, Any], Awaitable[None]]
"""Writes the HTTP answer to a request. Takes the writer, the method, the path after `/v1/`, and the JSON body."""


def command(module: str, *arguments: object) -> list[str]:
    """Return the command that runs a module of this package in a new process. Run it in `ROOT`."""
    return [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", *map(str, arguments)]


@contextlib.contextmanager
def server(module: str, *arguments: object) -> Iterator[str]:
    """Start a server in a process of its own, and yield its base URL."""
    process = subprocess.Popen(command(module, *arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stdout is not None  # noqa: S101 - for the type checker
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def serve(answer: Answer) -> None:
    """Answer requests until the process is ended. Print the port first."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.I)
                body = json.loads(await reader.readexactly(int(length[1])) or b"{}") if length else {}
                method, path, _ = head.split(b" ", 2)
                await answer(writer, method.decode(), path.decode().removeprefix("/v1/"), body)
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=4096)
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


def json_answer(value: object, headers: str = "") -> bytes:
    """Return an HTTP answer with this JSON. `headers` are more headers, each with its end of line."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body
