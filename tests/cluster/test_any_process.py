"""What any process of a cluster may do for a thread that it does not drive, and to which it has not connected."""

import attrs
import pytest
import requests

from gpt_agent_fsm import Assistant, errors, events, tool
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.inspector import inspector
from tests.cluster.helpers import PATIENCE
from tests.cluster.worlds import ASSISTANT, SETTINGS, wait_until
from tests.unit.test_webhooks import SECRET, ended, signed

TOKEN = "a-token-of-the-tests"


@tool(approve=True)
def locate(city: str) -> str:
    """Return where a city is."""
    return f"{city} is in the north"


@pytest.fixture
def asked(world):
    """A thread in which a call waits for an approval, in a cluster with a worker."""
    agent = world.open_worker(tools=[locate]).start(ASSISTANT)
    agent.add_user_message("call")
    wait_until(lambda: agent.open_approvals)
    return agent


def approvers(runtime, agent):
    found = (record.event for record in runtime.history(agent.thread_id))
    return [event.by for event in found if isinstance(event, events.ToolApproved)]


# --- following a thread ---------------------------------------------------------------------------------------


def test_a_call_is_approved_by_a_process_that_knows_only_the_thread(world, asked):
    runtime = world.open()
    before = runtime.history(asked.thread_id)
    agent = runtime.follow(asked.thread_id)
    assert runtime.follow(asked.thread_id) is agent is runtime.get(asked.thread_id)
    assert runtime.history(asked.thread_id) == before, "following is no command"
    [call] = agent.open_approvals
    agent.approve(call.id, by="Ann")
    assert agent.wait(PATIENCE) == "idle"
    assert approvers(runtime, agent) == ["Ann"]
    assert world.messages(agent.thread_id)[-1] == ("assistant", 'call: "Oslo is in the north"')


def test_an_unknown_thread_cannot_be_followed(world):
    runtime = world.open()
    assert runtime.follow("thread_unknown") is None
    assert runtime.agents == ()
    with pytest.raises(ValueError, match="thread_id"):
        runtime.follow("")
    runtime.close()
    with pytest.raises(errors.RuntimeClosed):
        runtime.follow("thread_unknown")


# --- webhooks -------------------------------------------------------------------------------------------------


def test_a_webhook_that_any_process_receives_wakes_the_worker_that_drives_the_thread(world):
    rare = attrs.evolve(SETTINGS, heartbeat_interval=3600.0)
    world.open_worker(settings=rare, backend=responses(world))
    runtime = world.open(settings=rare, backend=responses(world))
    agent = runtime.start(ASSISTANT)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")
    wait_until(lambda: agent.run_id)
    world.let_go()
    wait_until(lambda: run_status(world, agent) == "completed")
    assert runtime.handle_webhook(*signed(ended(agent.run_id)), SECRET)
    assert agent.wait(PATIENCE) == "idle"


def responses(world):
    return ResponsesBackend(world.server.base_url, "the-key", assistants={ASSISTANT: Assistant("gpt-4o")})


def run_status(world, agent):
    headers = {"Authorization": "Bearer the-key"}
    url = f"{world.server.base_url}/responses/{agent.run_id}"
    return requests.get(url, headers=headers, timeout=PATIENCE).json()["status"]


def test_a_webhook_about_something_else_is_not_passed_on(world):
    assert not world.open().handle_webhook(*signed({"type": "batch.completed", "data": {"id": "batch_1"}}), SECRET)


# --- the inspector --------------------------------------------------------------------------------------------


@pytest.fixture
def page(world, asked):
    """The inspector of a process that has no agent."""
    runtime = world.open()
    return runtime, inspector(runtime, TOKEN).test_client()


def press(page, agent, action, **fields):
    return page[1].post(f"/thread/{action}", data={"id": agent.thread_id, "token": TOKEN, **fields})


def test_the_inspector_of_any_process_shows_the_buttons_and_approves(page, asked):
    shown = page[1].get("/thread", query_string={"id": asked.thread_id}).get_data(as_text=True)
    [call] = asked.open_approvals
    assert f"approve-{call.id}" in shown
    assert "Cancel the run" in shown
    assert "connect()" not in shown
    assert press(page, asked, "approve", call=call.id, by="Ann").status_code == 303
    assert asked.wait(PATIENCE) == "idle"
    approved = [
        record.event for record in page[0].history(asked.thread_id) if type(record.event) is events.ToolApproved
    ]
    assert [event.by for event in approved] == ["Ann"]
    assert page[0].agents == (), "the agent of a button lives no longer than its press"


def test_the_inspector_of_any_process_cancels_a_run(page, asked):
    assert press(page, asked, "cancel").status_code == 303
    assert asked.wait(PATIENCE) in ("idle", "failed")
    wait_until(lambda: any(type(each.event) is events.RunFailed for each in page[0].history(asked.thread_id)))


def test_the_inspector_says_that_no_worker_has_taken_a_message(world):
    runtime = world.open()
    agent = runtime.start(ASSISTANT)
    agent.add_user_message("Hello")
    thread_id = agent.thread_id
    other = inspector(world.open(), TOKEN).test_client()
    shown = other.get("/thread", query_string={"id": thread_id}).get_data(as_text=True)
    assert "No worker has taken this up yet" in shown
