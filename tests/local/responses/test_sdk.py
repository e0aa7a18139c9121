"""The Responses and Conversations wire as the official SDK reads it."""

import time
import warnings

import pytest

from gpt_agent_fsm.local import ModelError, ToolCall
from tests.local.stand_ins import PATIENCE, Waiting

openai = pytest.importorskip("openai")

TOOLS = [{"type": "function", "name": "get", "parameters": {"type": "object", "properties": {}}, "strict": True}]


def model(request):
    if request.user_message == "break":
        raise ModelError("server_error", "It broke.")
    if request.tools and not request.outputs:
        return [ToolCall("get", {"a": 1}), ToolCall("get", {"a": 2})]
    return f"Got {request.outputs}." if request.outputs else f"You said: {request.user_message}"


@pytest.fixture
def connect(serve):
    clients = []

    def to_server(*args, **kwargs):
        api = serve(*args, **kwargs)
        clients.append(openai.OpenAI(base_url=api.server.base_url, api_key="sk-none", max_retries=0, timeout=PATIENCE))
        return clients[-1]

    yield to_server
    for client in clients:
        client.close()


@pytest.fixture
def sdk(connect):
    return connect(model)


def complete(thing):
    """Check that the SDK's object has all its required fields, with values of the right types."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type(thing).model_validate(thing.to_dict(), strict=False)
    return thing


def polled(sdk, response):
    deadline = time.monotonic() + PATIENCE
    while complete(response).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        response = sdk.responses.retrieve(response.id)
    return response


def test_conversations_and_their_items(sdk):
    conversations = sdk.conversations
    said = [{"type": "message", "role": "user", "content": letter} for letter in "abc"]
    made = complete(conversations.create(metadata={"a": "b"}, items=said[:1]))
    assert complete(conversations.retrieve(made.id)).metadata == {"a": "b"}
    assert complete(conversations.update(made.id, metadata={"c": "d"})).metadata == {"c": "d"}
    added = complete(conversations.items.create(made.id, items=said[1:]))
    assert [complete(item).content[0].text for item in added.data] == ["b", "c"]
    for order, expected in (("asc", "abc"), ("desc", "cba")):
        listed = list(conversations.items.list(made.id, order=order, limit=1))
        assert "".join(complete(item).content[0].text for item in listed) == expected
    first = conversations.items.list(made.id, limit=2)
    assert (first.has_next_page(), len(first.data), first.get_next_page().has_next_page()) == (True, 2, False)
    last = listed[0]
    assert complete(conversations.items.retrieve(last.id, conversation_id=made.id)) == last
    assert complete(conversations.items.delete(last.id, conversation_id=made.id)).id == made.id
    assert len(list(conversations.items.list(made.id))) == 2
    assert complete(conversations.delete(made.id)).deleted


def test_a_synchronous_response(sdk):
    response = complete(sdk.responses.create(model="gpt-5", input="Hello", instructions="Be kind."))
    assert (response.status, response.output_text) == ("completed", "You said: Hello")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    again = complete(sdk.responses.create(model="gpt-5", input="Again", previous_response_id=response.id))
    assert again.previous_response_id == response.id


def test_background_responses_with_function_calls_on_a_conversation(sdk):
    conversation = sdk.conversations.create().id
    options = {"model": "gpt-5", "conversation": conversation, "background": True, "store": True, "tools": TOOLS}
    first = polled(sdk, sdk.responses.create(input="Weather?", **options))
    calls = [complete(item) for item in first.output]
    assert [(call.type, call.name, call.arguments) for call in calls] == [
        ("function_call", "get", '{"a":1}'),
        ("function_call", "get", '{"a":2}'),
    ]
    answers = [{"type": "function_call_output", "call_id": call.call_id, "output": call.arguments} for call in calls]
    second = polled(sdk, sdk.responses.create(input=answers, **options))
    assert second.output_text == """Got ['{"a":1}', '{"a":2}']."""
    assert second.conversation.id == conversation
    items = [complete(item) for item in sdk.conversations.items.list(conversation, order="asc", limit=2)]
    assert [item.type for item in items] == [
        "message",
        *["function_call"] * 2,
        *["function_call_output"] * 2,
        "message",
    ]
    assert [item.id for item in items[1:3]] == [call.id for call in calls]


def test_items_from_the_sdk_may_be_sent_back_as_they_are(sdk):
    first = sdk.responses.create(model="gpt-5", input="Weather?", tools=TOOLS, store=False)
    said = [{"role": "user", "content": "Weather?"}, *first.output]
    said += [{"type": "function_call_output", "call_id": call.call_id, "output": "1"} for call in first.output]
    second = sdk.responses.create(model="gpt-5", input=said, tools=TOOLS, store=False)
    assert second.output_text == "Got ['1', '1']."


def test_the_input_items_of_a_response(sdk):
    said = [{"role": "user", "content": letter} for letter in "abc"]
    response = sdk.responses.create(model="gpt-5", input=said)
    listed = [complete(item) for item in sdk.responses.input_items.list(response.id, order="asc", limit=1)]
    assert [item.content[0].text for item in listed] == ["a", "b", "c"]
    assert len(list(sdk.responses.input_items.list(response.id, limit=2))) == 3


def test_a_failed_response_has_its_error(sdk):
    response = polled(sdk, sdk.responses.create(model="gpt-5", input="break", background=True))
    assert (response.status, response.error.code, response.error.message) == ("failed", "server_error", "It broke.")


def test_cancelling_a_response_and_the_lock_it_had(connect):
    hanging = Waiting()
    sdk = connect(hanging)
    conversation = sdk.conversations.create().id
    options = {"model": "gpt-5", "conversation": conversation, "background": True}
    response = sdk.responses.create(input="Hello", **options)
    assert hanging.called.wait(PATIENCE)
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(input="Hello?", **options)
    assert caught.value.code == "conversation_locked"
    with pytest.raises(openai.BadRequestError, match="Another process is currently operating on this conversation"):
        sdk.conversations.items.create(conversation, items=[{"role": "user", "content": "x"}])
    assert complete(sdk.responses.cancel(response.id)).status == "cancelled"
    assert sdk.responses.retrieve(response.id).status == "cancelled"
    assert list(sdk.conversations.items.list(conversation)) == []


def test_deleting_a_response(sdk):
    response = sdk.responses.create(model="gpt-5", input="Hello")
    assert sdk.responses.delete(response.id) is None
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.responses.retrieve(response.id)
    assert caught.value.body["message"] == f"Response with id '{response.id}' not found."
    assert caught.value.request_id.startswith("req_")


def test_errors_are_the_exceptions_of_the_sdk(sdk, connect):
    with pytest.raises(openai.NotFoundError, match="Conversation with id 'conv_x' not found"):
        sdk.conversations.items.list("conv_x")
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(model="gpt-5", input="x", previous_response_id="resp_x")
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    response = sdk.responses.create(model="gpt-5", input="x")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        sdk.responses.cancel(response.id)
    with pytest.raises(openai.AuthenticationError):
        connect(api_key="sk-right").conversations.create()


def test_structured_answers_are_parsed_streamed_or_not(connect):
    pydantic = pytest.importorskip("pydantic")
    warm = pydantic.create_model("Warm", city=(str, ...), celsius=(int, ...))
    sdk = connect(lambda _request: {"city": "Oslo", "celsius": 21}, strict_schemas=True)
    parsed = complete(sdk.responses.parse(model="gpt-5", input="Warm?", text_format=warm)).output_parsed
    assert (parsed.city, parsed.celsius) == ("Oslo", 21)
    with sdk.responses.stream(model="gpt-5", input="Warm?", text_format=warm) as stream:
        assert stream.get_final_response().output_parsed == parsed


def test_options_that_cannot_be_had_are_bad_requests_that_name_them(sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(model="gpt-5", input="x", extra_body={"top_k": 5})
    assert (caught.value.param, caught.value.code) == ("top_k", "unsupported_parameter")
