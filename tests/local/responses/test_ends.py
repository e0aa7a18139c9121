"""How responses end: cancelled, deleted, or over their time."""

import threading
import time

import pytest

from gpt_agent_fsm.local import ModelError
from gpt_agent_fsm.local.shared import workers
from tests.local.responses.asking import HELLO, in_thread, refused, said_in
from tests.local.stand_ins import PATIENCE, Recorder, Waiting


def test_a_background_response_is_cancelled_at_once_and_the_answer_of_its_model_is_discarded(serve, waiting):
    api = serve(waiting)
    conversation = api.conversation()
    response = api.ask("Hello", conversation=conversation)
    path = f"/responses/{response['id']}"
    assert waiting.called.wait(PATIENCE)
    cancelled = api.post(f"{path}/cancel")
    assert (cancelled["id"], cancelled["status"], cancelled["output"]) == (response["id"], "cancelled", [])
    assert api.post(f"{path}/cancel") == cancelled
    waiting.go.set()
    deadline = time.monotonic() + PATIENCE
    while api.server._workers._asking:
        assert time.monotonic() < deadline
    assert api.get(path) == cancelled
    assert api.items(conversation) == []
    api.answered("Again", conversation=conversation)
    assert said_in(api.items(conversation)) == ["Again", "too late"]


def test_an_answer_is_discarded_even_if_it_comes_before_the_cancel_reaches_the_model(serve, waiting, monkeypatch):
    api = serve(waiting)
    monkeypatch.setattr(api.server._workers, "interrupt", lambda _work_id: None)
    response = api.ask("Hello")
    assert waiting.called.wait(PATIENCE)
    api.post(f"/responses/{response['id']}/cancel")
    waiting.go.set()
    deadline = time.monotonic() + PATIENCE
    while api.server._workers._asking:
        assert time.monotonic() < deadline
    assert api.get(f"/responses/{response['id']}")["output"] == []


def test_a_queued_response_is_cancelled_before_its_model_is_asked(serve):
    asked = []
    go = threading.Event()
    api = serve(lambda request: (asked.append(request.user_message), str(go.wait(PATIENCE)))[1], model_workers=16)
    for _ in range(16):
        api.ask("Hello")
    last = api.ask("last")
    assert api.post(f"/responses/{last['id']}/cancel")["status"] == "cancelled"
    go.set()
    api.answered("Hello")
    assert asked == ["Hello"] * 17
    assert api.get(f"/responses/{last['id']}")["status"] == "cancelled"


def test_a_cancel_reaches_the_model(serve):
    model = Waiting()
    api = serve(model)
    response = api.ask("Hello")
    assert model.called.wait(PATIENCE)
    api.post(f"/responses/{response['id']}/cancel")
    assert model.returned.wait(PATIENCE)


def test_ended_and_synchronous_responses_cannot_be_cancelled(serve):
    api = serve(Recorder("Hi.", ModelError("server_error", "x"), "Hi."))
    for status in ("completed", "failed"):
        response = api.answered("Hello", status)
        error = api.error("POST", f"/responses/{response['id']}/cancel", 400)
        assert error["message"] == "Cannot cancel a completed response."
    synchronous = api.post("/responses", {"model": "m", "input": "Hello"})
    error = api.error("POST", f"/responses/{synchronous['id']}/cancel", 400)
    assert error["message"] == "Cannot cancel a synchronous response."


@pytest.mark.parametrize(
    ("method", "more"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
def test_an_unknown_response_is_a_404_that_names_it(api, method, more):
    assert api.error(method, f"/responses/resp_x{more}", 404)["message"] == "Response with id 'resp_x' not found."


def test_a_deleted_response_is_gone_and_its_items_stay(serve):
    api = serve()
    conversation = api.conversation()
    response = api.answered("Hello", conversation=conversation)
    path = f"/responses/{response['id']}"
    assert api.delete(path) == {"id": response["id"], "object": "response", "deleted": True}
    api.error("GET", path, 404)
    assert said_in(api.items(conversation)) == ["Hello", "You said: Hello"]


def test_deleting_a_response_in_progress_interrupts_its_model_and_releases_its_conversation(serve):
    model = Waiting()
    api = serve(model)
    conversation = api.conversation()
    response = api.ask("Hello", conversation=conversation)
    assert model.called.wait(PATIENCE)
    api.delete(f"/responses/{response['id']}")
    assert model.returned.wait(PATIENCE)
    api.post(f"/conversations/{conversation}/items", {"items": [HELLO]})
    assert said_in(api.items(conversation)) == ["Hello"]


def test_deleting_a_conversation_interrupts_the_response_that_works_on_it(serve):
    model = Waiting()
    api = serve(model)
    conversation = api.conversation()
    done = in_thread(lambda: api.post("/responses", {"model": "m", "input": "x", "conversation": conversation}))
    assert model.called.wait(PATIENCE)
    api.delete(f"/conversations/{conversation}")
    assert model.returned.wait(PATIENCE)
    assert (done()["status"], done()["output"]) == ("cancelled", [])


def test_a_response_outlives_its_conversation(serve):
    api = serve()
    conversation = api.conversation()
    response = api.answered("Hello", conversation=conversation)
    api.delete(f"/conversations/{conversation}")
    assert api.get(f"/responses/{response['id']}") == response
    again = api.answered("Again", previous_response_id=response["id"])
    assert said_in(again["output"]) == ["You said: Again"]


def test_a_request_that_waits_for_a_deleted_response_gets_a_404_without_waiting_for_the_model(serve, waiting):
    api = serve(waiting)
    result = in_thread(lambda: refused(api, {"input": "x"}, 404))
    assert waiting.called.wait(PATIENCE)
    with api.server._storage.transaction() as tx:
        [response] = tx.children("response", "")
    api.delete(f"/responses/{response['id']}")
    assert result()["message"] == f"Response with id '{response['id']}' not found."


def test_a_response_whose_time_is_over_fails_and_frees_its_conversation(serve):
    model = Waiting()
    api = serve(model, run_expires_after=1.0)
    conversation = api.conversation()
    failed = api.answered("Hello", "failed", conversation=conversation)
    assert failed["error"] == {"code": "server_error", "message": "The response took too long."}
    assert model.returned.wait(PATIENCE)
    api.post(f"/conversations/{conversation}/items", {"items": [HELLO]})
    assert said_in(api.items(conversation)) == ["Hello"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/responses", {"model": "m", "background": True, "input": "And you?"}),
        ("/conversations/{id}/items", {"items": [HELLO]}),
    ],
)
def test_a_request_finds_a_conversation_free_as_soon_as_its_response_is_over_time(
    serve, waiting, monkeypatch, path, body
):
    monkeypatch.setattr(workers, "_EXPIRY_INTERVAL", 6 * PATIENCE)
    api = serve(waiting, run_expires_after=0.2)
    conversation = api.conversation()
    response = api.ask("Hello", conversation=conversation)
    if path == "/responses":
        body = {**body, "conversation": conversation}
    url = api.server.base_url + path.format(id=conversation)
    deadline = time.monotonic() + PATIENCE
    while not api.session.post(url, json=body, timeout=PATIENCE).ok:
        assert time.monotonic() < deadline
    assert api.get(f"/responses/{response['id']}")["status"] == "failed"


def test_a_response_is_never_seen_over_its_time(serve, waiting, monkeypatch):
    monkeypatch.setattr(workers, "_EXPIRY_INTERVAL", 6 * PATIENCE)
    api = serve(waiting, run_expires_after=0.2)
    assert api.answered("Hello", "failed")["error"]["code"] == "server_error"


def test_an_ended_response_does_not_fail_when_its_time_is_over(serve):
    model = Waiting()
    api = serve(lambda request: "Hi." if request.user_message == "quick" else model(request), run_expires_after=0.5)
    completed = api.answered("quick")
    cancelled = api.post(f"/responses/{api.ask('slow')['id']}/cancel")
    abandoned = api.ask("slow", conversation=api.conversation())
    api.delete(f"/conversations/{abandoned['conversation']['id']}")
    api.answered("slow", "failed")
    for response, status in ((completed, "completed"), (cancelled, "cancelled"), (abandoned, "cancelled")):
        assert api.get(f"/responses/{response['id']}")["status"] == status


def test_a_synchronous_response_whose_time_is_over_fails_without_a_poll(serve):
    api = serve(Waiting(), run_expires_after=0.2)
    failed = api.post("/responses", {"model": "m", "input": "Hello"})
    assert (failed["status"], failed["error"]["message"]) == ("failed", "The response took too long.")
