"""What the kill tests share: the server's threads, read without the library, and their comparison with promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import attrs
import requests

from gpt_agent_fsm.assistant import Assistant
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.ports import Backend

__all__ = ["ASSISTANT", "HEADERS", "WIRES", "Books", "Comparison", "Wire", "note"]

ASSISTANT = "asst_kill"
HEADERS = {"OpenAI-Beta": "assistants=v2"}


@attrs.frozen
class Wire:
    """The URL paths of an API, for requests without the library.

    Attributes:
        root: the path of the threads.
        list: the last part of the path of a thread's messages.
        runs: the last part of the path of a thread's runs; None if the API cannot list runs.
    """

    root: str
    list: str
    runs: str | None

    def backend(self, base_url: str, headers: Mapping[str, str] | None = None) -> Backend:
        """Return a backend for this API that sends these headers, too."""
        if self.runs is not None:
            return AssistantsBackend(base_url, headers=headers)
        return ResponsesBackend(base_url, assistants={ASSISTANT: Assistant("m")}, headers=headers)


WIRES = {
    "assistants": Wire("/threads", "messages", "runs"),
    "responses": Wire("/conversations", "items", None),
}


def note(file: TextIO, line: str) -> None:
    """Write a line to the file. The line is kept even if the process is killed immediately after this call."""
    file.write(f"{line}\n")
    file.flush()


@attrs.define
class Comparison:
    """What the comparison of a thread with the promises has found.

    Attributes:
        wrong: something was lost or came in another order.
        twice: something is there more often than it should be.
        posted: the texts of the user's messages on the server, oldest first.
        answers: the ids of the assistant's messages on the server.
        counts: how much was compared.
    """

    wrong: list[str] = attrs.field(factory=list)
    twice: list[str] = attrs.field(factory=list)
    posted: list[str] = attrs.field(factory=list)
    answers: list[str] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)


@attrs.frozen
class Books:
    """The threads on a server, read over HTTP."""

    base_url: str
    wire: Wire

    def compare(self, place: int, thread_id: str, accepted: Sequence[str]) -> Comparison:
        """Compare a thread with the messages that were accepted for it, in the order of their acceptance."""
        found = Comparison()
        self._compare_messages(place, thread_id, accepted, found)
        if self.wire.runs is not None:
            self._compare_runs(place, thread_id, found)
        return found

    def _compare_messages(self, place: int, thread_id: str, accepted: Sequence[str], found: Comparison) -> None:
        listed = self._listed(f"{self.wire.root}/{thread_id}/{self.wire.list}")
        messages = [item for item in listed if "content" in item]
        found.posted = posted = [_text(message) for message in messages if message["role"] == "user"]
        found.answers = answers = [message["id"] for message in messages if message["role"] == "assistant"]
        found.counts.update(messages=len(posted), answers=len(answers), accepted=len(accepted))
        found.twice += [f"{word} is on the server {n} times" for word, n in Counter(posted).items() if n > 1]
        found.wrong += [f"{word} was accepted and lost" for word in accepted if word not in set(posted)]
        if [word for word in posted if word in set(accepted)] != list(accepted):
            found.wrong.append(f"thread {place}: the order of messages is not the order of their acceptance")
        if len(answers) != len(posted):
            where = found.twice if len(answers) > len(posted) else found.wrong
            where.append(f"thread {place}: {len(posted)} messages had {len(answers)} answers")

    def _compare_runs(self, place: int, thread_id: str, found: Comparison) -> None:
        runs = self._listed(f"{self.wire.root}/{thread_id}/{self.wire.runs}")
        found.counts.update(runs=len(runs))
        found.wrong += [f"run {run['id']} ended as {run['status']}" for run in runs if run["status"] != "completed"]
        if len(runs) != len(found.posted):
            where = found.twice if len(runs) > len(found.posted) else found.wrong
            where.append(f"thread {place}: {len(found.posted)} messages had {len(runs)} runs")

    def _listed(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            params = {"limit": "100", "order": "asc", **after}
            page = requests.get(f"{self.base_url}{path}", params=params, headers=HEADERS, timeout=30).json()
            found += page["data"]
            if not page["has_more"]:
                return found
            after = {"after": page["last_id"]}


def _text(message: dict[str, Any]) -> str:
    text = message["content"][0]["text"]
    return str(text if isinstance(text, str) else text["value"])
