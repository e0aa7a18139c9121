"""Responses with `store: false`: nothing remains of them once they were answered."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from gpt_agent_fsm.local import ModelError, ToolCall
from gpt_agent_fsm.local.shared.storage import Storage
from tests.local.event_streams import names, response_stream
from tests.local.responses.asking import in_thread, said_in
from tests.local.stand_ins import PATIENCE, Recorder, Speaker

SECRET = "secret-4711 " * 700  # longer than a page of the file
UNKEPT = {"model": "m", "input": SECRET, "store": False}


def left_in(folder):
    """Return the files in which the secret can be found."""
    return [path.name for path in folder.iterdir() if b"secret-4711" in path.read_bytes()]


def stored_in(api):
    with api.server._storage.transaction() as tx:
        return [tx.containing(kind, b"secret-4711") for kind in ("response", "question", "item")]


@pytest.mark.parametrize("storage", ["memory", "file"])
@pytest.mark.parametrize(
    ("answer", "options", "status"),
    [
        (f"You said: {SECRET}", {}, "completed"),
        (f"You said: {SECRET}", {"max_output_tokens": 16}, "incomplete"),
        ([ToolCall("get", {"a": SECRET})], {}, "completed"),
        (ModelError("server_error", SECRET), {}, "failed"),
    ],
)
def test_nothing_remains_however_it_ends(serve, tmp_path, storage, answer, options, status):
    api = serve(Recorder(answer), database=tmp_path / "a.db" if storage == "file" else None)
    done = api.post("/responses", UNKEPT | options)
    assert (done["status"], done["store"]) == (status, False)
    assert stored_in(api) == [[], [], []]
    assert left_in(tmp_path) == []
    api.server.close()
    assert left_in(tmp_path) == []


def test_nothing_remains_of_one_that_was_streamed(serve, tmp_path):
    api = serve(Speaker(SECRET, SECRET), database=tmp_path / "a.db")
    events = list(response_stream(api, **UNKEPT))
    assert names(events)[-1] == "response.completed"
    assert said_in(events[-1][1]["response"]["output"]) == [SECRET * 2]
    assert left_in(tmp_path) == []


def test_stored_responses_and_the_items_of_conversations_remain(serve, tmp_path):
    api = serve(Recorder("One.", "Two.", "Three."), database=tmp_path / "a.db")
    conversation = api.conversation()
    kept = [api.answered("Hello"), api.answered("Hello", conversation=conversation)]
    api.post("/responses", {"model": "m", "input": "Again", "store": False, "conversation": conversation})
    assert [api.get(f"/responses/{each['id']}") for each in kept] == kept
    # A conversation keeps what is said in it, whoever keeps the response.
    assert said_in(api.items(conversation)) == ["Hello", "Two.", "Again", "Three."]


def test_one_that_takes_too_long_is_answered_as_failed_and_nothing_remains(serve, tmp_path, waiting):
    api = serve(waiting, database=tmp_path / "a.db", run_expires_after=0.3)
    done = api.post("/responses", UNKEPT)
    assert (done["status"], done["error"]["message"]) == ("failed", "The response took too long.")
    assert left_in(tmp_path) == []


def test_one_whose_conversation_is_deleted_is_answered_as_cancelled_and_nothing_remains(serve, tmp_path, waiting):
    api = serve(waiting, database=tmp_path / "a.db")
    conversation = api.conversation()
    result = in_thread(lambda: api.post("/responses", UNKEPT | {"conversation": conversation}))
    assert waiting.called.wait(PATIENCE)
    api.delete(f"/conversations/{conversation}")
    assert result()["status"] == "cancelled"
    assert left_in(tmp_path) == []


def test_nothing_remains_when_another_reader_of_the_file_has_ended(serve, tmp_path):
    path = tmp_path / "a.db"
    api = serve(database=path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM objects").fetchall()
        api.post("/responses", UNKEPT)
        assert left_in(tmp_path) == ["a.db-wal"]
    deadline = time.monotonic() + PATIENCE
    while left_in(tmp_path):
        assert time.monotonic() < deadline


KILLED = """
import os, sys, requests
from gpt_agent_fsm.local import LocalServer
model = lambda request: os._exit(0)
server = LocalServer(model, database=sys.argv[1])
requests.post(server.base_url + "/responses", json={"model": "m", "input": sys.argv[2], "store": False})
"""


def test_the_next_server_removes_the_rest_of_a_killed_one(serve, tmp_path):
    path = tmp_path / "a.db"
    subprocess.run([sys.executable, "-c", KILLED, os.fspath(path), SECRET], check=True)
    assert left_in(tmp_path) != []
    serve(database=path)
    assert left_in(tmp_path) == []


def test_responses_kept_by_earlier_versions_are_removed_and_the_words_alone_remove_nothing(serve, tmp_path):
    path = tmp_path / "a.db"
    storage = Storage(path)
    with storage.transaction() as tx:
        tx.add("response", {"id": "resp_1", "store": False, "status": "completed", "output": SECRET})
        tx.add("question", {"id": "question_1", "input": SECRET}, parent="resp_1")
        kept = {"id": "resp_2", "store": True, "status": "completed", "tools": [{"parameters": {"store": False}}]}
        tx.add("response", kept)
    storage.close()
    api = serve(database=path)
    assert left_in(tmp_path) == []
    assert api.get("/responses/resp_2") == kept


def test_nothing_remains_of_one_that_was_refused_or_only_counted(serve, tmp_path):
    api = serve(database=tmp_path / "a.db")
    long = {"role": "user", "content": [{"type": "input_text", "text": "secret-4711 " * 500_000}]}
    output = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
    api.error("POST", "/responses", 400, json={"model": "m", "store": False, "input": [long, output]})
    assert api.post("/responses/input_tokens", {"input": [long]})["input_tokens"] > 1_000_000
    assert stored_in(api) == [[], [], []]
    assert left_in(tmp_path) == []
