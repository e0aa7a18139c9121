"""Servers that this backend cannot work with are named as such, and nobody is sent to a base URL that is right."""

import pytest

from gpt_agent_fsm import errors
from gpt_agent_fsm.ports import RunRequest
from tests.backends.responses.samples import BASE, CONVERSATION, QUEUED, RESPONSES, sent

NO_ROUTE = [(404, {"detail": "Not Found"}), (404, {"error": "Unexpected endpoint or method."}), (405, ""), (501, "")]


@pytest.fixture(params=[(405, {"detail": "Method Not Allowed"}), (400, {"error": "Missing id"}), (200, {"data": []})])
def with_responses(request, requests_mock):
    """A server that has /responses, and shows it in one way or another."""
    status, body = request.param
    requests_mock.get(RESPONSES, status_code=status, json=body)
    return requests_mock


@pytest.mark.parametrize(("status", "body"), NO_ROUTE)
def test_a_server_without_conversations_is_named_at_the_first_request(backend, with_responses, status, body):
    with_responses.post(f"{BASE}/conversations", status_code=status, json=body)
    with pytest.raises(errors.RequestRefused) as refused:
        backend.create_thread(timeout=5)
    assert (refused.value.status, refused.value.message) == (
        status,
        f"{BASE} has /responses but no /conversations, so ResponsesBackend cannot be used with it",
    )
    with_responses.get(CONVERSATION, status_code=status, json=body)
    with pytest.raises(errors.RequestRefused) as refused:
        backend.get_thread("conv_1", timeout=5)
    assert isinstance(refused.value, errors.InvalidThreadId) == (status == 404)
    assert "has /responses but no /conversations, so ResponsesBackend cannot be used" in refused.value.message
    assert "base" not in refused.value.message


def test_the_error_text_of_such_a_server_is_kept(backend, with_responses):
    body = {"error": {"message": "Resource missing here.", "code": "404"}}
    with_responses.post(f"{BASE}/conversations", status_code=404, json=body)
    with pytest.raises(errors.RequestRefused, match=r"no /conversations, .*; the server says: Resource missing here\."):
        backend.create_thread(timeout=5)


@pytest.mark.parametrize("status", [404, 501, 500, 401, 200])
def test_if_there_are_no_responses_either_both_causes_are_named(backend, requests_mock, status):
    requests_mock.get(RESPONSES, status_code=status, text="<html><title>nginx</title>")
    requests_mock.post(f"{BASE}/conversations", status_code=404, text="<html><title>nginx</title>")
    with pytest.raises(errors.RequestRefused) as refused:
        backend.create_thread(timeout=5)
    assert refused.value.message == (
        f"POST {BASE}/conversations was answered with an HTML page titled 'nginx'; the base URL may be wrong: "
        "base_url must be the part of the address before /responses; if the base URL is right, "
        "the server has no /conversations, "
        "which ResponsesBackend needs"
    )


@pytest.mark.parametrize(
    ("status", "body"), [(404, {"error": {"message": "No such conversation."}}), (400, "No."), (500, "")]
)
def test_other_failures_are_not_explained_and_cost_no_request(backend, requests_mock, status, body):
    requests_mock.get(CONVERSATION, status_code=status, json=body)
    with pytest.raises(errors.ApiError) as failed:
        backend.get_thread("conv_1", timeout=5)
    assert "/conversations, " not in failed.value.message
    assert requests_mock.call_count == 1


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (400, {"error": {"message": "input: Input items cannot be empty", "code": 400}}),
        (400, {"error": {"message": "Input must contain at least one item"}}),
        (400, {"error": {"message": "'input' is required."}}),
        (422, {"detail": [{"loc": ["body", "input"], "msg": "List should have at least 1 item, not 0"}]}),
    ],
)
def test_a_server_that_refuses_an_empty_input_is_named_each_time(backend, api, status, complaint):
    missing = {"error": {"message": "missing field `input` at line 1"}}
    api.post(RESPONSES, [{"status_code": 400, "json": missing}, {"status_code": status, "json": complaint}])
    for _ in range(2):
        with pytest.raises(errors.RequestRefused) as refused:
            backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
        assert f"The server at {BASE} does not take an empty input, even with a conversation" in refused.value.message
        assert "ResponsesBackend cannot be used with it" in refused.value.message
        assert "base_url" not in refused.value.message
    assert [body.get("input") for _, body in sent(api)] == [None, [], []]


def test_another_refusal_of_an_empty_input_is_passed_on(backend, api):
    missing = {"error": {"message": "missing field `input` at line 1"}}
    other = {"error": {"message": "The model does not exist."}}
    api.post(RESPONSES, [{"status_code": 400, "json": missing}, {"status_code": 400, "json": other}])
    with pytest.raises(errors.RequestRefused, match=r"^The model does not exist\."):
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    api.post(RESPONSES, json=QUEUED)
    assert (
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5).id == "resp_1"
    )
