"""A web application with one conversation for each user: POST {"text": "Hello"} to /users/NAME/messages.

Start it with `flask --app examples/web.py run`. The conversations survive a restart.
"""

import atexit
import threading
from typing import Any

import flask

from gpt_agent_fsm import Assistant, Runtime
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.errors import RunError, WaitTimeout
from gpt_agent_fsm.stores import SQLStore

ASSISTANTS = {"helper": Assistant("gpt-4o", "Be brief.")}
app = flask.Flask(__name__)
lock = threading.Lock()
made: list[Runtime] = []


def the_runtime() -> Runtime:
    """Return the runtime of this process. It is created at the first request, because OS threads do not survive a fork.

    The lock makes sure that only one runtime is created if two first requests arrive at the same time. A second store
    would take the database over from the first one.
    """
    with lock:
        if not made:
            made.append(Runtime(ResponsesBackend(assistants=ASSISTANTS), store=SQLStore("sqlite:///web.db")))
            atexit.register(made[0].close)
        return made[0]


@app.post("/users/<name>/messages")
def say(name: str) -> tuple[dict[str, Any], int]:
    """Send a user's message, and return the answer."""
    body = flask.request.get_json()
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        return {"error": 'Send a JSON object with a text, such as {"text": "Hello"}.'}, 400
    agent = the_runtime().start("helper", key=f"user-{name}")
    try:
        answer = agent.ask(text, timeout=60)
    except RunError as error:
        return {"error": error.code}, 502
    except WaitTimeout:
        return {"error": "the answer takes long; it will be in the history"}, 504
    return {"answer": answer.text, "tokens": answer.usage.total_tokens}, 200


@app.get("/users/<name>/messages")
def history(name: str) -> list[str]:
    """Return the assistant's messages to a user, oldest first."""
    thread_id = the_runtime().find(f"user-{name}")
    records = [] if thread_id is None else the_runtime().history(thread_id)
    return [record.event.content for record in records if type(record.event).__name__ == "AssistantMessageAdded"]
