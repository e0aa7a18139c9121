"""A status, an error and a reason of a server's become a `RunStatus` in one place."""

import pytest

from gpt_agent_fsm.backends.shared.run_outcomes import RunOutcome, run_outcome
from gpt_agent_fsm.machine.run_status import RunStatus

KNOWN = {"queued": RunStatus.ACTIVE, "completed": RunStatus.COMPLETED}
LIMIT = {"code": "rate_limit_exceeded", "message": "Rate limit reached for gpt-4o."}


def outcome(status, error=None, **details):
    return run_outcome(status, known=KNOWN, error=error, incomplete_details=details)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("queued", RunStatus.ACTIVE),
        (" Completed ", RunStatus.COMPLETED),
        ("processing", RunStatus.ACTIVE),
        ("done", RunStatus.FAILED),
    ],
)
def test_an_undocumented_status_is_an_end_unless_it_sounds_in_progress(status, meaning):
    assert outcome(status).status is meaning


@pytest.mark.parametrize(("error", "details"), [("Broken.", {}), (None, {"reason": "max_tokens"})])
def test_beside_an_error_or_a_reason_it_is_an_end(error, details):
    assert outcome("processing", error, **details).status is RunStatus.FAILED


@pytest.mark.parametrize(
    ("status", "error", "meaning"),
    [
        ("failed", LIMIT, RunStatus.RATE_LIMITED),
        ("expired", LIMIT, RunStatus.FAILED),
        ("failed", LIMIT | {"message": "Too many files."}, RunStatus.FAILED),
        ("error", LIMIT, RunStatus.RATE_LIMITED),
        ("incomplete", LIMIT, RunStatus.FAILED),
        ("cancelled", LIMIT, RunStatus.FAILED),
        ("failed", {"code": 429, "message": "No."}, RunStatus.RATE_LIMITED),
        ("failed", {"type": "rate_limit_error", "message": "No."}, RunStatus.RATE_LIMITED),
        ("failed", {"code": "server_error", "message": "Error code: 429 - Rate limit reached"}, RunStatus.RATE_LIMITED),
        ("failed", {"code": "server_error", "message": "The tool said: rate limit reached"}, RunStatus.FAILED),
        ("failed", LIMIT | {"message": "Your credit balance is too low."}, RunStatus.OUT_OF_QUOTA),
        ("failed", {"code": "billing_hard_limit_reached"}, RunStatus.OUT_OF_QUOTA),
        ("failed", {"code": "insufficient_quota"}, RunStatus.OUT_OF_QUOTA),
        ("failed", "You exceeded your current quota.", RunStatus.OUT_OF_QUOTA),
    ],
)
def test_a_limit_is_recognised_by_its_code_and_its_words(status, error, meaning):
    assert outcome(status, error).status is meaning


def test_the_code_is_the_errors_else_the_reason_else_the_status():
    assert outcome("failed", {"code": "server_error"}, reason="max_tokens").code == "server_error"
    assert outcome("incomplete", reason="max_tokens").code == "max_tokens"
    assert outcome("expired").code == "expired"


def test_the_message_is_never_blank():
    assert outcome("incomplete", {"message": " "}, reason="max_tokens").message == (
        "The run ended as incomplete (max_tokens); the server gave no message."
    )


def test_a_run_that_did_not_fail_has_no_code_and_no_message():
    assert outcome("completed", LIMIT) == RunOutcome(status=RunStatus.COMPLETED, code="", message="")
