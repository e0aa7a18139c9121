"""Sample answers over this wire, and the requests that were sent."""

from gpt_agent_fsm import Assistant, FunctionTool
from gpt_agent_fsm.machine.objects import ToolCall

BASE = "http://api.test/v1"
CONVERSATION = f"{BASE}/conversations/conv_1"
ITEMS = f"{CONVERSATION}/items"
RESPONSES = f"{BASE}/responses"
ASSISTANTS = {
    "asst_1": Assistant("gpt-4o", "Be brief.", [FunctionTool("measure")]),
    "asst_2": Assistant("gpt-4o-mini", options={"reasoning": {"effort": "low"}}),
}
CALL = ToolCall(id="call_1", name="measure", arguments='{"x":1}')
QUEUED = {"id": "resp_1", "object": "response", "status": "queued", "output": [], "metadata": {}}
ANSWER = {
    "id": "msg_2",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
}
NO_OUTPUT = {"error": {"message": "No tool output found for function call call_1.", "param": "input"}}
LOCKED = {"error": {"message": "Another process is active.", "code": "conversation_locked"}}


def asked(call_id="call_1"):
    number = call_id.removeprefix("call_")
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "call_id": call_id,
        "name": "measure",
        "arguments": '{"x":1}',
        "status": "completed",
    }


def told(call_id="call_1", output="1"):
    return {"id": f"fco_{call_id}", "type": "function_call_output", "call_id": call_id, "output": output}


def said(text="Hello", message_id="msg_1"):
    return {
        "id": message_id,
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }


def response(response_id="resp_1", status="completed", *output, **fields):
    return QUEUED | {"id": response_id, "status": status, "output": list(output)} | fields


def holds(api, *items):
    """Let the conversation hold items, the oldest first."""

    def listed(request, _):
        return {"data": list(items)[:: 1 if request.qs["order"] == ["asc"] else -1], "has_more": False}

    api.get(ITEMS, json=listed)


def sent(api, method="POST"):
    return [(r.url.removeprefix(BASE), r.json()) for r in api.request_history if r.method == method]


def given(api, *items):
    api.get(f"{RESPONSES}/resp_0/input_items", json={"data": list(items)[::-1], "has_more": False})


def poll(backend, api, seen, run_id="resp_1", **how):
    api.get(f"{RESPONSES}/{seen['id']}", json=seen)
    return backend.get_run("conv_1", run_id, **({"handle": seen["id"]} | how), timeout=5)


def last(backend, **how):
    page = backend.list_runs("conv_1", limit=1, **how, timeout=5)
    assert len(page.runs) <= 1
    return next(iter(page.runs), None)
