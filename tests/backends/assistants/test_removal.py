"""OpenAI's own service, from which the API of threads was removed."""

import re

import pytest
from requests_mock import ANY

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.errors import ApiError, InvalidThreadId

REQUESTS = {
    "create_thread": lambda backend: backend.create_thread(timeout=5),
    "get_thread": lambda backend: backend.get_thread("thread_1", timeout=5),
    "publish": lambda backend: backend.publish(Assistant("gpt-4o", name="Guide")),
}
ADVICE = "OpenAI removed the Assistants API from its own service on 2026-08-26; use ResponsesBackend"
UNKNOWN = {"error": {"message": "Invalid URL (POST /v1/threads)", "type": "invalid_request_error"}}


@pytest.fixture
def failure(make, requests_mock):
    def of(base_url, operation, status, body):
        requests_mock.register_uri(ANY, re.compile(".*"), status_code=status, json=body)
        with pytest.raises(ApiError) as caught:
            REQUESTS[operation](make(base_url))
        return caught.value

    return of


@pytest.mark.parametrize("operation", REQUESTS)
@pytest.mark.parametrize("base_url", [None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1"])
@pytest.mark.parametrize("body", [UNKNOWN, {"error": {"message": "Gone"}}, "no JSON object"])
def test_a_404_of_openais_own_service_names_the_other_backend(failure, operation, base_url, body):
    error = failure(base_url, operation, 404, body)
    assert ADVICE in error.message
    assert ADVICE in str(error)
    assert isinstance(error, InvalidThreadId) == (operation == "get_thread")


@pytest.mark.parametrize(
    ("base_url", "status"),
    [
        ("https://my-resource.openai.azure.com/openai", 404),
        ("https://notapi.openai.com.example.com/v1", 404),
        ("https://api.openai.com/v1", 401),
        ("https://api.openai.com/v1", 500),
    ],
)
def test_other_services_and_other_statuses_do_not(failure, base_url, status):
    assert "ResponsesBackend" not in failure(base_url, "create_thread", status, UNKNOWN).message
