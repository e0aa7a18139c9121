"""A PostgreSQL server for the tests."""

import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PLACES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)]
PASSWORD = "s3cret-Pass-w0rd"


def _program(name: str) -> str | None:
    on_path = shutil.which(name)
    return next((str(place / name) for place in PLACES if (place / name).exists()), on_path)


def _other_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _free_port() -> int:
    """Return a port below the range of outgoing connections, which could take it while a server restarts."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class PostgreSQL:
    """A server on a free port of 127.0.0.1. A test can stop and start it any number of times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = _other_user()
        self.data = folder / "data"
        self.schemas = 0
        self.port = _free_port()
        self.process = None
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        (folder / "password").write_text(PASSWORD)
        self._run(
            "initdb", "-D", str(self.data), "-U", "tests", "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "-N",
            f"--pwfile={folder / 'password'}",
        )  # fmt: skip

    def _who(self) -> dict:
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([_program(name), *arguments], check=True, cwd=self.folder, capture_output=True, **self._who())

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    _program("postgres"), "-D", str(self.data), "-p", str(self.port), "-k", "",
                    "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200",
                    "-c", "shared_buffers=16MB",
                ],
                cwd=self.folder, stdout=log, stderr=log, **self._who(),
            )  # fmt: skip
        import psycopg

        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.folder / "log").read_text()) from None
            else:
                return

    def stop(self) -> None:
        """End the server at once with all its connections, like a crash."""
        if self.process is not None:
            self.process.send_signal(3)  # SIGQUIT: immediate shutdown, including the server's children
            self.process.wait(60)
            self.process = None

    @property
    def url(self) -> str:
        return f"postgresql://tests:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def new_schema(self) -> str:
        """Return the URL of a new schema."""
        import psycopg

        self.schemas += 1
        name = f"schema_{self.schemas}"
        with psycopg.connect(self.url) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}?options=-csearch_path%3D{name}"


@contextmanager
def a_server() -> Iterator[PostgreSQL]:
    if _program("initdb") is None or _program("postgres") is None:
        pytest.skip("PostgreSQL is not installed here: no initdb under /usr/lib/postgresql and none on the PATH")
    if os.geteuid() == 0 and _other_user() is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody here")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = PostgreSQL(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgresql():
    """A server shared by all tests of this process."""
    with a_server() as server:
        yield server


@pytest.fixture
def own_postgresql():
    """A separate server, for a test that stops it."""
    with a_server() as server:
        yield server
