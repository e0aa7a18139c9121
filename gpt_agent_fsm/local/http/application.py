"""Makes the Flask application: the checks of every request, the error responses, and one log line per request."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import flask
import msgspec
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.http.error_responses import ApiProblem
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)

MAX_BODY = 8 * 1024 * 1024
"""The largest body of a request, in bytes."""

HEALTH = "/healthz"
"""The path of the health check, which is answered with 200 if the server can answer requests."""

_SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"


class _Json(JSONProvider):
    """Encodes the dicts that handlers return as JSON, faster than Flask's own provider."""

    def response(self, *args: object, **_kwargs: object) -> flask.Response:
        return flask.Response(msgspec.json.encode(args[0]), mimetype="application/json")


def create_app(
    *blueprints: flask.Blueprint,
    check_health: Callable[[], object],
    errors: Mapping[type[Exception], Callable[[Any], ApiProblem]],
    check_access: Callable[[], None],
    log_level: int = logging.DEBUG,
) -> flask.Flask:
    """Return the application that serves these blueprints under `/v1`, and `/healthz` without a check of access.

    `check_health` raises if the server cannot answer, and `check_access` raises if the current request must be refused.
    `errors` maps exception types to functions that return the error response for such an exception of a handler. Each
    request is logged in one line, at `log_level`.
    """
    app = flask.Flask("gpt_agent_fsm.local", static_folder=None)
    app.json = _Json(app)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    # A wrong path is a 404, never a redirect.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.before_request(_remember_start)
    app.before_request(partial(_check_request, check_access))
    app.after_request(partial(_finish, log_level=log_level))
    for error, handler in ((ApiProblem, _problem), (HTTPException, _http_error), (Exception, _unexpected)):
        app.register_error_handler(error, handler)
    for known, translate in errors.items():
        app.register_error_handler(known, partial(_translated, translate))
    for blueprint in blueprints:
        app.register_blueprint(blueprint, url_prefix="/v1")

    @app.get(HEALTH)
    def healthz() -> dict[str, str]:
        check_health()
        return {"status": "ok"}

    return app


def _remember_start() -> None:
    flask.g.started = time.perf_counter()


def _check_request(check_access: Callable[[], None]) -> None:
    if not flask.request.path.startswith("/v1/"):
        return
    check_access()
    encoding = flask.request.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in ("", "identity") and flask.request.content_length:
        raise ApiProblem(
            415,
            f"The body has the encoding '{encoding[:100]}', which this server does not read: send it without "
            "Content-Encoding.",
            code="unsupported_content_encoding",
        )


def _finish(response: flask.Response, *, log_level: int) -> flask.Response:
    response.headers["x-request-id"] = request_id = ids.new_id("req")
    # The path contains only ids; message texts are in bodies, which are never logged. Quoting removes line breaks.
    if logger.isEnabledFor(log_level):
        milliseconds = (time.perf_counter() - flask.g.started) * 1000
        request = flask.request
        line = (request.method, quote(request.path), response.status_code, milliseconds, request_id)
        logger.log(log_level, "%s %s %d %.1f ms %s", *line)
    return response


def _problem(problem: ApiProblem) -> tuple[dict[str, Any], int]:
    return problem.body(), problem.status


def _translated(translate: Callable[[Any], ApiProblem], error: Exception) -> tuple[dict[str, Any], int]:
    return _problem(translate(error))


def _http_error(error: HTTPException) -> tuple[dict[str, Any], int]:
    request = flask.request
    status = error.code or 500
    messages = {
        404: f"Invalid URL ({request.method} {request.path})",
        405: f"Not allowed to {request.method} on {request.path}.",
        413: f"The request is too large: its body may have at most {request.max_content_length} bytes.",
    }
    return _problem(ApiProblem(status, messages.get(status, error.description or error.name)))


def _unexpected(error: Exception) -> tuple[dict[str, Any], int]:
    logger.error("A request failed", exc_info=error)
    return _problem(ApiProblem(500, _SERVER_ERROR, kind="server_error"))
