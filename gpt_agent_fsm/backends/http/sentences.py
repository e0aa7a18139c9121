"""The sentences for people about HTTP answers that are errors. The module `outcomes` chooses the errors themselves."""

from __future__ import annotations

import re

from gpt_agent_fsm.backends.http.answers import HttpAnswer
from gpt_agent_fsm.backends.http.error_bodies import ErrorBody, shorten

__all__ = ["about_error", "about_unusable", "names_unknown_path"]

# The texts that web frameworks send for an unknown path.
_NO_SUCH_PATH = re.compile(
    r"(not found|method not allowed)\.?|(invalid|unknown) (url|path|route|endpoint)\b.*|unexpected endpoint\b.*"
    r"|unrecognized request url\b.*|cannot (get|post)\b.*|no route\b.*",
    re.I | re.S,
)


def about_error(answer: HttpAnswer, said: ErrorBody) -> str:
    """Return the sentence for an HTTP answer with a status of 300 or more."""
    status, through = answer.status, f" through the proxy {answer.proxy}" if answer.proxy else ""
    if 300 <= status < 400:
        target = answer.headers.get("location", "another address").split("?")[0]
        return f"{answer.url} redirects to {shorten(target)}; use the base URL of the API itself."
    if status == 407:
        return f"The proxy {answer.proxy} wants a user name and a password; put them into HTTP_PROXY and HTTPS_PROXY."
    if status in (401, 403):
        what = "token from auth is out of date," if answer.credentials == "auth" else "API key is missing,"
        advice = f"The {what} wrong, or may not do this; check {answer.credentials}"
        return f"{advice}; the server{through} says: {said.summary}"
    elsewhere = names_unknown_path(answer, said)
    if said.structured and not elsewhere:
        return said.summary
    return f"{answer.method} {answer.url}{through} was answered with {said.quoted}{answer.hint if elsewhere else ''}"


def names_unknown_path(answer: HttpAnswer, said: ErrorBody) -> bool:
    """Return whether the server probably does not have the path of the request.

    In this case, the API may be at another address.
    """
    no_such_path = not said.structured or _NO_SUCH_PATH.fullmatch(said.message.strip())
    return answer.status in (404, 405, 501) and bool(no_such_path)


def about_unusable(answer: HttpAnswer, said: ErrorBody, reason: Exception) -> str:
    """Return the sentence for an HTTP answer that has a good status, but cannot be read. `reason` says why."""
    if answer.is_html:
        what = "an HTML page"
    elif not answer.body.strip():
        what = "empty"
    elif said.structured and b'"error"' in answer.body:
        what = f"an error ({said.summary})"
    else:
        what = f"not what the API promises ({reason})"
    return f"The answer to {answer.method} {answer.url} is {what}{answer.hint}"
