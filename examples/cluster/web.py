"""A web application for many processes: POST {"text": "Hello"} to /users/NAME/messages.

Any process answers for any user. The workers (`gpt-agent-fsm worker`) drive the threads, and this application does not.
"""

import atexit
import os
import threading
from typing import Any

import flask
from bot import ASSISTANTS

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.errors import RunError, WaitTimeout
from gpt_agent_fsm.events import AssistantMessageAdded

app = flask.Flask(__name__)
lock = threading.Lock()
made: list[Runtime] = []


def the_runtime() -> Runtime:
    """Return the runtime of this process. It is created at the first request, because OS threads do not survive a fork.

    The lock makes sure that only one runtime is created if two first requests arrive at the same time.
    """
    with lock:
        if not made:
            store = Cluster(os.environ["GPT_AGENT_STORE"])
            made.append(Runtime(ResponsesBackend(assistants=ASSISTANTS), store=store))
            atexit.register(made[0].close)
        return made[0]


@app.post("/users/<name>/messages")
def say(name: str) -> tuple[dict[str, Any], int]:
    """Send a user's message, and return the answer."""
    body = flask.request.get_json()
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        return {"error": 'Send a JSON object with a text, such as {"text": "Hello"}.'}, 400
    agent = the_runtime().start("shop", key=f"user-{name}", tenant=name)
    try:
        answer = agent.ask(text, timeout=60)
    except RunError as error:
        return {"error": error.code}, 502
    except WaitTimeout:
        return {"error": "the answer takes long; it will be in the history"}, 504
    return {"answer": answer.text, "process": os.getpid()}, 200


@app.get("/users/<name>/messages")
def history(name: str) -> list[str]:
    """Return the assistant's messages to a user, oldest first. Makes no request to the model's server."""
    thread_id = the_runtime().find(f"user-{name}")
    records = [] if thread_id is None else the_runtime().history(thread_id)
    return [record.event.content for record in records if isinstance(record.event, AssistantMessageAdded)]
