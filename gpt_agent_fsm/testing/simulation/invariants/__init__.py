"""The invariants, which are checked at the end of each life.

Each file contains one invariant, and the docstring of the file says what must be true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gpt_agent_fsm.testing.simulation.facts import Facts
from gpt_agent_fsm.testing.simulation.invariants import (
    accepted_is_posted,
    answers_published_once,
    approvals_decided_once,
    attempts_are_limited,
    budget_is_kept,
    budget_told_once,
    calls_answered_at_most_once,
    calls_have_outputs,
    calls_requested_at_most_once,
    cancelled_runs_are_not_repeated,
    comes_to_rest,
    deadlines_bring_rest,
    dropped_is_not_started,
    failed_runs_have_failed,
    functions_have_results,
    functions_run_at_most_once,
    functions_run_when_approved,
    functions_start_in_the_history,
    heard_once_in_order,
    history_has_no_gaps,
    history_is_heard,
    only_the_owner_sends,
    pieces_are_the_text,
    posted_at_most_once,
    posted_in_order,
    posted_with_its_parts,
    runs_created_once,
    usage_is_that_of_the_server,
)

__all__ = ["INVARIANTS", "violations_of"]

INVARIANTS: tuple[Callable[[Facts], Iterator[str]], ...] = (
    comes_to_rest.check,
    deadlines_bring_rest.check,
    posted_at_most_once.check,
    accepted_is_posted.check,
    posted_in_order.check,
    posted_with_its_parts.check,
    calls_answered_at_most_once.check,
    answers_published_once.check,
    calls_requested_at_most_once.check,
    history_has_no_gaps.check,
    history_is_heard.check,
    heard_once_in_order.check,
    attempts_are_limited.check,
    only_the_owner_sends.check,
    failed_runs_have_failed.check,
    dropped_is_not_started.check,
    cancelled_runs_are_not_repeated.check,
    runs_created_once.check,
    functions_start_in_the_history.check,
    functions_run_at_most_once.check,
    functions_run_when_approved.check,
    functions_have_results.check,
    calls_have_outputs.check,
    approvals_decided_once.check,
    budget_is_kept.check,
    budget_told_once.check,
    usage_is_that_of_the_server.check,
    pieces_are_the_text.check,
)
"""All invariants, in the order in which violations are reported."""


def violations_of(facts: Facts) -> Iterator[str]:
    """Yield a sentence for each violation."""
    for check in INVARIANTS:
        yield from check(facts)
