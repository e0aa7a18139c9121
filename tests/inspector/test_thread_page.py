"""The page of one thread."""

import html
import json
import re
from contextlib import closing

import pytest

from gpt_agent_fsm import diagrams, events
from gpt_agent_fsm.engine.explaining import explain
from gpt_agent_fsm.inspector import inspector
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from tests.inspector.conftest import World
from tests.story import idle

NASTY = "<script>alert('&')</script>\x1b\u202e\ud800"


def shown(client, thread_id="thread_1", **query):
    """Return the page of a thread as a person reads it: without tags."""
    answer = client.get("/thread", query_string={"id": thread_id, **query})
    assert answer.status_code == 200
    return html.unescape(re.sub("<[^>]*>", "", answer.text))


def keep(store, *happened, thread_id="thread_1"):
    """Commit a thread at rest with these events."""
    snapshot = idle().snapshot
    store.commit(snapshot, consumed=0, events=happened, at=5.0, due=None)
    return snapshot


def runs(count):
    return [events.RunStarted(id=f"run_{n}", thread_id="thread_1", assistant_id="asst_1") for n in range(1, count + 1)]


def numbers_in(client, **query):
    """Return the numbers of the records on a page."""
    page = client.get("/thread", query_string={"id": "thread_1", **query}).text
    return [int(number) for number in re.findall(r'<details id="record-(\d+)">', page)]


def test_the_machine_is_drawn_with_the_state_lit_and_the_arrows_that_were_taken(world):
    agent = world.talk("Refund")
    page = world.page_of(agent)
    drawn = agent.diagram()
    machine = page[page.index('<svg xmlns="http://www.w3.org/2000/svg" class="gpt-agent-fsm machine"') :]
    assert 'class="state awaiting_tools lit"' in machine
    assert 'class="to awaiting_tools taken"' in machine
    body = drawn[drawn.index("<rect") : drawn.index("</svg>")]
    assert body in page


def test_the_timeline_has_a_bar_for_runs_tool_calls_approvals_and_rate_limits_with_details(world):
    page = world.page_of(world.talk("Refund"))
    for lane in ("runs", "tool calls", "approvals"):
        assert f">{lane}</text>" in page
    assert re.search(r"<title>refund: [\d:]+.*</title>", page)
    assert ">rate limit</text>" in world.page_of(world.talk("Hurry"))


def test_the_explanation_is_that_of_the_agent(world):
    agent = world.talk("Refund")
    assert html.escape(agent.explain(), quote=False) in world.page_of(agent)


def test_the_usage_is_shown(world):
    agent = world.talk("Hello")
    text = shown(world.client, agent.thread_id)
    assert re.search(rf"total tokens\s*{agent.usage.total_tokens}\b", text)
    assert re.search(r"runs\s*1\b", text)


def test_each_record_has_its_event_as_json(world):
    agent = world.talk("Hello")
    page = world.page_of(agent)
    written = [json.loads(html.unescape(text)) for text in re.findall(r'as JSON">(.*?)</pre>', page, re.DOTALL)]
    records = world.runtime.history(agent.thread_id)
    assert [each["seq"] for each in written] == [record.seq for record in reversed(records)]
    assert written[-1]["type"] == "UserMessageAdded"
    assert written[-1]["content"] == "Hello"


@pytest.mark.parametrize("open_store", [MemoryStore, lambda: SQLStore("sqlite://")], ids=["memory", "sql"])
def test_the_history_has_pages_and_the_newest_record_is_the_first(open_store):
    with closing(open_store()) as store:
        keep(store, *runs(120))
        client = inspector(store).test_client()
        assert numbers_in(client) == list(range(120, 70, -1))
        assert numbers_in(client, before=71) == list(range(70, 20, -1))
        assert numbers_in(client, before=21) == list(range(20, 0, -1))
        first, middle, last = (
            client.get("/thread", query_string={"id": "thread_1", **query}).text
            for query in ({}, {"before": 71}, {"before": 21})
        )
        assert "before=71#history" in first
        assert "Newer records" not in first
        assert "before=21#history" in middle
        assert "before=121#history" in middle
        assert "Older records" not in last
        assert numbers_in(client, before=999) == numbers_in(client)
        assert numbers_in(client, before=-1) == []


def test_a_pruned_history_says_so(tmp_path):
    with closing(SQLStore(f"sqlite:///{tmp_path}/agents.db")) as store:
        keep(store, *runs(3))
        store.announced("thread_1", 3)
        store.prune(0)
        text = shown(inspector(store).test_client())
        assert "Older records were pruned." in text
        assert "the history was pruned" in text


def test_a_long_history_is_drawn_from_its_newest_records():
    store = MemoryStore()
    keep(store, *runs(700))
    page = inspector(store).test_client().get("/thread?id=thread_1").text
    assert "Older records are not shown." in page
    assert "pruned" not in page


def test_nothing_of_an_event_becomes_a_tag_or_hides_other_letters():
    store = MemoryStore()
    said = events.UserMessageAdded(id="msg_1", thread_id="thread_1", content=NASTY)
    call = {"id": NASTY, "thread_id": "thread_1", "run_id": "run_1", "name": NASTY}
    asked = events.ToolCallRequested(arguments={"a": NASTY}, **call)
    keep(store, said, asked, events.ToolApprovalRequested(arguments=NASTY, **call))
    answer = inspector(store).test_client().get("/thread?id=thread_1")
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert answer.text.count("<script") == 1
    assert not {"\x1b", "\u202e"} & set(answer.text)
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;\\u001b" in answer.text


def test_an_id_with_every_kind_of_letter_can_be_opened_and_decided(world):
    import attrs

    odd = "a/../b?c=d&e#f%41 <i>\"'\U0001f600 ü"
    store = world.runtime.store
    store.commit(attrs.evolve(idle().snapshot, thread_id=odd), consumed=0, events=[], at=1.0, due=None)
    link = re.search(r'href="(/thread\?id=a[^"]+)"', world.client.get("/").text)[1]
    page = world.client.get(html.unescape(link)).text
    assert "<i>" not in page
    assert html.escape(odd[:4]) in page


def test_an_unknown_thread_is_a_404_with_a_sentence(world):
    answer = world.client.get("/thread?id=thread_x<b>")
    assert answer.status_code == 404
    assert "There is no thread &#39;thread_x&lt;b&gt;&#39; in this store." in answer.text
    assert world.client.get("/thread").status_code == 404


def test_a_thread_of_the_runtime_without_an_agent_says_that_the_program_must_connect(world):
    agent = world.talk("Refund")
    agent.shutdown()
    world.scheduler.advance(1)
    text = shown(world.client, agent.thread_id)
    assert "No agent drives the thread, so nothing happens until the program connects to it." in text
    assert "No agent drives this thread, so there is nothing to press." in text
    assert "Approve" not in text


def test_a_store_alone_shows_no_buttons(world):
    agent = world.talk("Refund")
    page = inspector(world.runtime.store).test_client().get(f"/thread?id={agent.thread_id}").text
    assert "<button" not in page
    assert "read only" in page
    saved = world.runtime.store.load(agent.thread_id)
    assert explain(saved.snapshot, world.runtime.settings, 0.0, saved.due)[0] in page


def test_the_pictures_follow_the_style_sheet_of_the_pages(world):
    sheet = world.client.get("/colours.css")
    assert sheet.mimetype == "text/css"
    assert diagrams.machine_styles() in sheet.text
    assert diagrams.timeline_styles() in sheet.text


def test_a_runtime_on_a_database_is_shown_from_its_database(tmp_path):
    world = World(SQLStore(f"sqlite:///{tmp_path}/agents.db"))
    with world.runtime:
        agent = world.talk("Refund")
        assert "waits for an approval" in world.page_of(agent)
        with closing(SQLStore(f"sqlite:///{tmp_path}/agents.db", read_only=True)) as reader:
            text = shown(inspector(reader).test_client(), agent.thread_id)
        assert "waits for the approval of refund" in text
        assert "No process holds the store" not in text
