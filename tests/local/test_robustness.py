"""The server answers any request with a JSON object, and never with a failure of its own."""

import re
import string

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt_agent_fsm.local import LocalServer, ToolCall
from tests.local.schemas import checked

NAMES = [
    *("role", "content", "metadata", "messages", "thread", "assistant_id", "model", "instructions", "tools", "type"),
    *("text", "function", "name", "tool_outputs", "tool_call_id", "output", "additional_messages", "attachments"),
    *(
        "tool_resources",
        "temperature",
        "stream",
        "image_url",
        "image_file",
        "url",
        "file_id",
        "additional_instructions",
    ),
    *("items", "input", "conversation", "previous_response_id", "background", "store", "max_output_tokens", "id"),
    *("call_id", "arguments", "detail", "refusal", "annotations", "parameters", "strict", "file_data", "filename"),
]
WORDS = [
    *("user", "assistant", "text", "function", "asst_1", "image_url", "image_file", "", " "),
    *("system", "message", "function_call", "function_call_output", "call_1"),
    *("input_text", "output_text", "input_image", "input_file", "refusal"),
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=20),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(NAMES), values, max_size=6) | values
queries = st.dictionaries(
    st.sampled_from(["limit", "order", "after", "before", "run_id", "stream", "starting_after", "include"]),
    st.sampled_from(["asc", "desc", "0", "-1", "7", "1e3", "", "x", "true"]) | st.text(string.printable, max_size=10),
    max_size=3,
)


class World:
    """A server with one object of each kind; deleted ones are created again."""

    def __init__(self, server, session):
        self.server = server
        self.session = session
        rules = server._http._listener.application.url_map.iter_rules()
        methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
        self.routes = [(rule.rule, method) for rule in rules if rule.rule.startswith("/v1") for method in methods]
        self.renew()

    def call(self, method, path, **kwargs):
        url = self.server.base_url.removesuffix("/v1") + path
        return self.session.request(method, url, timeout=10, **kwargs)

    def made(self, path, **body):
        return self.call("POST", f"/v1{path}", json=body).json()["id"]

    def uploaded(self):
        form = {"file": ("a.txt", b"x"), "purpose": (None, "user_data")}
        return self.call("POST", "/v1/files", files=form).json()["id"]

    def first_of(self, path):
        return self.call("GET", f"/v1{path}").json()["first_id"]

    def renew(self):
        said = {"role": "user", "content": "x"}
        thread = self.made("/threads", messages=[said])
        conversation = self.made("/conversations", items=[said])
        self.ids = {
            "assistant_id": self.made("/assistants", model="m"),
            "thread_id": thread,
            "message_id": self.first_of(f"/threads/{thread}/messages"),
            "run_id": self.made(f"/threads/{thread}/runs", assistant_id="asst_1"),
            "step_id": "step_x",
            "conversation_id": conversation,
            "item_id": self.first_of(f"/conversations/{conversation}/items"),
            "response_id": self.made("/responses", model="m", input="x"),
            "file_id": self.uploaded(),
            "_rest": "x/y",
        }

    def path(self, rule):
        """Return a path of the rule, with the ids of existing objects."""
        named = re.sub(r"<any\((\w+)\):name>", r"\1", rule)
        return re.sub(r"<(?:path:)?(\w+)>", lambda found: self.ids[found[1]], named)


@pytest.fixture(scope="module")
def world():
    with LocalServer(lambda _request: [ToolCall("a")]) as server, requests.Session() as session:
        session.trust_env = False
        session.headers.update({"OpenAI-Beta": "assistants=v2"})
        yield World(server, session)


def check(response):
    """Check that an answer does not come from a failed server."""
    assert response.status_code < 500 or response.status_code == 501, response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        *_, last = (line for line in response.text.split("\n") if line.startswith("event: "))
        assert last in ("event: done", "event: response.completed")
        return
    if response.headers["content-type"] == "application/octet-stream":
        assert response.content == b"x"
        return
    answer = response.json()
    if response.status_code == 200:
        assert answer.get("object") or answer["type"]
    else:
        assert answer["error"]["message"]


@settings(max_examples=400, deadline=None)
@given(data=st.data(), body=bodies, query=queries)
def test_no_request_makes_the_server_fail(world, data, body, query):
    rule, method = data.draw(st.sampled_from(world.routes))
    response = world.call(method, world.path(rule), json=body, params=query)
    check(response)
    if method == "DELETE" and response.status_code == 200:
        world.renew()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), body=st.binary(max_size=50))
def test_no_bytes_make_the_server_fail(world, data, body):
    rule, _ = data.draw(st.sampled_from(world.routes))
    check(world.call("POST", world.path(rule), data=body))


OPTIONS = [
    *("temperature", "top_p", "response_format", "tool_choice", "parallel_tool_calls", "metadata", "instructions"),
    *("truncation_strategy", "max_completion_tokens", "max_prompt_tokens", "thread", "additional_instructions"),
    *("reasoning", "text", "truncation", "service_tier", "top_logprobs", "max_output_tokens", "user", "name"),
    *("background", "store", "previous_response_id", "prompt", "include", "max_tool_calls", "safety_identifier"),
    *("seed", "stop", "frequency_penalty", "presence_penalty", "reasoning_effort", "moderation", "stream_options"),
    *(
        "context_management",
        "prompt_cache_retention",
        "prompt_cache_options",
        "top_k",
        "logit_bias",
        "additional_messages",
    ),
]
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
CHOICES = [
    {"type": "function", "name": "f", "function": {"name": "f"}},
    {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
]
SCHEMAS_ASKED = [
    {"format": SCHEMA},
    SCHEMA | {"json_schema": SCHEMA},
    {"type": "json_schema", "json_schema": {"schema": 7}},
]
PLAIN = ["auto", "none", "required", "low", True, False, 0, 1, 0.5, 256, {"type": "auto"}, {"a": "b"}, ["x"]]
likely = st.sampled_from([*PLAIN, *CHOICES, *SCHEMAS_ASKED])
tools = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["function", "function", "file_search", 7])},
        optional={
            "function": st.fixed_dictionaries(
                {"name": st.just("f")}, optional={"parameters": values, "strict": values}
            ),
            "name": st.just("f"),
            "parameters": values,
            "strict": values,
        },
    ),
    max_size=2,
)
wishes = st.fixed_dictionaries(
    {"stream": st.sampled_from([False, False, True])},
    optional={"tools": tools} | dict.fromkeys(OPTIONS, likely | values),
)
SCHEMAS = {"/threads/runs": "RunObject", "/responses": "Response", "/assistants": "AssistantObject"}


NOTHING_SAID = {"type": "function", "function": {"name": "f", "parameters": None, "description": None, "strict": None}}


@settings(max_examples=400, deadline=None)
@example(wish={"stream": False, "tools": [NOTHING_SAID]}, path="/threads/runs")
@given(wish=wishes, path=st.sampled_from([*SCHEMAS, "/responses/input_tokens"]))
def test_no_option_makes_the_server_fail_and_accepted_ones_are_answered_as_the_document_says(world, wish, path):
    body = {"assistant_id": "asst_1", "model": "m", "input": "x"} | wish
    response = world.call("POST", f"/v1{path}", json=body)
    check(response)
    if response.status_code == 200 and path in SCHEMAS and response.headers["content-type"] == "application/json":
        checked(SCHEMAS[path], response.json())


parts = st.dictionaries(
    st.sampled_from(
        ["type", "text", "refusal", "image_url", "file_id", "file_url", "annotations", "detail", "file_data"]
    ),
    st.sampled_from(
        ["input_text", "output_text", "input_image", "input_file", "refusal", "http://x/y.png", "x", "", None, 7, []]
    ),
)
contents = st.sampled_from(["x", "", None, 7]) | st.lists(parts, max_size=3)
items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            [
                "message",
                "function_call",
                "function_call_output",
                "reasoning",
                "item_reference",
                "web_search_call",
                None,
                7,
            ]
        ),
        "id": st.sampled_from(["msg_x", "", None, 7]),
        "summary": contents,
        "role": st.sampled_from(["user", "assistant", "system", "tool", None]),
        "content": contents,
        "output": contents,
        "call_id": st.sampled_from(["call_1", "call_2", "", None, 7]),
        "name": st.sampled_from(["get", "", None, {}]),
        "arguments": st.sampled_from(["{}", "", None, {}]),
    },
)


@settings(max_examples=200, deadline=None)
@given(given_items=st.lists(items, max_size=3) | contents, on_conversation=st.booleans(), stays=st.booleans())
def test_no_items_make_the_server_fail(world, given_items, on_conversation, stays):
    conversation = {"conversation": world.ids["conversation_id"]} if on_conversation else {}
    body = {"model": "m", "input": given_items, "store": stays} | conversation
    for path, sent in (("/responses", body), ("/conversations", {"items": given_items})):
        response = world.call("POST", f"/v1{path}", json=sent)
        assert response.status_code in (200, 400) or "Item with id 'msg_x' not found" in response.text
        assert response.json().get("object") or response.json()["error"]["message"]
