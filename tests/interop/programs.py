"""Programs that somebody else has written: found, started on a free port, waited for, and ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

START = 120.0
"""Seconds that a program may take until it answers."""
END = 10.0
"""Seconds that a program may take to end when it is asked to."""
_PAUSE = 0.05
_MOST_OF_LOG = 5_000


def find(name: str) -> Path | None:
    """Return the program of that name beside the running interpreter or on PATH; None where there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return None if found is None else Path(found)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def answers(port: int, path: str) -> bool:
    """Return whether a GET is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def running(command: Sequence[str | Path], *, home: Path, port: int, ready: str) -> Iterator[None]:
    """Run a program from the moment that `GET ready` is answered with 200.

    It runs in `home`, and sees of our environment no more than the path, so that nobody's key or proxy has a part in a
    test. What it writes is in `home / "log"`. An `AssertionError` says that it ended or did not get ready.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
    log = home / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_ready(process, port, ready, log)
            yield
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, ready: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while not answers(port, ready):
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"it ended with status {process.wait(_PAUSE)}:\n{_last_of(log)}")
        assert time.monotonic() < deadline, f"no answer to GET {ready} in {START} seconds:\n{_last_of(log)}"


def _last_of(log: Path) -> str:
    return log.read_text(errors="replace")[-_MOST_OF_LOG:]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
