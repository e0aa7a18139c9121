"""`gpt-agent-fsm serve` in front of a chat-completions server: our runtime and the official SDK converse."""

import json
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from gpt_agent_fsm import Assistant, FunctionTool, Runtime, Settings
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from tests.local.chat_server import ChatServer, call, say

PATIENCE = 30.0
MEASURE = FunctionTool("measure", "Measures.", {"type": "object", "properties": {"of": {"type": "string"}}})
SAM = Assistant("llama3", "Be brief.", [MEASURE], name="Sam")


@pytest.fixture
def served():
    """The address of a server in a process of its own, whose model asks for a tool and then answers."""
    asks = call({"name": "measure", "arguments": '{"of": "Oslo"}'})
    with ChatServer(asks, say("It is 21.")) as upstream:
        command = [sys.executable, "-u", "-m", "gpt_agent_fsm", "serve", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--model", upstream.base_url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines, found, address = [], threading.Event(), []

        def read():
            for line in process.stdout:
                lines.append(line)
                if not address and (match := re.search(r"http://\S+/v1", line)):
                    address.append(match[0])
                    found.set()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        try:
            assert found.wait(PATIENCE), lines
            yield address[0], upstream
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
            reading.join(PATIENCE)
            process.stdout.close()
        assert process.returncode == 0, lines


def upstream_saw(upstream):
    first, second = (asked.body["messages"] for asked in upstream.requests)
    assert [message["role"] for message in first] == ["system", "user"]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "tool"]
    return json.loads(second[-1]["content"])


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_our_own_runtime_completes_a_conversation_with_a_tool(served, wire):
    base_url, upstream = served
    said = []

    def hear(agent, event):
        kind = type(event).__name__
        if kind == "ToolCallRequested":
            assert (event.name, event.arguments) == ("measure", {"of": "Oslo"})
            agent.submit_tool_output(event.id, {"celsius": 21})
        if kind == "AssistantMessageAdded":
            said.append(event.content)

    if wire == "assistants":
        backend = AssistantsBackend(base_url, "any-key")
        assistant_id = backend.publish(SAM)
    else:
        backend, assistant_id = ResponsesBackend(base_url, "any-key", assistants={"sam": SAM}), "sam"
    with Runtime(backend, Settings(heartbeat_interval=0.05)) as runtime:
        agent = runtime.connect(
            thread_id=runtime.create_thread(), assistant_id=assistant_id, last_message_id=None, subscribe=hear
        )
        agent.add_user_message("How warm is it?")
        assert agent.wait(timeout=PATIENCE) == "idle"
    assert said == ["It is 21."]
    assert upstream_saw(upstream) == {"celsius": 21}


def until(poll, *statuses):
    deadline = time.monotonic() + PATIENCE
    while (seen := poll()).status not in statuses:
        assert time.monotonic() < deadline, seen
    return seen


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_official_sdk_completes_a_conversation_over_runs(served):
    openai = pytest.importorskip("openai")
    base_url, upstream = served
    with openai.OpenAI(base_url=base_url, api_key="any-key", max_retries=0) as client:
        function = {"name": "measure", "parameters": {"type": "object"}}
        sam = client.beta.assistants.create(
            model="llama3", instructions="Be brief.", tools=[{"type": "function", "function": function}]
        )
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "How warm is it?"}])
        run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=sam.id, poll_interval_ms=20)
        (asked,) = run.required_action.submit_tool_outputs.tool_calls
        run = client.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id,
            thread_id=thread.id,
            tool_outputs=[{"tool_call_id": asked.id, "output": "21"}],
            poll_interval_ms=20,
        )
        assert run.status == "completed"
        (newest,) = client.beta.threads.messages.list(thread.id, limit=1).data
        assert newest.content[0].text.value == "It is 21."
    assert upstream_saw(upstream) == 21


def test_the_official_sdk_completes_a_conversation_over_responses(served):
    openai = pytest.importorskip("openai")
    base_url, upstream = served
    with openai.OpenAI(base_url=base_url, api_key="any-key", max_retries=0) as client:
        conversation = client.conversations.create()
        about = {
            "model": "llama3",
            "instructions": "Be brief.",
            "conversation": conversation.id,
            "background": True,
            "tools": [{"type": "function", "name": "measure", "parameters": {"type": "object"}, "strict": False}],
        }
        first = client.responses.create(input="How warm is it?", **about)
        first = until(lambda: client.responses.retrieve(first.id), "completed", "failed")
        (asked,) = first.output
        output = {"type": "function_call_output", "call_id": asked.call_id, "output": "21"}
        second = client.responses.create(input=[output], **about)
        second = until(lambda: client.responses.retrieve(second.id), "completed", "failed")
        assert second.output_text == "It is 21."
    assert upstream_saw(upstream) == 21
