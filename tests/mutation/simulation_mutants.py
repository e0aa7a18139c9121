"""Ways to switch off one protection of the library, each of which simulated lives must notice.

`python -m tests.mutation.simulation_mutants` switches off one after the other, and simulates up to 1,000 lives on each
API until one has a violation. It prints the seed of that life, and fails if some mutant was not noticed.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import types
from collections.abc import Iterator, Sequence

import attrs

from gpt_agent_fsm.backends.http import exchange, outcomes
from gpt_agent_fsm.backends.http.text_stream import StreamSwitch
from gpt_agent_fsm.backends.responses.streaming import ResponseEvents
from gpt_agent_fsm.backends.shared.order import ListOrder
from gpt_agent_fsm.cluster.driving import Driving
from gpt_agent_fsm.cluster.follower import HeardPieces
from gpt_agent_fsm.cluster.leases import ClusterLease, Leases
from gpt_agent_fsm.cluster.writing import OwnedStore
from gpt_agent_fsm.engine import agenda, listener, runner
from gpt_agent_fsm.engine.driver import Driver
from gpt_agent_fsm.engine.inbox import Inbox
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.ownership import _SoleLease
from gpt_agent_fsm.engine.tool_desk import ToolDesk
from gpt_agent_fsm.machine import call_guards, failure_guards, guards, likeness, message_guards
from gpt_agent_fsm.machine.actions import calls, endings, requests, runs, tools
from gpt_agent_fsm.machine.objects import Message
from gpt_agent_fsm.machine.queue import Queue
from gpt_agent_fsm.testing.simulation import simulate
from gpt_agent_fsm.testing.simulation.cluster import MemoryTables
from tests.mutation.behaviour_mutants import rewrite

__all__ = ["MUTANTS", "WIRES", "main", "noticed_by"]

WIRES = ("assistants", "responses")


@attrs.frozen
class _Mutant:
    """A function whose source is changed, and the wires on which 1,000 lives are enough to notice it."""

    function: types.FunctionType
    old: str
    new: str
    wires: Sequence[str] = WIRES
    cluster: bool = False
    """True for a protection of the cluster, which only lives with several workers notice."""

    def apply(self) -> None:
        """Change the function in this process, for everybody who holds it."""
        rewrite(self.function, (self.old, self.new))

    def fits(self) -> bool:
        """Return whether the function can be changed, and leave it as it is."""
        code = self.function.__code__
        self.apply()
        changed, self.function.__code__ = self.function.__code__, code
        return changed is not code


_NO_EFFECT = 'if not_begun or answer.method != "POST":'
_REFUSED = "error.code in _REFUSED_FOR_GOOD or root in what_was_said"

MUTANTS = {
    # Nothing is mixed up, and nothing is sent twice.
    "an error of a gateway says that nothing is in flight": _Mutant(
        outcomes.error_for_answer, "in_flight = status not in (409, 425)", "in_flight = False"
    ),
    "a status above 504 says that nothing took effect": _Mutant(
        outcomes.error_for_answer, _NO_EFFECT, 'if status > 504 or not_begun or answer.method != "POST":'
    ),
    "a redirect says that nothing took effect": _Mutant(
        outcomes.error_for_answer, _NO_EFFECT, 'if status < 400 or not_begun or answer.method != "POST":'
    ),
    "an unreadable answer says that nothing took effect": _Mutant(
        outcomes.unusable, 'if method == "POST":', "if False:"
    ),
    "a page is the answer of the API to a poll": _Mutant(
        outcomes._is_refusal, 'said.structured or answer.method == "POST"', "True"
    ),
    "a request in flight is searched for once": _Mutant(
        requests._searches, "_SEARCHES_IN_FLIGHT if failure.in_flight else 1", "1"
    ),
    "a former process is never slow": _Mutant(
        requests.search_after_crash, "_SEARCHES_AFTER_CRASH", "_SEARCHES_IN_FLIGHT"
    ),
    "a process that has lost the store sends": _Mutant(_SoleLease.holds, "self.is_owned()", "True"),
    "the lease is not checked at the last moment": _Mutant(
        exchange.let_go, "_current.changes_server and not _current.limits.may_send()", "False"
    ),
    "the deadline is not checked at the last moment": _Mutant(
        exchange.let_go,
        "if not _current.sent:",
        "if _current.sent is False:\n        _current.sent = True\n        return 1.0\n    if False:",
    ),
    "a server is believed to list the newest first": _Mutant(
        ListOrder.newest_first, "if is_ignored is None:", "if False:"
    ),
    "a cancelled run in doubt is created after all": _Mutant(
        guards.owed_run_is_unwanted, "return searches_for_our_run(copy) and", "return False and"
    ),
    "a message with an image is not recognised": _Mutant(
        likeness._are_alike, "len(sent) == len(listed) and", "not sent and", ("responses",)
    ),
    # Nothing stands still.
    "a run that must end is followed until it ends": _Mutant(
        guards.cannot_be_ended, "return ending is not None and", "return False and"
    ),
    "an ignored cancel is no try": _Mutant(endings.insist, "_count_try(copy)", "pass", ("assistants",)),
    "a lost cancel is no try": _Mutant(endings.count_and_try_again, "_count_try(copy)", "pass"),
    "a run that takes too long is not ended": _Mutant(endings.time_out, "_must_end(", "str("),
    "a long wait is not announced": _Mutant(guards.is_waiting, "copy.waiting is not None", "False"),
    "a run that was left is adopted again": _Mutant(guards._is_over, "or run.id in copy.server.ended_run_ids", ""),
    "a call with other spaces in its arguments is another call": _Mutant(
        call_guards.known_call,
        "has_begun or known.asks_for_the_same_as(call)",
        "known.arguments == call.arguments",
    ),
    "an answer with the key of its run counts as the user's": _Mutant(
        Message.is_worth_publishing.fget, "and self.run_id is None", "", wires=("assistants",)
    ),
    "a call that a poll leaves out is forgotten": _Mutant(
        tools._take_down_calls, "if goes_on:", "if False:", wires=("assistants",)
    ),
    "a run that one poll does not find is lost": _Mutant(
        failure_guards.poll_may_be_refused_by_mistake, "< _REFUSED_POLLS", "< 1"
    ),
    "a message gets the number of one that was discarded": _Mutant(
        Queue.keep_head, "self.first + len(self.messages)", "self.first"
    ),
    "a queue is not discarded": _Mutant(
        message_guards.has_something_to_discard, "return waits or", "return False and waits or"
    ),
    "a run behind another one is not discarded": _Mutant(
        endings.discard_queue, "_drop_run_behind(copy, copy.run)", "pass", ("assistants",)
    ),
    "a run that must end is started again after a rate limit": _Mutant(
        guards.unwanted_run_is_rate_limited,
        "return run_is_rate_limited",
        "return False and run_is_rate_limited",
        ("responses",),
    ),
    "a run that is refused for good stays owed": _Mutant(runner._is_about_what_was_said, _REFUSED, "False"),
    "a message that is refused for good stays in the queue": _Mutant(
        failure_guards.content_is_refused, "return isinstance(", "return False and isinstance("
    ),
    "a run that waits for an approval is followed": _Mutant(
        guards.waits_for_the_impossible, "if copy.settings.run_timeout is not None:", "if True:"
    ),
    # Functions and approvals.
    "the start of a function is not saved": _Mutant(
        Ledger.commit,
        "= self._store.commit\n",
        "= lambda *_, **__: () if events.ToolStarted in map(type, happened) else self._store.commit(*_, **__)\n",
    ),
    "every function is believed to be safe": _Mutant(calls.start, "is_safe=fact.is_safe", "is_safe=True"),
    "a lost function is not noticed": _Mutant(
        ToolDesk._about_started, "yield from self._about_lost(key, call)", "pass"
    ),
    "a function runs again for an outdated round": _Mutant(
        call_guards.known_call_of_round, "and known.may_be_asked_again", "", ("assistants",)
    ),
    "a function does not wait for its approval": _Mutant(
        ToolDesk._about_open, "call.stage is CallStage.APPROVED or tool.approve is False", "True"
    ),
    "an approval is accepted twice": _Mutant(
        call_guards.waits_for_approval, "call is not None and call.waits_for_a_person", "call is not None"
    ),
    "an approval stays open when its run ends": _Mutant(
        requests.close_approvals, "if call.waits_for_a_person:", "if False:"
    ),
    # Tokens.
    "the tokens are not checked before a message": _Mutant(
        guards.is_over_budget, "return limit is not None", "return False and limit is not None"
    ),
    "the tokens are not checked before a retry": _Mutant(
        guards.request_is_over_budget, "return starts and", "return False and"
    ),
    "the tokens of a rate limited run are not counted": _Mutant(
        runs.wait_for_rate, "_take_results(copy, fact.run)", "pass"
    ),
    "the tokens are counted twice after a crash": _Mutant(
        requests.resume_request, "    owed = ", "    copy.usage += copy.usage\n    owed = "
    ),
    "a reached limit is announced again and again": _Mutant(
        requests.park_for_budget, "if copy.outbox.budget_told != told:", "if True:"
    ),
    # Streams.
    "an event that is missing in a stream is not noticed": _Mutant(
        ResponseEvents._check_gap, "self._may_have_gaps or", "True or", ("responses",)
    ),
    "a stream that fails is tried again as a stream": _Mutant(
        listener._might_succeed_plainly, "return isinstance(fact, inputs.RequestUnresolved)", "return False"
    ),
    "a refused stream is the refusal of its run": _Mutant(
        StreamSwitch.make, "except RequestRefused as error:", "except ZeroDivisionError as error:"
    ),
    "a piece that comes again is announced again": _Mutant(
        ResponseEvents.read, "number <= self.position", "False", ("responses",)
    ),
    "a clock that was set back makes a pause longer": _Mutant(
        agenda.longest_pause, "return ", "return 1e9 + ", ("responses",)
    ),
    # Many processes on one store.
    "a worker that has lost its lease sends": _Mutant(
        ClusterLease.holds, "return not self.is_lost and self", "return True or self", cluster=True
    ),
    # The fence is a part of a SQL statement, so these mutants change what the simulated tables do. The tests of the
    # cluster's store concern the real statement.
    "a former owner writes": _Mutant(
        MemoryTables._commit,
        "owner is None or (owner.worker, owner.epoch, owner.commits) != (worker, epoch, commit - 1)",
        "owner is None",
        cluster=True,
    ),
    "a commit with an unknown outcome is made twice": _Mutant(
        MemoryTables._commit,
        "(owner.worker, owner.epoch, owner.commits) != (worker, epoch, commit - 1)",
        "(owner.worker, owner.epoch) != (worker, epoch)",
        cluster=True,
    ),
    "a late worker is not noticed by itself": _Mutant(Leases.heartbeat, "if is_alive:", "if True:", cluster=True),
    "a former driver writes under the lease of the next one": _Mutant(
        OwnedStore._owned, "lease not in (None, owned)", "False", cluster=True
    ),
    "a claim with an unknown outcome is forgotten": _Mutant(
        Leases.claim, "self._unclear.add(thread_id)", "pass", cluster=True
    ),
    "a worker that ends does not look into the inbox": _Mutant(
        Leases._free,
        "more or bool(run(connection, tables.HAS_COMMANDS, thread=thread_id).scalar_one())",
        "more",
        cluster=True,
    ),
    "nobody searches for threads without an owner": _Mutant(
        Driving._sweep, "self.leases.sweep(_PATIENCE)", "0", cluster=True
    ),
    "nobody reads commands of other processes": _Mutant(
        Driving.note_commands, "driver.note_commands()", "pass", cluster=True
    ),
    "a command is handled before an earlier one of another process": _Mutant(
        Inbox.accept, "if self._shared is None:", "if True:", cluster=True
    ),
    "pieces after a missing piece are announced": _Mutant(
        HeardPieces.deltas, "delta.index == self._next.get(delta.message_id, 0)", "True", cluster=True
    ),
    "a command of another process does not count after an exhausted balance": _Mutant(
        Driver._step, "if self._inbox.read_commands():", "if self._inbox.read_commands() and False:", cluster=True
    ),
}
"""What the library would do without the protection."""


def noticed_by(name: str, wire: str, lives: int) -> str:
    """Return the seed and the first violation of a life that notices a mutant, or "". The process stays mutated."""
    logging.disable(logging.CRITICAL)
    MUTANTS[name].apply()
    cluster = MUTANTS[name].cluster
    lived = ((seed, simulate(seed, wire=wire, cluster=cluster).violations) for seed in range(lives))
    return next((f"seed {seed}: {violations[0][:100]}" for seed, violations in lived if violations), "")


def _notice(job: tuple[str, str, int]) -> tuple[str, str, str]:
    return job[0], job[1], noticed_by(*job)


def _results(lives: int) -> Iterator[tuple[str, str, str]]:
    """Yield each mutant, each API, and who notices it; each in a process of its own."""
    jobs = [(name, wire, lives) for name, mutant in MUTANTS.items() for wire in mutant.wires]
    with multiprocessing.get_context("spawn").Pool(maxtasksperchild=1) as pool:
        yield from pool.imap(_notice, jobs, chunksize=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.simulation_mutants")
    parser.add_argument("--lives", type=int, default=1000, help="lives for each mutant (default: %(default)s)")
    unnoticed = 0
    for name, wire, found in _results(parser.parse_args(arguments).lives):
        print(f"{name} ({wire}): {found or 'NOT NOTICED'}", flush=True)
        unnoticed += not found
    print(f"{unnoticed} not noticed" if unnoticed else "every mutant was noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
