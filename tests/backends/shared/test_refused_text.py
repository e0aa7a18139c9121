"""A message is dropped only if its own text was refused, in whatever way the server names the text."""

import pytest

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.shared.refused_text import name_refused_text
from gpt_agent_fsm.errors import RequestRefused
from tests.backends.conftest import BASE_URL

TOO_LONG = "string too long. Expected a string with maximum length 256000."
THE_TEXT = [
    "content",
    "content[0]",
    "content[0].text",
    "content.0.text.value",
    "items[0]",
    "items.0",
    "items[0].content",
    "items[0].content[0].text",
    "items.0.Message.content.0.input_text.text",
    "input[0].content",
    "body.items[0].content",
    "$.items[0].content",
    "/items/0/content",
]
SOMETHING_ELSE = [
    "model",
    "tools",
    "metadata",
    "metadata.content",
    "role",
    "items",
    "items[0].role",
    "items[0].type",
    "items[0].metadata",
    "items[0].metadata.content",
    "items[1]",
    "input",
    "contents",
    "metadata[0].content",
    "",
]


def param_of(message, code=None, param=None, status=400):
    error = RequestRefused(status, code, message, param=param)
    name_refused_text(error)
    return error.param


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("param", THE_TEXT)
def test_a_parameter_of_the_text_is_called_content(param, status):
    assert param_of("No.", "string_above_max_length", param, status) == "content"
    assert param_of("No.", None, param, status) == "content"
    assert param_of(f"Invalid '{param}': {TOO_LONG}", status=status) == "content"


@pytest.mark.parametrize("param", [None, "url", "items[0].content[1].image_url"])
@pytest.mark.parametrize("code", ["invalid_image_url", "image_too_large", "failed_to_download_image"])
def test_a_refused_image_is_refused_content_whatever_the_parameter_is_called(code, param):
    assert param_of("No.", code, param) == "content"


@pytest.mark.parametrize("param", SOMETHING_ELSE)
def test_another_parameter_keeps_its_name(param):
    assert param_of("No.", None, param) == param
    assert param_of(f"Invalid '{param}': {TOO_LONG}") is None


@pytest.mark.parametrize("param", [None, "items", "input", "prompt"])
@pytest.mark.parametrize("code", ["string_above_max_length", "content_filter", "context_length_exceeded"])
def test_if_the_parameter_says_nothing_the_code_decides(code, param):
    assert param_of("No.", code, param) == "content"
    assert param_of("No.", "invalid_value", param) == param


@pytest.mark.parametrize("param", ["metadata", "items[0].metadata.note", "model"])
def test_a_long_string_elsewhere_is_not_the_text(param):
    assert param_of(f"Invalid '{param}': {TOO_LONG}", "string_above_max_length", param) == param
    assert param_of(f"Invalid '{param}': {TOO_LONG}", "string_above_max_length") is None


@pytest.mark.parametrize("status", [404, 501])
def test_other_statuses_do_not_speak_of_the_text(status):
    assert param_of("No.", "string_above_max_length", "items[0].content", status) == "items[0].content"


@pytest.mark.parametrize(
    ("make", "path", "param"),
    [
        (lambda: AssistantsBackend(BASE_URL, "k"), "threads/t/messages", None),
        (lambda: ResponsesBackend(BASE_URL, "k", assistants={}), "conversations/t/items", "items[0].content[0].text"),
    ],
)
def test_both_backends_name_the_text_of_a_refused_message(requests_mock, make, path, param):
    body = {"error": {"message": TOO_LONG, "code": "string_above_max_length", "param": param}}
    requests_mock.post(f"{BASE_URL}/{path}", status_code=400, json=body)
    with pytest.raises(RequestRefused) as refused:
        make().post_message("t", "long", key="k", timeout=5)
    assert refused.value.param == "content"
