"""The buttons of a thread: cancel, discard, approve and deny."""

import pytest

from gpt_agent_fsm import events
from gpt_agent_fsm.inspector import inspector
from tests.inspector.conftest import TOKEN


def kinds(world, agent):
    return [type(record.event) for record in world.runtime.history(agent.thread_id)]


def last(world, agent, kind):
    return [record.event for record in world.runtime.history(agent.thread_id) if isinstance(record.event, kind)][-1]


def test_an_approved_call_is_carried_out_and_the_history_names_who_approved_it(world):
    agent = world.talk("Refund")
    [call] = agent.open_approvals
    answer = world.press(agent, "approve", call=call.id, by="Ann", note="fine")
    assert answer.status_code == 303
    world.runtime.get(agent.thread_id).wait(timeout=60)
    approved = last(world, agent, events.ToolApproved)
    assert (approved.id, approved.by, approved.note) == (call.id, "Ann", "fine")
    assert agent.state == "idle"
    assert last(world, agent, events.ToolCallOutputRecorded).output == '"Paid 17."'


def test_a_denied_call_is_not_carried_out_and_the_model_gets_the_reason(world):
    agent = world.talk("Refund")
    [call] = agent.open_approvals
    assert world.press(agent, "deny", call=call.id, note="too late").status_code == 303
    agent.wait(timeout=60)
    denied = last(world, agent, events.ToolDenied)
    assert (denied.by, denied.reason) == (None, "too late")
    assert "too late" in last(world, agent, events.ToolCallOutputRecorded).output
    assert events.ToolStarted not in kinds(world, agent)


def test_a_run_is_cancelled(world):
    agent = world.talk("Ask")
    assert agent.state == "awaiting_tools"
    assert world.press(agent, "cancel").status_code == 303
    agent.wait(timeout=60)
    assert last(world, agent, events.RunFailed).code == "cancelled"


def test_a_queue_is_discarded(world):
    agent = world.talk("Ask")
    key = agent.add_user_message("later")
    assert world.press(agent, "discard").status_code == 303
    world.scheduler.advance(1)
    assert last(world, agent, events.MessagesDiscarded).keys == (key,)
    assert agent.state == "awaiting_tools"


def test_after_a_button_the_page_of_the_thread_says_what_happens(world):
    agent = world.talk("Ask")
    answer = world.client.post("/thread/cancel", data={"id": agent.thread_id, "token": TOKEN}, follow_redirects=True)
    assert answer.request.path == "/thread"
    assert "The run is being cancelled." in answer.text
    assert "The run is being cancelled." not in world.page_of(agent, done="<b>")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Hello", set()),
        ("Ask", {"cancel"}),
        ("Refund", {"cancel", "approve", "deny"}),
        ("Hurry", {"cancel", "discard"}),
    ],
)
def test_a_page_shows_the_buttons_that_would_change_something(world, text, shown):
    page = world.page_of(world.talk(text))
    labels = {"cancel": "Cancel the run", "discard": "Discard the queue", "approve": ">Approve<", "deny": ">Deny<"}
    assert {action for action, label in labels.items() if label in page} == shown


def test_the_enter_key_in_a_field_presses_no_button(world):
    page = world.page_of(world.talk("Refund"))
    form = page[page.index('<form method="post"') :]
    assert form[form.index("<button") :].startswith("<button disabled hidden>")


@pytest.mark.parametrize("action", ["approve", "deny"])
@pytest.mark.parametrize("call", ["", "call_x"])
def test_a_decision_about_a_call_that_does_not_wait_is_refused(world, action, call):
    answer = world.press(world.talk("Refund"), action, call=call)
    assert answer.status_code == 409
    assert "does not wait for a decision" in answer.text


def test_a_call_is_decided_once(world):
    agent = world.talk("Refund")
    [call] = agent.open_approvals
    assert world.press(agent, "approve", call=call.id).status_code == 303
    assert world.press(agent, "deny", call=call.id).status_code == 409
    assert "Approve" not in world.page_of(agent).partition("Timeline")[0]


def test_a_thread_without_an_agent_cannot_be_changed(world):
    agent = world.talk("Ask")
    agent.shutdown()
    answer = world.press(agent, "cancel")
    assert answer.status_code == 409
    assert "No agent of this inspector drives the thread" in answer.text


def test_a_store_alone_cannot_be_changed_even_with_the_token(world):
    agent = world.talk("Ask")
    client = inspector(world.runtime.store, token=TOKEN).test_client()
    answer = client.post("/thread/cancel", data={"id": agent.thread_id, "token": TOKEN})
    assert answer.status_code == 409


def test_an_unknown_button_is_a_404(world):
    assert world.press(world.talk("Ask"), "explode").status_code == 404
