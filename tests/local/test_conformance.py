"""Every route, driven by the official SDK; every body of an answer is checked against OpenAI's own schemas."""

import warnings

import pytest

from gpt_agent_fsm.local import ModelError, ToolCall
from tests.local.schemas import checked, checked_event
from tests.local.stand_ins import PATIENCE, Waiting

openai = pytest.importorskip("openai")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SCHEMAS = {
    "assistants.create_assistant": "AssistantObject",
    "assistants.list_assistants": "ListAssistantsResponse",
    "assistants.get_assistant": "AssistantObject",
    "assistants.modify_assistant": "AssistantObject",
    "assistants.delete_assistant": "DeleteAssistantResponse",
    "assistants.create_thread": "ThreadObject",
    "assistants.create_thread_and_run": "RunObject",
    "assistants.get_thread": "ThreadObject",
    "assistants.modify_thread": "ThreadObject",
    "assistants.delete_thread": "DeleteThreadResponse",
    "assistants.create_message": "MessageObject",
    "assistants.list_messages": "ListMessagesResponse",
    "assistants.get_message": "MessageObject",
    "assistants.modify_message": "MessageObject",
    "assistants.delete_message": "DeleteMessageResponse",
    "assistants.create_run": "RunObject",
    "assistants.list_runs": "ListRunsResponse",
    "assistants.get_run": "RunObject",
    "assistants.modify_run": "RunObject",
    "assistants.cancel_run": "RunObject",
    "assistants.submit_tool_outputs": "RunObject",
    "assistants.list_steps": "ListRunStepsResponse",
    "assistants.get_step": "RunStepObject",
    "responses.create_conversation": "ConversationResource",
    "responses.get_conversation": "ConversationResource",
    "responses.modify_conversation": "ConversationResource",
    "responses.delete_conversation": "DeletedConversationResource",
    "responses.create_items": "ConversationItemList",
    "responses.list_items": "ConversationItemList",
    "responses.get_item": "ConversationItem",
    "responses.delete_item": "ConversationResource",
    "responses.create_response": "Response",
    "responses.count_input_tokens": "TokenCountsResource",
    "responses.get_response": "Response",
    "responses.cancel_response": "Response",
    "responses.list_input_items": "ResponseItemList",
    # The document does not describe the answer to this one; the SDK reads none.
    "responses.delete_response": None,
    "files.create_file": "OpenAIFile",
    "files.list_files": "ListFilesResponse",
    "files.get_file": "OpenAIFile",
    "files.delete_file": "DeleteFileResponse",
    # Its answer is the content itself.
    "files.get_content": None,
}
PNG = b"\x89PNG\r\n\x1a\n"
FUNCTION = {"name": "get", "description": "Gets.", "parameters": {"type": "object", "properties": {}}}
NESTED = [{"type": "function", "function": FUNCTION}]
FLAT = [{"type": "function", "strict": True} | FUNCTION]


def model(request):
    if "break" in request.user_message:
        raise ModelError("server_error", "It broke.")
    if request.tools and not request.outputs:
        return [ToolCall("get", {"a": 1})]
    return f"Got {request.outputs}." if request.outputs else f"You said: {request.user_message}"


class Watched:
    """The SDK at a server, with a check of every answer before the SDK reads it."""

    def __init__(self, api, key="sk-none"):
        self.api = api
        self.driven = set()
        self._routes = api.server._http._listener.application.url_map.bind("localhost")
        http = openai.DefaultHttpxClient(event_hooks={"response": [self._check_answer]})
        self.sdk = openai.OpenAI(
            base_url=api.server.base_url, api_key=key, max_retries=0, timeout=PATIENCE, http_client=http
        )

    def _check_answer(self, response):
        endpoint = self._routes.match(response.request.url.path, method=response.request.method)[0]
        if response.status_code == 200:
            self.driven.add(endpoint)
        if response.headers["content-type"] == "application/json":
            response.read()
            name = SCHEMAS[endpoint] if response.status_code == 200 else "ErrorResponse"
            if name is not None:
                checked(name, response.json())


@pytest.fixture
def watch(serve):
    made = []

    def start(*args, key="sk-none", **kwargs):
        made.append(Watched(serve(*args, **kwargs), key))
        return made[-1]

    yield start
    for watched in made:
        watched.sdk.close()


def complete(thing):
    """Check that the SDK's object has all its required fields, with values of the right types."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        type(thing).model_validate(thing.to_dict(), strict=False)
    return thing


def listed(method, *args, ids, **kwargs):
    """Check a list in both orders, page by page, and from both ends; `ids` are oldest first."""
    assert [complete(each).id for each in method(*args, order="asc", limit=1, **kwargs)] == ids
    assert [each.id for each in method(*args, limit=2, **kwargs)] == ids[::-1]
    assert [each.id for each in method(*args, order="asc", after=ids[0], **kwargs).data] == ids[1:]


def backwards(method, *args, ids, **kwargs):
    assert [each.id for each in method(*args, order="asc", before=ids[-1], **kwargs).data] == ids[:-1]
    assert [each.id for each in method(*args, order="desc", before=ids[0], limit=1, **kwargs).data] == [ids[1]]


def assistants(sdk):
    made = [complete(sdk.beta.assistants.create(model="gpt", name=name, tools=NESTED)) for name in "ab"]
    ids = [each.id for each in made]
    listed(sdk.beta.assistants.list, ids=ids)
    backwards(sdk.beta.assistants.list, ids=ids)
    assert complete(sdk.beta.assistants.retrieve(ids[0])) == made[0]
    assert complete(sdk.beta.assistants.update(ids[0], instructions="Be kind.")).instructions == "Be kind."
    assert complete(sdk.beta.assistants.delete(ids[1])).deleted
    return ids[0]


def messages(sdk):
    threads = sdk.beta.threads
    thread = complete(threads.create(metadata={"a": "b"})).id
    assert complete(threads.retrieve(thread)).metadata == {"a": "b"}
    assert complete(threads.update(thread, metadata={"c": "d"})).metadata == {"c": "d"}
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    contents = ["one", [{"type": "text", "text": "two"}, picture], "three"]
    ids = [complete(threads.messages.create(thread, role="user", content=content)).id for content in contents]
    image = sdk.files.create(file=("a.png", PNG), purpose="vision").id
    notes = sdk.files.create(file=("a.txt", b"Hello"), purpose="assistants").id
    attachments = [{"file_id": notes, "tools": [{"type": "file_search"}, {"type": "code_interpreter"}]}]
    content = [{"type": "image_file", "image_file": {"file_id": image, "detail": "low"}}]
    shown = complete(threads.messages.create(thread, role="user", content=content, attachments=attachments))
    assert (shown.content[0].image_file.file_id, shown.attachments[0].tools[0].type) == (image, "file_search")
    ids.append(shown.id)
    listed(threads.messages.list, thread, ids=ids)
    backwards(threads.messages.list, thread, ids=ids)
    assert complete(threads.messages.retrieve(ids[1], thread_id=thread)).content[1].type == "image_url"
    assert complete(threads.messages.update(ids[1], thread_id=thread, metadata={"a": "b"})).metadata == {"a": "b"}
    assert complete(threads.messages.delete(ids[1], thread_id=thread)).deleted
    return thread


def runs(sdk, thread, assistant):
    runs = sdk.beta.threads.runs
    run = complete(runs.create_and_poll(thread_id=thread, assistant_id=assistant, poll_interval_ms=5))
    assert run.status == "requires_action"
    [call] = run.required_action.submit_tool_outputs.tool_calls
    outputs = [{"tool_call_id": call.id, "output": "12"}]
    run = runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread, tool_outputs=outputs, poll_interval_ms=5)
    assert complete(run).status == "completed"
    assert complete(runs.update(run.id, thread_id=thread, metadata={"a": "b"})).metadata == {"a": "b"}
    steps = list(runs.steps.list(run.id, thread_id=thread, order="asc"))
    assert [complete(step).type for step in steps] == ["tool_calls", "message_creation"]
    listed(runs.steps.list, run.id, thread_id=thread, ids=[step.id for step in steps])
    backwards(runs.steps.list, run.id, thread_id=thread, ids=[step.id for step in steps])
    assert complete(runs.steps.retrieve(steps[0].id, thread_id=thread, run_id=run.id)) == steps[0]
    other = runs.create_and_poll(
        thread_id=thread,
        assistant_id=assistant,
        tools=[],
        additional_messages=[{"role": "user", "content": "break it"}],
        poll_interval_ms=5,
    )
    assert (complete(other).status, other.last_error.code) == ("failed", "server_error")
    more = [{"role": "user", "content": "Hello"}]
    last = runs.create_and_poll(thread_id=thread, assistant_id=assistant, additional_messages=more, poll_interval_ms=5)
    complete(runs.cancel(last.id, thread_id=thread))
    assert complete(runs.poll(last.id, thread_id=thread, poll_interval_ms=5)).status == "cancelled"
    ids = [run.id, other.id, last.id]
    listed(runs.list, thread, ids=ids)
    backwards(runs.list, thread, ids=ids)
    assert complete(sdk.beta.threads.create_and_run_poll(assistant_id=assistant, poll_interval_ms=5)).id
    assert complete(sdk.beta.threads.delete(thread)).deleted


def conversations(sdk):
    said = [{"type": "message", "role": "user", "content": letter} for letter in "abc"]
    conversation = complete(sdk.conversations.create(items=said[:1], metadata={"a": "b"})).id
    complete(sdk.conversations.items.create(conversation, items=said[1:]))
    ids = [item.id for item in sdk.conversations.items.list(conversation, order="asc")]
    listed(sdk.conversations.items.list, conversation, ids=ids)
    assert complete(sdk.conversations.items.retrieve(ids[0], conversation_id=conversation)).role == "user"
    assert complete(sdk.conversations.items.delete(ids[0], conversation_id=conversation)).id == conversation
    assert complete(sdk.conversations.update(conversation, metadata={})).metadata == {}
    assert complete(sdk.conversations.retrieve(conversation)).metadata == {}
    return conversation


def responses(sdk, conversation):
    options = {"model": "gpt-5", "conversation": conversation, "tools": FLAT}
    first = complete(sdk.responses.create(input="Hello", **options))
    [call] = first.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "12"}
    second = complete(sdk.responses.create(input=[output], **options))
    assert second.output_text == "Got ['12']."
    assert complete(sdk.responses.retrieve(second.id)).output_text == "Got ['12']."
    several = [{"role": "user", "content": letter} for letter in "xyz"]
    image = sdk.files.create(file=("a.png", PNG), purpose="vision").id
    notes = sdk.files.create(file=("a.txt", b"Hello"), purpose="user_data").id
    several[0]["content"] = [
        {"type": "input_text", "text": "x"},
        {"type": "input_image", "file_id": image, "detail": "low"},
        {"type": "input_file", "file_id": notes},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQ="},
    ]
    third = complete(sdk.responses.create(model="gpt-5", input=several, previous_response_id=second.id))
    ids = [item.id for item in sdk.responses.input_items.list(third.id, order="asc")]
    listed(sdk.responses.input_items.list, third.id, ids=ids)
    counted = complete(sdk.responses.input_tokens.count(model="gpt-5", input="x" * 400, conversation=conversation))
    assert counted.input_tokens > 100
    failed = complete(sdk.responses.create(model="gpt-5", input="break", background=False))
    assert (failed.status, failed.error.code) == ("failed", "server_error")
    assert sdk.responses.delete(failed.id) is None
    if hasattr(sdk.beta, "responses"):  # not in all versions of the SDK
        beta = sdk.beta.responses.create(model="gpt-5", input="Hello")
        assert sdk.beta.responses.retrieve(beta.id).status == "completed"
    parsed = sdk.responses.parse(model="gpt-5", input="Hello")
    assert parsed.output_text == "You said: Hello"
    assert complete(sdk.conversations.delete(conversation)).deleted


def files(sdk):
    made = [complete(sdk.files.create(file=(name, b"x"), purpose="user_data")) for name in ("a.txt", "b.txt")]
    ids = [each.id for each in made]
    listed(sdk.files.list, ids=ids)
    assert complete(sdk.files.retrieve(ids[0])) == made[0]
    assert sdk.files.content(ids[0]).read() == b"x"
    assert complete(sdk.files.delete(ids[1])).deleted


def test_every_route_is_driven_by_the_sdk_and_answers_what_the_document_says(watch):
    watched = watch(model)
    sdk = watched.sdk
    files(sdk)
    assistant = assistants(sdk)
    runs(sdk, messages(sdk), assistant)
    responses(sdk, conversations(sdk))
    slow = watch(Waiting())
    response = slow.sdk.responses.create(model="gpt-5", input="Hello", background=True)
    assert complete(slow.sdk.responses.cancel(response.id)).status == "cancelled"
    routes = watched.api.server._http._listener.application.url_map.iter_rules()
    offered = {rule.endpoint for rule in routes if rule.endpoint.startswith(("assistants.", "responses.", "files."))}
    assert offered == set(SCHEMAS) == watched.driven | slow.driven


MISSING = [
    lambda sdk: sdk.beta.assistants.retrieve("asst_x"),
    lambda sdk: sdk.beta.assistants.update("asst_x", name="a"),
    lambda sdk: sdk.beta.assistants.delete("asst_x"),
    lambda sdk: sdk.beta.threads.retrieve("thread_x"),
    lambda sdk: sdk.beta.threads.update("thread_x", metadata={}),
    lambda sdk: sdk.beta.threads.delete("thread_x"),
    lambda sdk: sdk.beta.threads.messages.create("thread_x", role="user", content="x"),
    lambda sdk: sdk.beta.threads.messages.list("thread_x"),
    lambda sdk: sdk.beta.threads.messages.retrieve("msg_x", thread_id="thread_x"),
    lambda sdk: sdk.beta.threads.messages.update("msg_x", thread_id="thread_x", metadata={}),
    lambda sdk: sdk.beta.threads.messages.delete("msg_x", thread_id="thread_x"),
    lambda sdk: sdk.beta.threads.runs.create("thread_x", assistant_id="asst_1"),
    lambda sdk: sdk.beta.threads.runs.list("thread_x"),
    lambda sdk: sdk.beta.threads.runs.retrieve("run_x", thread_id="thread_x"),
    lambda sdk: sdk.beta.threads.runs.update("run_x", thread_id="thread_x", metadata={}),
    lambda sdk: sdk.beta.threads.runs.cancel("run_x", thread_id="thread_x"),
    lambda sdk: sdk.beta.threads.runs.submit_tool_outputs("run_x", thread_id="thread_x", tool_outputs=[]),
    lambda sdk: sdk.beta.threads.runs.steps.list("run_x", thread_id="thread_x"),
    lambda sdk: sdk.beta.threads.runs.steps.retrieve("step_x", thread_id="thread_x", run_id="run_x"),
    lambda sdk: sdk.beta.threads.create_and_run(assistant_id="nobody"),
    lambda sdk: sdk.conversations.retrieve("conv_x"),
    lambda sdk: sdk.conversations.update("conv_x", metadata={}),
    lambda sdk: sdk.conversations.delete("conv_x"),
    lambda sdk: sdk.conversations.items.create("conv_x", items=[{"role": "user", "content": "x"}]),
    lambda sdk: sdk.conversations.items.list("conv_x"),
    lambda sdk: sdk.conversations.items.retrieve("item_x", conversation_id="conv_x"),
    lambda sdk: sdk.conversations.items.delete("item_x", conversation_id="conv_x"),
    lambda sdk: sdk.responses.create(model="m", input="x", conversation="conv_x"),
    lambda sdk: sdk.responses.retrieve("resp_x"),
    lambda sdk: sdk.responses.retrieve("resp_x", stream=True),
    lambda sdk: sdk.responses.delete("resp_x"),
    lambda sdk: sdk.responses.cancel("resp_x"),
    lambda sdk: sdk.responses.input_items.list("resp_x"),
    lambda sdk: sdk.files.retrieve("file-x"),
    lambda sdk: sdk.files.content("file-x"),
    lambda sdk: sdk.files.delete("file-x"),
]


def test_unknown_ids_are_a_404_on_every_route(watch):
    sdk = watch().sdk
    for call in MISSING:
        with pytest.raises(openai.NotFoundError) as caught:
            call(sdk)
        assert "found" in caught.value.message


def test_without_the_key_every_route_is_closed(watch):
    sdk = watch(key="sk-wrong", api_key="sk-right").sdk
    for call in MISSING:
        with pytest.raises(openai.AuthenticationError) as caught:
            call(sdk)
        assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("call", "param"),
    [
        (lambda sdk, **bad: sdk.beta.assistants.create(model="m", **bad), "temperature"),
        (lambda sdk, **bad: sdk.beta.threads.create_and_run(assistant_id="asst_1", **bad), "temperature"),
        (lambda sdk, **bad: sdk.responses.create(model="m", input="x", **bad), "temperature"),
    ],
)
@pytest.mark.parametrize("value", [-0.1, 2.1, "hot", True, [], {}])
def test_an_invalid_temperature_is_a_400_with_its_param(watch, call, param, value):
    with pytest.raises(openai.BadRequestError) as caught:
        call(watch().sdk, temperature=value)
    assert caught.value.param == param


RUN_OPTIONS = [
    ({"top_p": 2}, "top_p"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": 7}, "response_format"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
    ({"tool_choice": "some"}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ({"truncation_strategy": "auto"}, "truncation_strategy"),
    ({"truncation_strategy": {}}, "truncation_strategy.type"),
    ({"truncation_strategy": {"type": "some"}}, "truncation_strategy.type"),
    ({"truncation_strategy": {"type": "auto", "last_messages": 0}}, "truncation_strategy.last_messages"),
    ({"max_completion_tokens": 255}, "max_completion_tokens"),
    ({"max_prompt_tokens": 1.5}, "max_prompt_tokens"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 7}}]}, "tools[0].function.parameters"),
    ({"tools": [{"type": "function", "function": {"name": "f", "strict": 7}}]}, "tools[0].function.strict"),
]
RESPONSE_OPTIONS = [
    ({"max_tool_calls": 0}, "max_tool_calls"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"reasoning": "low"}, "reasoning"),
    ({"safety_identifier": "x" * 65}, "safety_identifier"),
    ({"service_tier": "best"}, "service_tier"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
    ({"text": {"verbosity": "chatty"}}, "text.verbosity"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.mode"),
    ({"tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"truncation": "some"}, "truncation"),
    ({"user": 7}, "user"),
]


@pytest.mark.parametrize(("body", "param"), RUN_OPTIONS)
def test_an_invalid_option_of_a_run_is_refused_with_its_param(api, body, param):
    assert api.error("POST", "/threads/runs", 400, json={"assistant_id": "asst_1"} | body)["param"] == param


@pytest.mark.parametrize(("body", "param"), RESPONSE_OPTIONS)
def test_an_invalid_option_of_a_response_is_refused_with_its_param(api, body, param):
    assert api.error("POST", "/responses", 400, json={"model": "m", "input": "x"} | body)["param"] == param


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
        {
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get"}]},
            "tools": FLAT,
        },
        {"tool_choice": {"type": "function", "name": "get"}, "tools": FLAT, "top_logprobs": 0, "temperature": None},
        {"temperature": 0, "top_p": 1, "seed": 7, "stop": ["END"], "frequency_penalty": 1, "presence_penalty": -1},
        {
            "service_tier": "flex",
            "truncation": "auto",
            "user": "somebody",
            "safety_identifier": "x",
            "max_tool_calls": 2,
        },
    ],
)
def test_options_of_a_response_come_back_as_the_document_says(api, body):
    checked("Response", api.post("/responses", {"model": "m", "input": "x"} | body))


@pytest.mark.parametrize(
    "body",
    [
        {"response_format": {"type": "json_object"}, "temperature": 0, "top_p": 1, "tools": NESTED},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}},
        {
            "tool_choice": {"type": "function", "function": {"name": "get"}},
            "tools": NESTED,
            "parallel_tool_calls": False,
        },
        {"reasoning_effort": "low", "seed": 7, "stop": "END", "frequency_penalty": 1, "presence_penalty": -1},
        {"truncation_strategy": {"type": "last_messages", "last_messages": 3}, "max_prompt_tokens": 256},
    ],
)
def test_options_of_a_run_come_back_as_the_document_says(api, body):
    checked("RunObject", api.post("/threads/runs", {"assistant_id": "asst_1"} | body))


NOT_OFFERED = [
    lambda sdk: sdk.uploads.create(bytes=1, filename="a.txt", mime_type="text/plain", purpose="user_data"),
    lambda sdk: sdk.vector_stores.create(),
    lambda sdk: sdk.vector_stores.files.list("vs_x"),
    lambda sdk: sdk.moderations.create(input="x"),
    lambda sdk: sdk.embeddings.create(input="x", model="m"),
    lambda sdk: sdk.chat.completions.create(messages=[], model="m"),
    lambda sdk: sdk.completions.create(prompt="x", model="m"),
    lambda sdk: sdk.images.generate(prompt="x"),
    lambda sdk: sdk.models.list(),
    lambda sdk: sdk.batches.list(),
    lambda sdk: sdk.fine_tuning.jobs.list(),
    lambda sdk: sdk.responses.compact(model="m", input="x"),
    lambda sdk: sdk.responses.create(model="m", input="x", tools=[{"type": "web_search"}]),
    lambda sdk: sdk.responses.create(model="m", input="x", tool_choice={"type": "file_search"}),
    lambda sdk: sdk.responses.create(model="m", prompt={"id": "pmpt_x"}),
    lambda sdk: sdk.beta.assistants.create(model="m", tools=[{"type": "code_interpreter"}]),
    lambda sdk: sdk.beta.assistants.create(model="m", tool_resources={"file_search": {"vector_store_ids": ["vs_x"]}}),
    lambda sdk: sdk.beta.threads.create_and_run(assistant_id="asst_1", tools=[{"type": "file_search"}]),
]


@pytest.mark.parametrize("call", NOT_OFFERED)
def test_requests_that_are_not_offered_get_an_error_that_says_so(watch, call):
    with pytest.raises(openai.InternalServerError) as caught:
        call(watch().sdk)
    assert caught.value.status_code == 501
    assert caught.value.code == "not_offered"
    assert "not offered by this server" in caught.value.message


def test_empty_tool_resources_are_accepted(api):
    resources = {"code_interpreter": {"file_ids": []}, "file_search": None}
    assert api.post("/threads", {"tool_resources": resources})["tool_resources"] == {
        "code_interpreter": {"file_ids": []}
    }


# --- streams --------------------------------------------------------------------------------------------------------


class Told(openai.AssistantEventHandler):
    def __init__(self):
        super().__init__()
        self.told = []

    def on_tool_call_done(self, tool_call):
        self.told.append((tool_call.function.name, tool_call.function.arguments))

    def on_text_delta(self, delta, snapshot):
        self.told.append((delta.value, snapshot.value))

    def on_message_done(self, message):
        self.told.append(message.content[0].text.value)

    def on_run_step_done(self, run_step):
        self.told.append(run_step.type)


def test_runs_are_streamed_through_the_helpers_of_the_sdk(watch):
    threads = watch(model).sdk.beta.threads
    thread = threads.create(messages=[{"role": "user", "content": "Hello"}]).id
    with threads.runs.stream(thread_id=thread, assistant_id="asst_1", tools=NESTED, event_handler=Told()) as stream:
        run = stream.get_final_run()
    assert (run.status, stream.told[0]) == ("requires_action", ("get", '{"a":1}'))
    outputs = [{"tool_call_id": run.required_action.submit_tool_outputs.tool_calls[0].id, "output": "12"}]
    with threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread, tool_outputs=outputs, event_handler=Told()
    ) as stream:
        [message] = stream.get_final_messages()
    assert stream.told == ["tool_calls", ("Got ['12'].",) * 2, "Got ['12'].", "message_creation"]
    assert message.content[0].text.value == "Got ['12']."
    assert threads.messages.retrieve(message.id, thread_id=thread) == message
    with threads.create_and_run_stream(assistant_id="asst_1") as stream:
        assert "".join(stream.text_deltas) == "You said: "
    for tools, last in (([], "thread.run.completed"), (NESTED, "thread.run.requires_action")):
        events = threads.create_and_run(assistant_id="asst_1", tools=tools, stream=True)
        assert [complete(event).event for event in events][-1] == last


def test_responses_are_streamed_through_the_helpers_of_the_sdk(watch):
    sdk = watch(model).sdk
    with sdk.responses.stream(model="gpt-5", input="Hello", tools=FLAT) as stream:
        kinds = [event.type for event in stream]
        [call] = stream.get_final_response().output
    assert "response.function_call_arguments.delta" in kinds
    assert (call.name, call.arguments) == ("get", '{"a":1}')
    events = list(sdk.responses.create(model="gpt-5", input="Hello", stream=True, background=True))
    assert [complete(event).sequence_number for event in events] == list(range(len(events)))
    response = events[0].response.id
    with sdk.responses.stream(response_id=response, starting_after=5) as stream:
        again = list(stream)
        assert stream.get_final_response().output_text == "You said: Hello"
    assert [event.sequence_number for event in again] == list(range(6, len(events)))
    rest = list(sdk.responses.retrieve(response, stream=True, starting_after=8))
    assert [event.type for event in rest] == [event.type for event in events[9:]]


@pytest.mark.parametrize("said", ["Hello", "break"])
@pytest.mark.parametrize("tools", [[], FLAT])
def test_every_event_has_the_data_that_the_document_says(serve, said, tools):
    api = serve(model)
    body = {"model": "m", "input": said, "stream": True, "tools": tools}
    events = list(api.stream("POST", "/responses", json=body))
    thread = {"messages": [{"role": "user", "content": said}]}
    body = {"assistant_id": "asst_1", "thread": thread, "tools": NESTED if tools else [], "stream": True}
    events += api.stream("POST", "/threads/runs", json=body)
    for name, data in events:
        checked_event(name, data)
    assert len(events) > 8
