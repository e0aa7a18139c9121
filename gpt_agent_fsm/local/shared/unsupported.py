"""Answers 501 to requests for features that only the real service has. A 404 would make the URL seem wrong."""

import flask

from gpt_agent_fsm.local.http.error_responses import not_offered

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# The beginning of the error message, by the first part of the path below /v1.
_NAMES = {
    "agents": "Agents are",
    "audio": "Audio is",
    "batches": "Batches are",
    "chat": "Chat completions are",
    "chatkit": "ChatKit is",
    "completions": "Completions are",
    "containers": "Containers are",
    "embeddings": "Embeddings are",
    "evals": "Evals are",
    "fine_tuning": "Fine-tuning is",
    "images": "Images are",
    "models": "Models are",
    "moderations": "Moderations are",
    "organization": "The organization is",
    "realtime": "Realtime is",
    "skills": "Skills are",
    "uploads": "Uploads are",
    "vector_stores": "Vector stores are",
    "videos": "Videos are",
}


def blueprint() -> flask.Blueprint:
    """Return the routes that answer 501, which must be mounted under `/v1`."""
    routes = flask.Blueprint("unsupported", __name__)
    for name in _NAMES:
        for rule in (f"/<any({name}):name>", f"/<any({name}):name>/<path:_rest>"):
            routes.add_url_rule(rule, view_func=_refuse, methods=_METHODS)
    routes.add_url_rule("/responses/compact", view_func=_refuse_compacting, methods=["POST"])
    return routes


def _refuse(name: str, _rest: str = "") -> flask.Response:
    raise not_offered(_NAMES[name])


def _refuse_compacting() -> flask.Response:
    raise not_offered("Compacting is")
