"""Rate limits and bills are recognised in one place, whatever their wording and their code."""

import time

import pytest

from gpt_agent_fsm.backends.shared.limits import Limit, limit_of_answer, limit_of_run, wait_named_in

RATE_SENTENCES = [
    "Rate limit reached for gpt-4o in organization org-x on tokens per min: Limit 30000. Please try again in 20s.",
    "Rate limit is exceeded. Try again in 20 seconds.",
    "You've exceeded the rate limit, please slow down and try again after 2.5 seconds.",
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-15-preview have exceeded "
    "token rate limit of your current OpenAI S0 pricing tier. Please retry after 6 seconds.",
    "This request would exceed your organization's rate limit of 30,000 input tokens per minute.",
    "Number of request tokens has exceeded your per-minute rate limit",
    "The rate limit for requests per minute has been reached.",
    "Rate limit reached. Add a payment method at https://platform.openai.com/account/billing to raise your rate limit.",
    "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    "Error code: 429 - {'error': {'message': 'Rate limit reached for m', 'code': 'rate_limit_exceeded'}}",
    "{'message': 'Rate limit reached for m', 'type': 'requests'}",
    '{"error":{"message":"Rate limit reached for m"}}',
    "litellm.RateLimitError: RateLimitError: OpenAIException - slow down",
    "429 Client Error: Too Many Requests for url: https://models.test/v1",
    "The upstream server answered with HTTP 429.",
    "An error occurred (ThrottlingException) when calling the Converse operation: please wait.",
    "Your requests were throttled.",
]
BILL_SENTENCES = [
    "You exceeded your current quota, please check your plan and billing details.",
    "You have exceeded your monthly spend limit.",
    "Error code: 429 - {'error': {'message': 'No.', 'type': 'insufficient_quota', 'code': 'insufficient_quota'}}",
    "Error code: 402 - {'error': {'message': 'No.'}}",
    "402 Payment Required",
    "Billing hard limit has been reached.",
    "Your account is not active, please check your billing details on our website.",
    "Your credit balance is too low to access the API.",
    "Insufficient credits. Add more using https://models.test/credits",
    "Insufficient account balance",
    "This request requires more credits, or fewer max_tokens.",
    "You have no credits left.",
    "Your prepayment credits are depleted.",
    "Your team has either used all available credits or reached its monthly spending limit.",
    "You have reached your specified API usage limits.",
    "Budget has been exceeded! Current cost: 1.0, Max budget: 0.5",
]
SENTENCES = [(text, Limit.RATE) for text in RATE_SENTENCES] + [(text, Limit.BILL) for text in BILL_SENTENCES]
OTHER_SENTENCES = [
    "The server had an error processing your request. Try again in 20 seconds.",
    "Sorry, something went wrong with status 500 after 429 tokens.",
    "The tool said: Rate limit reached",
    "Tool get_weather failed with RateLimitError: Error code: 429",
    "Calling the MCP server failed: 402 Payment Required",
    "The function returned: You exceeded your current quota",
    "'Rate limit exceeded' is not one of the allowed values.",
    'The answer "You exceeded your current quota, please check your plan" is not valid JSON.',
    "The answer “Too many requests” is not valid JSON.",
    "The output is too long; see https://models.test/docs/rate-limits for what may be reached.",
]


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "server_error", "some_proxys_code", ""])
@pytest.mark.parametrize(("text", "limit"), SENTENCES)
def test_a_rate_limit_of_a_run_is_recognised_by_its_words_under_any_code(text, limit, code):
    assert limit_of_run([code], text) is limit
    assert limit_of_run([code], text.upper().replace(" ", "\n ")) is limit


@pytest.mark.parametrize("text", OTHER_SENTENCES)
def test_quoted_words_and_words_of_a_tool_do_not_mean_a_rate_limit(text):
    assert limit_of_run(["server_error"], text) is None
    assert limit_of_answer(400, ["invalid_request_error"], text) is None


@pytest.mark.parametrize("code", ["invalid_prompt", "context_length_exceeded", "tool_error", "content_filter"])
@pytest.mark.parametrize("text", [RATE_SENTENCES[0], BILL_SENTENCES[0]])
def test_a_code_that_names_another_cause_is_believed(code, text):
    assert limit_of_run([code], text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Too many files.",
        "Request too large for gpt-4o on tokens per min: Limit 30000, Requested 40000. The input or output tokens "
        "must be reduced in order to run successfully. Visit https://platform.openai.com/account/rate-limits to learn "
        "more.",
    ],
)
def test_the_code_of_openais_runs_needs_words_because_it_has_other_uses(text):
    assert limit_of_run(["rate_limit_exceeded"], text) is None


@pytest.mark.parametrize(
    "text", ["Slow down.", "No capacity. Try again in 5 seconds.", "It says: 'Rate limit reached'"]
)
def test_beside_that_code_a_hint_or_a_quotation_is_enough(text):
    assert limit_of_run(["rate_limit_exceeded"], text) is Limit.RATE
    assert limit_of_run(["server_error"], text) is None


@pytest.mark.parametrize("code", ["429", "RateLimitError", "litellm.RateLimitError", "throttling_error", "slow_down"])
def test_other_codes_of_a_rate_limit_need_no_words(code):
    assert limit_of_run([code], "No deployments available for the model.") is Limit.RATE
    assert limit_of_run([code], "You exceeded your current quota.") is Limit.BILL
    assert limit_of_answer(400, [code], "No.", param="model") is Limit.RATE


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "InsufficientQuota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "insufficient_credits",
        "budget_exceeded",
        "402",
    ],
)
def test_codes_of_a_bill_need_no_words(code):
    assert limit_of_run(["rate_limit_exceeded", code], "Rate limit reached") is Limit.BILL
    assert limit_of_answer(500, [code], "No.") is Limit.BILL


@pytest.mark.parametrize("status", [400, 401, 403, 429])
@pytest.mark.parametrize(("text", "limit"), SENTENCES)
def test_a_refused_request_is_read_like_a_run(status, text, limit):
    assert limit_of_answer(status, ["invalid_request_error"], text) is limit


def test_a_status_may_mean_a_rate_limit_without_words():
    assert limit_of_answer(402, [], "No.") is Limit.BILL
    assert limit_of_answer(429, [], "No.") is Limit.RATE
    assert limit_of_answer(400, [], "No.") is None


def test_an_error_about_a_parameter_or_of_a_gateway_is_not_read_for_words():
    assert limit_of_answer(400, [], "Payment required", param="metadata") is None
    assert limit_of_answer(502, [], "Rate limit reached") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 20s.", 20.0),
        ("Please try again in 6ms.", 0.006),
        ("Please try again in 1m30.5s. Visit us.", 90.5),
        ("Please try again in 1h2m3s", 3723.0),
        ("Try again in 1 second.", 1.0),
        ("please slow down and try again after 2.5 seconds.", 2.5),
        ("Please retry after 60 seconds.", 60.0),
        ("Retry your request in 2 minutes and 5 seconds.", 125.0),
        ("Please wait 250 milliseconds", 0.25),
        ("Try again in 3 days.", 86_400.0),
        ("Try again later.", None),
        ("Try again in 20 samples.", None),
        ("Limit 30000, used 20s.", None),
    ],
)
def test_the_wait_that_a_text_names_is_read(text, seconds):
    assert wait_named_in(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("piece", ["rate limit ", "exceeded ", "1s ", "1", "' "])
def test_a_huge_text_is_read_at_once(piece):
    begun = time.monotonic()
    limit_of_run(["server_error"], piece * 600_000)
    wait_named_in("try again in " + piece * 600_000)
    assert time.monotonic() - begun < 2
