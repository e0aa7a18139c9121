"""The number of the attempt at the user's last message."""

from gpt_agent_fsm.local import ModelError, ToolCall
from tests.local.responses.asking import HELLO, outputs_for
from tests.local.stand_ins import PATIENCE, Recorder, Waiting


def test_an_attempt_is_counted_per_message_of_the_user(serve):
    busy = ModelError("rate_limit_exceeded", "Slow down.")
    model = Recorder(busy, busy, [ToolCall("get")], busy, "Done.", busy, busy, "Fine.", "Fine.")
    api = serve(model)
    conversation = api.conversation()
    for _ in range(2):
        api.answered("one", "failed", conversation=conversation)
    first = api.answered("one", conversation=conversation)
    # The outputs belong to the same question: a script that skipped its failures must not meet them again.
    api.answered(outputs_for(first, "1"), "failed", conversation=conversation)
    api.answered(outputs_for(first, "1"), conversation=conversation)
    api.answered("one", "failed", conversation=conversation)
    api.answered("two", "failed", conversation=conversation)
    api.answered("two", conversation=conversation)
    api.answered("two", conversation=conversation)
    assert [request.attempt for request in model.requests] == [1, 2, 3, 3, 4, 1, 1, 2, 1]


def test_an_attempt_counts_failures_over_a_message_that_was_added_first(serve):
    busy = ModelError("rate_limit_exceeded", "Slow down.")
    model = Recorder(busy, busy, "Fine.", "More.")
    api = serve(model)
    conversation = api.conversation(HELLO)
    for status in ("failed", "failed", "completed"):
        api.answered(None, status, conversation=conversation)
    api.post(f"/conversations/{conversation}/items", {"items": [HELLO]})
    api.answered(conversation=conversation)
    assert [request.attempt for request in model.requests] == [1, 2, 3, 1]


def test_a_cancelled_response_is_not_a_failed_attempt_and_forgets_none(serve):
    model = Waiting()
    attempts = []

    def busy_at_first(request):
        attempts.append(request.attempt)
        if len(attempts) == 1:
            raise ModelError("rate_limit_exceeded", "Slow down.")
        return model(request)

    api = serve(busy_at_first)
    conversation = api.conversation()
    api.answered("Hello", "failed", conversation=conversation)
    response = api.ask("Hello", conversation=conversation)
    assert model.called.wait(PATIENCE)
    api.post(f"/responses/{response['id']}/cancel")
    assert model.returned.wait(PATIENCE)
    model.called.clear()
    api.ask("Hello", conversation=conversation)
    assert model.called.wait(PATIENCE)
    assert attempts == [1, 2, 2]


def test_an_incomplete_answer_is_an_answer_and_not_a_failed_attempt(serve):
    model = Recorder(ModelError("rate_limit_exceeded", "Slow down."), "x" * 100, "Fine.")
    api = serve(model)
    conversation = api.conversation()
    for status in ("failed", "incomplete", "completed"):
        api.answered("Hello", status, conversation=conversation, max_output_tokens=16)
    assert [request.attempt for request in model.requests] == [1, 2, 1]
