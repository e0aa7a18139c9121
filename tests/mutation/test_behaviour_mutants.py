"""Break a promise of the library in nine ways: each test whose name claims the promise fails.

A test that stays green is vacuous: usually it asserts that something did not happen, and nothing could have happened.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.behaviour_mutants import MUTANTS, VARIABLE

ROOT = Path(__file__).parents[2]
AGENT, CORE, DRIVER = "unit/test_agent.py", "unit/test_core_everywhere.py", "unit/test_driver.py"
RUNTIME, RESUME, SIGNALS = "unit/test_runtime.py", "unit/test_resume.py", "unit/test_signals.py"
WEBHOOKS, CONFIGURATION = "unit/test_webhooks.py", "backends/http/test_configuration.py"

NOTICED_BY = {
    "shutdown": {
        AGENT: "a_dead_agent_refuses_commands_and_answers_what_it_can",
        DRIVER: "no_request_is_sent_after_a_handler_has_shut_the_agent_down "
        "a_subscriber_hears_no_record_up_to_its_number",
        RUNTIME: "shutting_down_is_effective_before_it_returns_and_announced the_cursor_of_an_earlier_agent_is_kept",
        "unit/test_gate.py": "a_thread_that_waits_at_the_gate_may_be_shut_down",
        "unit/test_scheduler.py": "an_agent_connected_during_the_last_request_of_its_predecessor_begins_after_it",
    },
    "delivery": {
        DRIVER: "a_subscriber_hears_no_record_up_to_its_number",
        RUNTIME: "connecting_again_adds_a_subscriber a_subscriber_that_joins_inside_a_handler_gets_each_event_once "
        "a_late_subscriber_is_given_the_history_first_and_misses_nothing",
        SIGNALS: "a_muted_signal_is_not_sent events_are_announced_after_they_were_saved "
        "a_handler_that_raises_stops_neither_other_handlers_nor_the_agent",
    },
    "assistant": {
        AGENT: "a_run_that_waits_to_be_started_again_has_the_new_assistant",
        CORE: "the_assistant_may_be_changed_in_every_state an_agent_may_be_connected_again_in_every_state",
        "unit/test_core_messages.py": "the_assistant_is_changed_even_for_a_run_that_waits_to_be_created_again",
    },
    "reconnect": {
        RUNTIME: "connecting_again_may_change_the_idle_timeout "
        "connecting_again_without_an_idle_timeout_keeps_the_one_there_is",
    },
    "headers": {
        CONFIGURATION: "each_header_is_sent_once secrets_in_headers_and_parameters_are_never_seen "
        "given_headers_come_before_our_own_whatever_their_case",
        "backends/responses/test_threads.py": "given_headers_and_parameters_are_sent_with_each_request",
    },
    "webhooks": {
        WEBHOOKS: "a_wrong_or_old_signature_is_refused a_webhook_about_something_else_wakes_nobody "
        "a_webhook_about_a_run_that_waits_for_tools_causes_a_poll_and_nothing_else "
        "runs_are_polled_as_before_when_webhooks_no_longer_arrive webhooks_about_other_responses_slow_no_polls_down "
        "a_webhook_that_came_a_little_too_early_is_followed_by_a_poll_at_the_usual_time",
    },
    "timeout": {
        CORE: "a_run_that_takes_too_long_is_cancelled_and_its_end_is_a_timeout a_timeout_does_not_outlive_its_run",
        DRIVER: "a_deadline_passes_even_while_the_key_is_rate_limited",
        RESUME: "a_run_that_takes_too_long_is_cancelled_and_fails_with_code_timeout "
        "the_time_of_a_resumed_run_starts_again",
    },
    "idle": {
        RESUME: "a_resumed_agent_that_has_nothing_more_to_do_stops_after_its_idle_time",
        RUNTIME: "without_activity_an_agent_stops_and_leaves_the_runtime activity_restarts_the_idle_time "
        "connecting_again_may_change_the_idle_timeout a_command_at_the_last_moment_keeps_the_agent",
    },
    "message": {
        AGENT: "commands_return_before_any_request_is_made",
        DRIVER: "no_request_is_sent_after_a_handler_has_shut_the_agent_down "
        "the_number_of_the_last_announced_record_is_saved_later_if_the_store_fails",
        RESUME: "a_run_that_ends_in_time_is_not_disturbed a_thread_with_nothing_left_to_do_is_not_resumed",
        RUNTIME: "the_cursor_of_an_earlier_agent_is_kept the_history_of_a_thread_is_numbered_from_one_without_gaps "
        "at_debug_level_the_machine_is_silent_and_the_library_says_little connecting_again_adds_a_subscriber",
        SIGNALS: "a_muted_signal_is_not_sent events_are_announced_after_they_were_saved",
    },
}


def _named(mutant: str) -> set[str]:
    chosen = NOTICED_BY[mutant].items()
    return {f"tests/{file}::test_{sentence}" for file, sentences in chosen for sentence in sentences.split()}


def _outcomes(tests: set[str], mutant: str) -> dict[str, set[str]]:
    """Run tests with a mutant, or with none; return the tests by their outcome, in capital letters."""
    options = ["-q", "-rA", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "tests.mutation.behaviour_mutants", *sorted(tests)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", VARIABLE: mutant},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    outcomes: dict[str, set[str]] = {}
    for outcome, test in re.findall(r"^([A-Z]+) (tests/[^\s\[]+)", done.stdout, re.M):
        outcomes.setdefault(outcome, set()).add(test)
    assert outcomes, done.stdout + done.stderr
    return outcomes


def test_the_unbroken_library_passes():
    tests = {test for mutant in MUTANTS for test in _named(mutant)}
    assert _outcomes(tests, "") == {"PASSED": tests}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_promise_is_noticed_by_each_test_that_claims_it(mutant):
    outcomes = _outcomes(_named(mutant), mutant)
    assert outcomes["FAILED"] == _named(mutant)
