"""The answers as the official SDK reads them."""

import warnings

import pytest

from gpt_agent_fsm.local import ToolCall

openai = pytest.importorskip("openai")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def sdk(serve):
    api = serve(lambda request: f"Got {request.outputs}." if request.outputs else [ToolCall("get", {"a": 1})])
    with openai.OpenAI(base_url=api.server.base_url, api_key="sk-none", max_retries=0, timeout=10) as client:
        yield client


def complete(model):
    """Check that the SDK's model has all its required fields, with values of the right types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        type(model).model_validate(model.to_dict(), strict=False)
    return model


def test_a_whole_conversation_with_the_official_sdk(sdk):
    threads = sdk.beta.threads
    assistant = complete(sdk.beta.assistants.create(model="gpt", instructions="Be kind."))
    thread = complete(threads.create(messages=[{"role": "user", "content": "Hello"}]))
    message = complete(threads.messages.create(thread.id, role="user", content="World", metadata={"a": "b"}))
    run = complete(threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=5))
    assert run.status == "requires_action"
    [call] = run.required_action.submit_tool_outputs.tool_calls
    assert (call.function.name, call.function.arguments) == ("get", '{"a":1}')
    with pytest.raises(openai.BadRequestError, match=f"Can't add messages to {thread.id} while a run {run.id} is"):
        threads.messages.create(thread.id, role="user", content="x")
    run = complete(
        threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id,
            thread_id=thread.id,
            tool_outputs=[{"tool_call_id": call.id, "output": "1"}],
            poll_interval_ms=5,
        )
    )
    assert (run.status, run.usage.total_tokens > 0) == ("completed", True)
    listed = [complete(each) for each in threads.messages.list(thread.id, order="asc", limit=1)]
    assert [each.content[0].text.value for each in listed] == ["Hello", "World", "Got ['1']."]
    assert (listed[1].id, listed[2].run_id, listed[2].assistant_id) == (message.id, run.id, assistant.id)
    steps = [complete(step) for step in threads.runs.steps.list(run.id, thread_id=thread.id, order="asc")]
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    assert [complete(each).id for each in threads.runs.list(thread.id)] == [run.id]
    assert threads.messages.delete(message.id, thread_id=thread.id).deleted
    assert threads.delete(thread.id).deleted
    assert sdk.beta.assistants.delete(assistant.id).deleted


def test_the_sdk_cancels_a_run_and_reads_errors(sdk):
    run = sdk.beta.threads.create_and_run_poll(assistant_id="asst_1", poll_interval_ms=5)
    complete(sdk.beta.threads.runs.cancel(run.id, thread_id=run.thread_id))
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.beta.threads.runs.retrieve("run_x", thread_id=run.thread_id)
    assert caught.value.body["message"] == "No run found with id 'run_x'."
    assert caught.value.request_id.startswith("req_")
