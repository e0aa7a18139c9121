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
]
WORDS = ["user", "assistant", "text", "function", "asst_1", "image_url", "image_file", "", " "]

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
        assert answer["object"]
    else:
        assert answer["error"]["message"]
