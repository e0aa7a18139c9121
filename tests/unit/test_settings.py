"""The settings: defaults, limits, the environment."""

import attrs
import pytest

from gpt_agent_fsm import Settings


def test_the_defaults_are_those_of_the_contract():
    assert attrs.asdict(Settings()) == {
        "heartbeat_interval": 1.0,
        "heartbeat_max_interval": None,
        "webhook_heartbeat_interval": 30.0,
        "idle_timeout": 120.0,
        "receive_timeout": 30.0,
        "rate_limit_max_retries": 10,
        "rate_limit_retry_delay": 30.0,
        "tool_output_max_attempts": 3,
        "tool_output_retry_delay": 1.0,
        "request_max_attempts": 8,
        "request_retry_delay": 0.5,
        "request_retry_max_delay": 30.0,
        "run_timeout": None,
        "tool_timeout": None,
        "max_tool_rounds": None,
        "max_total_tokens": None,
        "approval_timeout": None,
        "tool_workers": 8,
        "streams": 32,
        "stall_after": 300.0,
        "max_answer_bytes": 64 * 1024 * 1024,
        "max_part_bytes": 20 * 1024 * 1024,
        "requests_per_minute": None,
        "workers": 8,
    }


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Settings)])
@pytest.mark.parametrize("value", [-1, "1", None, float("nan"), float("inf"), True])
def test_a_value_that_makes_no_sense_is_refused_by_name(name, value):
    if value is None and name in (
        "idle_timeout",
        "run_timeout",
        "tool_timeout",
        "stall_after",
        "requests_per_minute",
        "max_tool_rounds",
        "approval_timeout",
        "max_total_tokens",
        "heartbeat_max_interval",
    ):
        return
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["heartbeat_interval", "idle_timeout", "receive_timeout", "workers"])
def test_intervals_timeouts_and_workers_must_be_positive(name):
    with pytest.raises(ValueError, match="must be more than 0"):
        Settings(**{name: 0})


def test_the_longest_poll_interval_must_not_be_shorter_than_the_usual_one():
    with pytest.raises(
        ValueError, match=r"heartbeat_max_interval must be at least heartbeat_interval \(2.0\), not 1.0"
    ):
        Settings(heartbeat_interval=2.0, heartbeat_max_interval=1.0)
    assert Settings(heartbeat_interval=2.0, heartbeat_max_interval=2.0).growing_interval(3600.0) == 2.0


@pytest.mark.parametrize("name", ["rate_limit_max_retries", "rate_limit_retry_delay", "request_retry_delay"])
def test_retries_and_delays_may_be_zero(name):
    assert getattr(Settings(**{name: 0}), name) == 0


@pytest.mark.parametrize("value", [10**10, 10**400])
@pytest.mark.parametrize("name", ["idle_timeout", "workers"])
def test_a_value_that_no_timer_takes_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at most 1000000000"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["requests_per_minute", "stall_after"])
def test_a_value_that_is_too_small_to_calculate_with_is_refused(name):
    with pytest.raises(ValueError, match=r"must be at least 0.001, not 1e-307"):
        Settings(**{name: 1e-307})
    assert getattr(Settings(**{name: 0.001}), name) == 0.001


def test_a_count_is_a_whole_number():
    with pytest.raises(ValueError, match="workers must be a whole number"):
        Settings(workers=2.5)


def test_a_request_may_take_as_long_as_the_smaller_of_two_timeouts():
    assert Settings().request_timeout == 30
    assert Settings(idle_timeout=5).request_timeout == 5


def test_without_an_idle_timeout_a_request_is_limited_by_the_other_one_and_tools_are_polled_every_two_minutes():
    assert Settings(idle_timeout=None, receive_timeout=300).request_timeout == 300
    assert Settings(idle_timeout=None).tool_poll_interval == 120
    assert Settings(idle_timeout=300).tool_poll_interval == 300


def test_the_idle_timeout_may_be_none_in_the_environment():
    assert Settings.from_env({"GPT_AGENT_IDLE_TIMEOUT": "none"}) == Settings(idle_timeout=None)


def test_settings_are_read_from_the_environment():
    read = Settings.from_env({"GPT_AGENT_HEARTBEAT_INTERVAL": "0.25", "GPT_AGENT_WORKERS": "3", "PATH": "/bin"})
    assert read == Settings(heartbeat_interval=0.25, workers=3)


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("GPT_AGENT_IDLE_TIMEOUT", "7")
    # These belong to the command gpt-agent-fsm.
    monkeypatch.setenv("GPT_AGENT_STORE", "agents.db")
    monkeypatch.setenv("GPT_AGENT_SERVE_API_KEY", "key")
    assert Settings.from_env().idle_timeout == 7


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("GPT_AGENT_WORKERS", "many", "a whole number"),
        ("GPT_AGENT_WORKERS", "2.5", "a whole number"),
        ("GPT_AGENT_MAX_TOTAL_TOKENS", "1e3", "a whole number or none"),
        ("GPT_AGENT_HEARTBEAT_INTERVAL", "soon", "a number"),
        ("GPT_AGENT_IDLE_TIMEOUT", "never", "a number or none"),
    ],
)
def test_a_variable_that_is_not_a_number_is_refused_by_name(name, value, kind):
    with pytest.raises(ValueError, match=f"{name} must be {kind}, not '{value}'"):
        Settings.from_env({name: value})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("GPT_AGENT_HARTBEAT_INTERVAL", r"did you mean GPT_AGENT_HEARTBEAT_INTERVAL\?$"),
        ("GPT_AGENT_MAX_WORKERS", r"did you mean GPT_AGENT_WORKERS\?$"),
        ("GPT_AGENT_SOTRE", r"did you mean GPT_AGENT_STORE\?$"),
        ("GPT_AGENT_XYZZY", "the settings are GPT_AGENT_APPROVAL_TIMEOUT, .*GPT_AGENT_WORKERS$"),
    ],
)
def test_an_unknown_variable_is_refused_and_the_nearest_one_or_all_are_named(name, advice):
    with pytest.raises(ValueError, match=f"^{name} is not a setting; {advice}"):
        Settings.from_env({name: "1"})
