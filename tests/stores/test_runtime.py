"""A runtime over a SQLite file: a conversation, and its continuation by the next process."""

import contextlib

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler


def test_a_conversation_is_kept_and_continues_with_the_next_runtime(tmp_path):
    url, server, heard = f"sqlite:///{tmp_path}/agents.db", SimulatedServer(), []
    with Runtime(server, store=SQLStore(url), scheduler=VirtualScheduler()) as runtime:
        thread_id = runtime.create_thread()
        agent = runtime.connect(thread_id=thread_id, assistant_id="asst_1", last_message_id=None)
        agent.add_user_message("Hello")
        agent.wait(60)
        last = agent.last_message_id
        before = runtime.history(thread_id)
    with contextlib.closing(SQLStore(url, read_only=True)) as reader:
        assert reader.unfinished() == {}
        assert reader.history(thread_id) == before
    with Runtime(server, store=SQLStore(url), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(
            thread_id=thread_id,
            assistant_id="asst_1",
            last_message_id=None,
            subscribe=lambda _agent, event: heard.append(type(event).__name__),
        )
        assert agent.last_message_id == last
        agent.add_user_message("Again")
        agent.wait(60)
        assert "AssistantMessageAdded" in heard
        assert [record.seq for record in runtime.history(thread_id)] == list(range(1, len(before) + len(heard) + 1))


def test_a_subscriber_who_asks_for_forgotten_records_hears_those_that_remain(tmp_path):
    store, server, heard = SQLStore(f"sqlite:///{tmp_path}/agents.db"), SimulatedServer(), []
    with Runtime(server, store=store, scheduler=VirtualScheduler()) as runtime:
        thread_id = runtime.create_thread()
        agent = runtime.connect(thread_id=thread_id, assistant_id="asst_1", last_message_id=None)
        agent.add_user_message("Hello")
        agent.wait(60)
        before = runtime.history(thread_id)
        assert store.prune(0) == len(before)
        assert runtime.history(thread_id) == []
        agent.add_user_message("Again")
        agent.wait(60)
        remaining = runtime.history(thread_id)
        assert remaining[0].seq == len(before) + 1
        runtime.connect(
            thread_id=thread_id,
            assistant_id="asst_1",
            last_message_id=None,
            subscribe=lambda _agent, event: heard.append(event),
            replay_after=1,
        )
        agent.wait(60)
        assert heard == [record.event for record in remaining]
