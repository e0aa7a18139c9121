"""Checks of the server's answers against OpenAI's own schemas; see tests/openapi/README.md."""

import functools
import json
from pathlib import Path

import pytest

jsonschema = pytest.importorskip("jsonschema")

_FOLDER = Path(__file__).parents[1] / "openapi"
RESPONSES, ASSISTANTS, FILES = DOCUMENTS = tuple(
    json.loads((_FOLDER / name).read_text(encoding="utf-8"))
    for name in ("responses.json", "assistants.json", "files.json")
)


@functools.cache
def _validator(name):
    document = next(each for each in DOCUMENTS if name in each["components"]["schemas"])
    return jsonschema.Draft202012Validator(document | {"$ref": f"#/components/schemas/{name}"})


def faults(name, body):
    return [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(body)]


def checked(name, body):
    """Return the body of an answer that fits the schema."""
    assert faults(name, body) == []
    return body


_OBJECTS = {
    "thread": "ThreadObject",
    "thread.message": "MessageObject",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
}
_TEXT = {"output_text.delta": "TextDelta", "output_text.done": "TextDone"}


def checked_event(name, data):
    """Return the data of a server-sent event that fits its schema."""
    if data == "[DONE]" or (name.endswith(".delta") and name.startswith("thread.")):
        return data  # the document lacks these: the SDK's types have them
    if name.startswith("thread."):
        return checked(_OBJECTS[data["object"]], data)
    words = _TEXT.get(name.removeprefix("response.")) or "".join(
        part.capitalize() for part in name.removeprefix("response.").replace(".", "_").split("_")
    )
    # The schemas spell these two in other words than the names of the events.
    words = words.replace("ImageGeneration", "ImageGen").replace("Mcp", "MCP")
    return checked(f"Response{words}Event", data)
