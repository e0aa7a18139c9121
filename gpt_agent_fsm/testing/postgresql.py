"""A PostgreSQL server for tests and experiments, in a folder of its own. It needs the programs of PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["PASSWORD", "PostgreSQL", "a_postgresql", "obstacle"]

PASSWORD = "s3cret-Pass-w0rd"  # noqa: S105 - of a server that only this machine reaches
_PATIENCE = 60.0
_ROOT = Path("/usr/lib/postgresql")
_NO_PROGRAMS = f"PostgreSQL is not installed here: there is no initdb below {_ROOT}, and none on the PATH."
_NO_USER = "PostgreSQL does not run as root, and there is no user postgres or nobody here."


def _program(name: str) -> str | None:
    places = sorted(_ROOT.glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return next((str(place / name) for place in places if (place / name).exists()), shutil.which(name))


def _other_user() -> pwd.struct_passwd | None:
    """Return the user as whom the server runs if this process runs as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _free_port() -> int:
    """Return a port below the range of outgoing connections, which could take it while a server restarts."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - a port
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def obstacle() -> str | None:
    """Return a sentence that says why no server can run here, or None."""
    if _program("initdb") is None or _program("postgres") is None:
        return _NO_PROGRAMS
    return _NO_USER if os.geteuid() == 0 and _other_user() is None else None


class PostgreSQL:
    """A server on a free port of 127.0.0.1. It can be stopped and started any number of times.

    Args:
        folder: an empty folder for the server's files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user = _other_user()
        self._data = folder / "data"
        self._schemas = 0
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        (folder / "password").write_text(PASSWORD)
        command = [str(_program("initdb")), "-D", str(self._data), "-U", "tests", "-A", "scram-sha-256", "-E", "UTF8"]
        command += ["--no-locale", "-N", f"--pwfile={folder / 'password'}"]
        subprocess.run(command, check=True, cwd=folder, capture_output=True, **self._who())  # noqa: S603 - our own

    def _who(self) -> dict[str, Any]:
        user = self._user
        return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = ["listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=16MB"]
        command = [str(_program("postgres")), "-D", str(self._data), "-p", str(self._port), "-k", ""]
        command += [part for option in options for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, cwd=self.folder, stdout=log, stderr=log, **self._who()
            )
        self._wait_until_it_answers(self._process)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        import psycopg  # noqa: PLC0415 - an extra

        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
            else:
                return

    def stop(self) -> None:
        """End the server at once with all its connections, like a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # immediate shutdown, including the server's children
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_PATIENCE)
            self._process = None

    @property
    def url(self) -> str:
        """The URL of the database."""
        return f"postgresql://tests:{PASSWORD}@127.0.0.1:{self._port}/postgres"

    def new_schema(self) -> str:
        """Return the URL of a new schema."""
        import psycopg  # noqa: PLC0415 - an extra

        self._schemas += 1
        name = f"schema_{self._schemas}"
        with psycopg.connect(self.url) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.url}?options=-csearch_path%3D{name}"


@contextlib.contextmanager
def a_postgresql() -> Iterator[PostgreSQL]:
    """Yield a server in a temporary folder, which is stopped at the end. See `obstacle` first."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = PostgreSQL(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
