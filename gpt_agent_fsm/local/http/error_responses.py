"""The error responses of the API. If the text of the real service is known, the error has this text."""

from typing import Any


class ApiProblem(Exception):
    """An error answer to a request. Code that handles a request may raise it at any place.

    The transaction of the request is then rolled back, and the client gets a JSON error object.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind

    def body(self) -> dict[str, Any]:
        """Return the JSON error object for the client."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiProblem:
    """Return a 400, for a request that the client must change."""
    return ApiProblem(400, message, param=param, code=code)


def not_found(what: str, object_id: str, advice: str = "") -> ApiProblem:
    """Return the 404 for an unknown id. `what` is a noun, such as `thread`. `advice` is the end of the sentence."""
    return ApiProblem(404, f"No {what} found with id '{object_id}'{advice}.")


def unknown(what: str, object_id: str, where: str = "") -> ApiProblem:
    """Return the 404 for an unknown id in the words of the Responses API.

    `what` is a noun, such as `Conversation`. `where` is the end of the sentence.
    """
    return ApiProblem(404, f"{what} with id '{object_id}' not found{where}.")


def no_streams() -> ApiProblem:
    """Return the 400 for `stream: true` in a request that cannot be answered with a stream."""
    return bad_request("This request is not answered by a stream: leave 'stream' out or false.", "stream")


def not_offered(what: str, param: str | None = None) -> ApiProblem:
    """Return the 501 for a feature that only the real service has.

    `what` is the beginning of the message, such as `Batches are`.
    """
    message = (
        f"{what} not offered by this server: it has assistants, threads, runs, conversations, responses and files."
    )
    return ApiProblem(501, message, param=param, code="not_offered")


def closing() -> ApiProblem:
    """Return the 503 of a server that is being closed."""
    return ApiProblem(503, "The server is closing.", kind="server_error")


def database_locked() -> ApiProblem:
    """Return the 503 for a request that had no effect because another program has a lock on the database."""
    return ApiProblem(503, "Another program has locked the server's database: try again soon.", kind="server_error")


def missing(param: str) -> ApiProblem:
    """Return the 400 for a missing required parameter."""
    return bad_request(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def wrong_type(param: str, expected: str, value: object) -> ApiProblem:
    """Return the 400 for a parameter of the wrong type. `expected` is a noun with its article, such as `a string`."""
    return bad_request(
        f"Invalid type for '{param}': expected {expected}, but got {_json_type(value)} instead.", param, "invalid_type"
    )


def wrong_value(param: str, value: str, supported: str) -> ApiProblem:
    """Return the 400 for a value that is not among the supported ones."""
    return bad_request(f"Invalid value: '{value[:100]}'. Supported values are: {supported}.", param, "invalid_value")


def _json_type(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")
