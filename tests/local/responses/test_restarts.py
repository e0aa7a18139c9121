"""Responses when a server closes, and on the next one."""

import contextlib
import socket
import time

import requests

from gpt_agent_fsm import Assistant, Runtime, Settings
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.local import LocalServer
from tests.local.responses.asking import in_thread, refused, said_in
from tests.local.stand_ins import PATIENCE, Waiting


def test_background_responses_in_progress_are_made_again_by_the_next_server(serve, tmp_path):
    path = tmp_path / "local.db"
    model = Waiting()
    first = serve(model, database=path)
    conversations = [first.conversation() for _ in range(20)]
    responses = [first.ask("Hello", conversation=each) for each in conversations]
    assert model.called.wait(PATIENCE)
    first.server.close()
    second = serve(database=path)
    for response, conversation in zip(responses, conversations, strict=True):
        assert said_in(second.follow(response, "completed")["output"]) == ["You said: Hello"]
        assert said_in(second.items(conversation)) == ["Hello", "You said: Hello"]


def test_a_synchronous_response_in_progress_has_failed_after_a_restart(serve, tmp_path, waiting):
    path = tmp_path / "local.db"
    first = serve(waiting, database=path)
    conversation = first.conversation()
    body = {"input": "x", "conversation": conversation}
    result = in_thread(lambda: refused(first, body, 503))
    assert waiting.called.wait(PATIENCE)
    first.server._workers.close(0.0)
    assert result()["message"] == "The server is closing."
    first.server.close()
    second = serve(database=path)
    with second.server._storage.transaction() as tx:
        [response] = tx.children("response", conversation)
    seen = second.get(f"/responses/{response['id']}")
    assert (seen["status"], seen["error"]["code"]) == ("failed", "server_error")
    assert said_in(second.answered("Hello", conversation=conversation)["output"]) == ["You said: Hello"]


def test_closing_ends_requests_that_wait_for_a_model_as_well(serve, waiting, caplog):
    api = serve(waiting)

    def ask():
        try:
            return refused(api, {"input": "x"}, 503)
        except requests.ConnectionError:
            return "hung up"

    results = [in_thread(ask) for _ in range(12)]
    deadline = time.monotonic() + PATIENCE
    while len(api.server._workers._turns) < 12:
        assert time.monotonic() < deadline
    began = time.monotonic()
    api.server.close()
    assert time.monotonic() - began < 2
    assert all(result() for result in results)
    assert "still running" not in caplog.text


def test_a_request_to_a_closing_server_gets_a_503(serve):
    api = serve()
    api.server._workers.close(PATIENCE)
    assert refused(api, {"input": "Hello"}, 503)["message"] == "The server is closing."


def test_responses_and_items_of_one_server_are_on_the_next_one(serve, tmp_path):
    path = tmp_path / "local.db"
    first = serve(database=path)
    conversation = first.conversation()
    response = first.answered("Hello", conversation=conversation)
    items = first.items(conversation)
    first.server.close()
    second = serve(lambda request: f"Asked {len(request.messages)}.", database=path)
    assert second.get(f"/responses/{response['id']}") == response
    assert second.items(conversation) == items
    assert said_in(second.answered("Again", conversation=conversation)["output"]) == ["Asked 3."]


class Slow:
    """A model that is slow enough for a client to come back while it speaks."""

    words = tuple(f"word {number} " for number in range(30))

    def __call__(self, request):
        return "".join(self.words)

    def stream(self, request):
        for word in self.words:
            yield word
            request.cancelled.wait(0.05)


def test_an_agent_hears_the_beginning_of_the_answer_that_the_next_server_makes_again(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    model, database = Slow(), tmp_path / "local.db"
    first = LocalServer(model, port=port, database=database)
    backend = ResponsesBackend(first.base_url, assistants={"guide": Assistant("m")})
    with Runtime(backend, Settings(heartbeat_interval=0.1, request_retry_delay=0.1)) as runtime:
        pieces = runtime.start("guide").stream("Hello", timeout=6 * PATIENCE)
        said = [next(pieces), next(pieces)]
        first.close()
        with LocalServer(model, port=port, database=database):
            said += pieces
    assert "".join(said) == pieces.answer.text == model(None)
