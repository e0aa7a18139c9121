"""The list of the threads."""

import re
import sys
from collections import Counter
from contextlib import closing

import pytest

from gpt_agent_fsm.engine.showing import waiting_for
from gpt_agent_fsm.inspector import inspector
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from tests.inspector.conftest import World
from tests.stores.helpers import an_event, commit, sqlite_file
from tests.story import polling

CALLS_FOR_EACH = 60
"""How many calls of Python functions the list may make for each thread of a store. It makes about 46."""


def ids_in(html):
    """Return the ids of the threads in the table."""
    return re.findall(r'<tr role="row" data-part="([^"]*)"', html)


def test_a_row_shows_the_state_the_last_event_its_age_the_tokens_and_the_wait(world):
    world.talk("Hello")
    waiting = world.talk("Refund")
    html = world.client.get("/").text
    row = html[html.index(f'data-part="{waiting.thread_id}"') :].partition("</tr>")[0]
    assert '<span class="badge awaiting_tools">awaiting_tools</span>' in row
    assert ">StateChanged<" in row or ">ToolApprovalRequested<" in row
    assert re.search(r'<time datetime="[\d-]+ [\d:]+Z" title="[^"]+">\d+[smhd]</time>', row)
    listed = next(each for each in world.runtime.store.threads() if each.snapshot.thread_id == waiting.thread_id)
    assert waiting_for(listed) in row
    assert "waits for the approval of refund" in row


def test_the_thread_with_the_newest_event_is_the_first(world):
    agents = [world.talk("Hello") for _ in range(3)]
    assert ids_in(world.client.get("/").text) == [agent.thread_id for agent in reversed(agents)]


def test_a_state_filters_the_list_and_each_state_shows_its_count(world):
    idle, failed = world.talk("Hello"), world.talk("Fail")
    html = world.client.get("/?state=failed").text
    assert ids_in(html) == [failed.thread_id]
    assert idle.thread_id not in html
    counts = re.findall(r'class="badge \w+" href="[^"]*"[^>]*>(\w+) <span class="count">(\d+)', html)
    assert {name: count for name, count in counts if count != "0"} == {"idle": "1", "failed": "1"}
    assert re.search(r'state=failed" aria-current="true"', html)


def test_a_part_of_an_id_finds_threads_in_each_case_of_letters(world):
    agents = [world.talk("Hello") for _ in range(3)]
    wanted = agents[1].thread_id
    assert ids_in(world.client.get("/", query_string={"q": wanted.upper()}).text) == [wanted]
    assert "No thread fits the filters." in world.client.get("/?q=nothing").text


def test_a_list_has_pages_that_keep_the_filters(world):
    agents = [world.talk("Hello", 0.0) for _ in range(120)]
    world.scheduler.advance(5)
    first, last = world.client.get("/?state=idle").text, world.client.get("/?state=idle&page=3").text
    assert (len(ids_in(first)), len(ids_in(last))) == (50, 20)
    assert 'rel="next" href="/?state=idle&amp;page=2"' in first
    assert 'rel="prev" href="/?state=idle&amp;page=2"' in last
    assert "page 1 of 3" in first
    pages = [ids_in(world.client.get(f"/?page={number}").text) for number in (1, 2, 3)]
    assert {thread_id for page in pages for thread_id in page} == {agent.thread_id for agent in agents}
    assert ids_in(world.client.get("/?page=99").text) == pages[2]
    assert ids_in(world.client.get("/?page=0").text) == pages[0]


def test_an_empty_store_says_that_it_has_no_threads(world):
    assert "There are no threads in this store." in world.client.get("/").text


def test_rows_can_be_fetched_alone_as_they_are_in_the_list(world):
    agents = [world.talk("Hello"), world.talk("Fail")]
    whole = world.client.get("/").text
    rows = world.client.get("/rows", query_string={"id": [agents[1].thread_id, "unknown"]}).text
    assert ids_in(rows) == [agents[1].thread_id]
    assert rows.partition("<tr")[2].partition("</tr>")[0] in whole


def test_a_store_that_no_process_holds_says_so_in_the_words_of_the_command(tmp_path):
    url = f"sqlite:///{tmp_path}/agents.db"
    with closing(SQLStore(url)) as store:
        snapshot = polling().snapshot
        store.commit(snapshot, consumed=0, events=[], at=1.0, due=None)
    with closing(SQLStore(url, read_only=True)) as reader:
        sentence = "No process holds the store, so nothing happens until a program opens it."
        assert sentence in inspector(reader).test_client().get("/").text
        page = inspector(reader).test_client().get(f"/thread?id={snapshot.thread_id}").text
        assert f"{sentence} Next: polling the run." in page
        with closing(SQLStore(url)):
            assert sentence not in inspector(reader).test_client().get("/").text


@pytest.mark.parametrize("open_store", [MemoryStore, lambda: SQLStore("sqlite://")], ids=["memory", "sql"])
def test_each_store_of_a_runtime_can_be_shown(open_store):
    world = World(open_store())
    with world.runtime:
        agent = world.talk("Refund")
        for app in (world.app, inspector(world.runtime.store)):
            assert ids_in(app.test_client().get("/").text) == [agent.thread_id]
            assert "refund" in app.test_client().get(f"/thread?id={agent.thread_id}").text


class OnlyWhatIsNeeded:
    """A store with the methods of the interface `Store` alone."""

    def __init__(self):
        self._store = MemoryStore()
        for name in ("load", "accept", "commit", "announced", "history", "unfinished", "close"):
            setattr(self, name, getattr(self._store, name))


def test_a_store_that_lists_no_threads_shows_those_with_work_and_those_with_an_agent():
    store = OnlyWhatIsNeeded()
    world = World(store)
    with world.runtime:
        busy, resting, stopped = world.talk("Refund"), world.talk("Hello"), world.talk("Hello")
        stopped.shutdown()
        world.scheduler.advance(1)
        html = world.client.get("/").text
        assert set(ids_in(html)) == {busy.thread_id, resting.thread_id}
        assert "This store cannot list its threads." in html
        assert stopped.thread_id in world.page_of(stopped)
        assert ids_in(inspector(store).test_client().get("/").text) == [busy.thread_id]


def test_a_closed_store_is_reported_in_a_sentence(tmp_path):
    store = SQLStore(f"sqlite:///{tmp_path}/agents.db")
    client = inspector(store).test_client()
    store.close()
    answer = client.get("/")
    assert answer.status_code == 503
    assert "This store was closed" in answer.text


@pytest.mark.parametrize("wrong", [None, "sqlite:///agents.db", object()])
def test_only_a_runtime_or_a_store_can_be_shown(wrong):
    with pytest.raises(TypeError, match="inspector: give a Runtime or a Store, not "):
        inspector(wrong)


COPIES = (
    "INSERT INTO gpt_agent_threads SELECT :id, settled, unfinished, due, accepted, last_seq, announced,"
    " replace(snapshot, 'thread_1', :id) FROM gpt_agent_threads WHERE thread_id = 'thread_1'",
    "INSERT INTO gpt_agent_events SELECT :id, seq, at, kind, body FROM gpt_agent_events WHERE thread_id = 'thread_1'",
)


def multiply(path, count):
    """Copy the only thread of a SQLite file, and its record, until there are `count` threads."""
    names = [{"id": f"thread_{number}"} for number in range(2, count + 1)]
    with sqlite_file(path) as connection:
        connection.execute("BEGIN")
        for statement in COPIES:
            connection.executemany(statement, names)
        connection.execute("COMMIT")


def calls_of(function):
    """Return the result of a function, and how many calls of Python functions it makes. Times differ, counts do not."""
    frames = Counter()
    sys.setprofile(lambda _frame, event, _argument: frames.update((event,)))
    try:
        result = function()
    finally:
        sys.setprofile(None)
    return result, frames["call"]


def test_the_first_page_of_five_thousand_threads_takes_few_calls_for_each_of_them(tmp_path):
    path = tmp_path / "agents.db"
    with closing(SQLStore(f"sqlite:///{path}")) as store:
        commit(store, polling().snapshot, an_event())
    multiply(path, 5000)
    with closing(SQLStore(f"sqlite:///{path}", read_only=True)) as reader:
        client = inspector(reader).test_client()
        client.get("/")  # what is loaded late is loaded now
        html, calls = calls_of(lambda: client.get("/").text)
        assert calls < 5000 * CALLS_FOR_EACH
        assert "5,000 threads, the newest event first; page 1 of 100" in html


def test_no_more_rows_than_a_page_has_are_answered(world):
    agent = world.talk("Ask")
    ids = [agent.thread_id] * 1000
    assert world.client.get("/rows", query_string={"id": ids}).text.count("<tr") == 1
