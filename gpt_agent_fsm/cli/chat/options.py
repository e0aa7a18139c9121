"""The options of a chat, and the command that continues it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import attrs
import click

from gpt_agent_fsm.cli.values import url_of, without_password

__all__ = ["ASSISTANT", "DEFAULT_KEY", "DEFAULT_MODEL", "Options", "WrongOption"]


class WrongOption(click.ClickException):
    """An option is wrong. It is reported in one line, with the exit code of a wrong command."""

    exit_code = 2


DEFAULT_MODEL = "gpt-4o"
ASSISTANT = "chat"
"""The id of the assistant on Responses, and the beginning of its name on a server that keeps assistants."""
DEFAULT_KEY = "chat"
"""The name of the conversation in a database if no name is given."""


@attrs.frozen(kw_only=True)
class Options:
    """The options that a person has given. Raises `WrongOption` if the options contradict each other.

    Attributes:
        local: True to use the embedded server even if the environment names a server.
        log: the file for the log, or None.
        take_over: True if the process that held the database no longer runs.
    """

    api: str | None = None
    model: str | None = None
    instructions: str | None = None
    assistant: str | None = None
    thread: str | None = None
    key: str | None = None
    db: str | None = None
    script: str | None = None
    local: bool = False
    tools: tuple[str, ...] = ()
    log: str | None = None
    take_over: bool = False

    def __attrs_post_init__(self) -> None:
        if self.key is not None and self.db is None:
            raise WrongOption("--key needs --db: only a database keeps the names of conversations")
        if self.take_over and self.db is None:
            raise WrongOption("--take-over needs --db: it is for a database that another process held")
        if self.assistant is not None and self.api == "responses":
            raise WrongOption("--assistant needs --api assistants: the Responses API keeps no assistants")
        url = self.database_url
        if self.is_embedded and url is not None and not url.startswith("sqlite"):
            raise WrongOption(
                "the embedded server keeps its data beside a SQLite file: give a path as --db, or set OPENAI_API_KEY "
                "or OPENAI_BASE_URL to use a real server"
            )

    @property
    def is_embedded(self) -> bool:
        """True if the embedded server answers."""
        named = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")
        return self.local or self.script is not None or not named

    @property
    def names_no_server(self) -> bool:
        """True if the embedded server answers only because neither the options nor the environment name a server."""
        return self.is_embedded and not self.local and self.script is None

    @property
    def database_url(self) -> str | None:
        """The URL of the database; None without a database."""
        return None if self.db is None else url_of(self.db)

    @property
    def shown_db(self) -> str | None:
        """The option --db without a password; None without a database."""
        return None if self.db is None else without_password(self.db)

    @property
    def server_database(self) -> Path | None:
        """The file in which the embedded server keeps the threads; None to keep them in memory."""
        path = (self.database_url or "").partition("://")[2].removeprefix("/").partition("?")[0]
        if path in ("", ":memory:"):
            return None
        return Path(path).with_name(f"{Path(path).stem}-server{Path(path).suffix}")

    @property
    def name(self) -> str | None:
        """The name of the conversation in the database; None if the conversation has no name."""
        return DEFAULT_KEY if self.key is None and self.thread is None and self.db is not None else self.key

    def api_for(self, thread_id: str | None) -> str:
        """Return the API for a thread. If no API is given, the option --assistant or the thread's id decides."""
        if self.api is not None:
            return self.api
        is_thread = thread_id is not None and thread_id.startswith("thread_")
        return "assistants" if is_thread or self.assistant is not None else "responses"

    def way_back(self, thread_id: str) -> str | None:
        """Return the command that continues the conversation, without passwords; None if nothing was kept."""
        if self.db is None and self.is_embedded:
            return None
        values = {
            "--api": self.api,
            "--assistant": self.assistant,
            "--model": self.model,
            "--instructions": self.instructions,
            "--script": self.script,
            "--db": self.shown_db,
            "--key": self.key,
            "--thread": self.thread if self.db is not None else thread_id,
        }
        words = [word for option, value in values.items() if value is not None for word in (option, value)]
        words += [word for value in self.tools for word in ("--tools", value)]
        return shlex.join(["gpt-agent-fsm", "chat", *(["--local"] if self.local else []), *words])
