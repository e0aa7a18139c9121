"""Whatever is sent to it, the server answers with a JSON object and never with a failure of its own."""

import string

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_agent_fsm.local import LocalServer, ToolCall

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
routes = st.sampled_from(
    [
        *("/assistants", "/assistants/{assistant}", "/threads", "/threads/runs", "/threads/{thread}"),
        *("/threads/{thread}/messages", "/threads/{thread}/messages/{message}", "/threads/{thread}/runs"),
        *("/threads/{thread}/runs/{run}", "/threads/{thread}/runs/{run}/cancel"),
        *("/threads/{thread}/runs/{run}/submit_tool_outputs", "/threads/{thread}/runs/{run}/steps"),
        *("/conversations", "/conversations/{conversation}", "/conversations/{conversation}/items"),
        *("/conversations/{conversation}/items/{item}", "/responses", "/responses/{response}"),
        *("/responses/{response}/cancel", "/responses/{response}/input_items"),
    ]
)
queries = st.dictionaries(
    st.sampled_from(["limit", "order", "after", "before", "run_id"]),
    st.sampled_from(["asc", "desc", "0", "-1", "7", "1e3", "", "x"]) | st.text(string.printable, max_size=10),
    max_size=3,
)


@pytest.fixture(scope="module")
def world():
    headers = {"OpenAI-Beta": "assistants=v2"}
    with LocalServer(lambda _request: [ToolCall("a")]) as server, requests.Session() as session:
        session.trust_env = False
        session.headers.update(headers)

        def post(path, body):
            return session.post(server.base_url + path, json=body, timeout=10).json()

        thread = post("/threads", {"messages": [{"role": "user", "content": "x"}]})["id"]
        ids = {
            "assistant": post("/assistants", {"model": "m"})["id"],
            "thread": thread,
            "message": session.get(f"{server.base_url}/threads/{thread}/messages", timeout=10).json()["first_id"],
            "run": post(f"/threads/{thread}/runs", {"assistant_id": "asst_1"})["id"],
        }
        conversation = post("/conversations", {"items": [{"role": "user", "content": "x"}]})["id"]
        ids |= {
            "conversation": conversation,
            "item": session.get(f"{server.base_url}/conversations/{conversation}/items", timeout=10).json()["first_id"],
            "response": post("/responses", {"model": "m", "input": "x"})["id"],
        }
        yield server, session, ids


@settings(max_examples=200, deadline=None)
@given(route=routes, method=st.sampled_from(["POST", "POST", "GET"]), body=bodies, query=queries)
def test_no_request_makes_the_server_fail(world, route, method, body, query):
    server, session, ids = world
    url = server.base_url + route.format(**ids)
    response = session.request(method, url, json=body, params=query, timeout=10)
    assert response.status_code < 500, response.text
    answer = response.json()
    if response.status_code == 200:
        assert answer.get("object") or answer["type"]
    else:
        assert answer["error"]["message"]


parts = st.dictionaries(
    st.sampled_from(["type", "text", "refusal", "image_url", "file_id", "annotations", "detail"]),
    st.sampled_from(["input_text", "output_text", "input_image", "refusal", "x", "", None, 7, []]),
)
contents = st.sampled_from(["x", "", None, 7]) | st.lists(parts, max_size=3)
items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning", None, 7]),
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
    server, session, ids = world
    conversation = {"conversation": ids["conversation"]} if on_conversation else {}
    body = {"model": "m", "input": given_items, "store": stays} | conversation
    for path, sent in (("/responses", body), ("/conversations", {"items": given_items})):
        response = session.post(server.base_url + path, json=sent, timeout=10)
        assert response.status_code in (200, 400), response.text
        assert response.json().get("object") or response.json()["error"]["message"]
