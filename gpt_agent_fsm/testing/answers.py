"""Makes HTTP answers that do not come from the API, or that deny a request.

Functions of the HTTP client turn these answers into errors. So a simulation tests those functions, too.
"""

from __future__ import annotations

import json
import random

import attrs

from gpt_agent_fsm.backends.http import outcomes
from gpt_agent_fsm.backends.http.answers import HttpAnswer
from gpt_agent_fsm.backends.http.error_bodies import read_error_body
from gpt_agent_fsm.errors import ApiError

__all__ = ["DENIALS", "PAGE", "FaultyAnswer", "random_gateway_answer", "random_page"]

PAGE = b"<!doctype html><html><head><title>Please wait</title></head></html>"
_REDIRECTS = (301, 302, 303, 307, 308)


@attrs.frozen
class FaultyAnswer:
    """An HTTP answer that makes a request fail."""

    status: int
    body: bytes = PAGE

    def error(self, method: str, path: str) -> ApiError:
        """Return the error that the HTTP client raises for this answer to a request."""
        answer = HttpAnswer(method=method, url=path, status=self.status, headers={}, body=self.body)
        if self.status < 300:
            reason = ValueError("it is not JSON")
            return outcomes.error_for_unreadable(answer, read_error_body(answer), reason)
        return outcomes.error_for_answer(answer)


def _denial(status: int, code: str, kind: str = "invalid_request_error") -> FaultyAnswer:
    said = {"message": f"The request is denied ({code}).", "type": kind, "code": code, "param": None}
    return FaultyAnswer(status, json.dumps({"error": said}).encode())


DENIALS = (
    _denial(401, "invalid_api_key"),
    _denial(403, "unsupported_country_region_territory"),
    _denial(404, "model_not_found"),
    _denial(429, "insufficient_quota", "insufficient_quota"),
)
"""The answers with which an API refuses a run until a person has acted."""

_ERROR = json.dumps({"error": {"message": "The server had an error.", "type": "server_error"}}).encode()


def random_gateway_answer(rng: random.Random) -> FaultyAnswer:
    """Return an HTTP answer of a gateway. The gateway does not know what the server behind it does with the request."""
    kinds = ["error", "redirect", "page", "timeout"]
    match rng.choices(kinds, [6, 2, 2, 1])[0]:
        case "redirect":
            return FaultyAnswer(rng.choice(_REDIRECTS), b"")
        case "page":
            return FaultyAnswer(200)
        case "timeout":
            return FaultyAnswer(408, b"")
    return FaultyAnswer(rng.randint(500, 599), rng.choice([PAGE, _ERROR, b""]))


def random_page(rng: random.Random) -> FaultyAnswer:
    """Return an HTML page with a random status. The page is written for people, not for programs."""
    return FaultyAnswer(rng.choice([200, 302, 401, 403, 404, 418, 502, 503, 520]))
