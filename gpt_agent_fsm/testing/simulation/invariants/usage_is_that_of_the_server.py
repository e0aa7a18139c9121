"""Invariant: a thread's usage is the sum of the server's figures for those runs whose end the library has seen."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_agent_fsm import events
from gpt_agent_fsm.testing.simulation.facts import Facts

__all__ = ["check"]

_ENDED_HERE = ("cancelled", "timeout", "unsupported_action", "max_tool_rounds", "not_found")
"""The codes of runs that the library ended or left, perhaps without having seen their end on the server."""
_OF_A_FAILURE = 1
"""The smallest number of tokens that a run uses if it ends badly."""


def check(facts: Facts) -> Iterator[str]:
    """Yield a sentence if the usage is too low or too high.

    The library adds the tokens of a run when it sees the run's end. It also adds those of rate limited runs, and of
    adopted runs of other clients. The usage may be lower than on the server in two cases. The library does not see the
    end of a run that it stopped following. If the API cannot list runs, the library does not see the usage of a run
    that it found by its messages.
    """
    least = most = 0
    for run_id, seen in _ends(facts).items():
        used = facts.tokens.get(run_id, 0)
        most += used
        least += used if seen and facts.lists_runs else min(seen, used)
    if facts.saved is None:
        return
    counted = facts.saved.snapshot.usage.total_tokens
    if not least <= counted <= most:
        yield f"the thread has used {counted} tokens, and its runs from {least} to {most}"


def _ends(facts: Facts) -> dict[str, int]:
    """Return the runs that have ended, each with the tokens that the library has certainly seen."""
    ends: dict[str, int] = {}
    for event in facts.happened:
        match event:
            case events.RunCompleted(id=run_id, total_tokens=tokens):
                ends[run_id] = tokens
            case events.RateLimited(run_id=run_id):
                ends[run_id] = _OF_A_FAILURE
            case events.RunFailed(id=str(run_id), code=code):
                ends[run_id] = max(ends.get(run_id, 0), 0 if code in _ENDED_HERE else _OF_A_FAILURE)
    return ends
