"""`gpt-agent-fsm doctor`: find threads that need a person, and make the repairs that need no server."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.cli.looking import opening, output
from gpt_agent_fsm.engine.diagnosing import Finding, FindingKind, find, repaired
from gpt_agent_fsm.engine.protocols import Saved
from gpt_agent_fsm.engine.showing import printable
from gpt_agent_fsm.stores.holder import is_held

if TYPE_CHECKING:
    from gpt_agent_fsm.stores import SQLStore

__all__ = ["doctor", "effect_of"]


@click.command(short_help="Find threads that need a person, and repair them.")
@click.argument("thread_id", metavar="[THREAD]", required=False)
@opening.store_option()
@opening.as_json
@click.option("--all", "every", is_flag=True, help="Examine all threads of the store.")
@click.option("--repair", is_flag=True, help="Ask about each possible repair, and carry it out.")
@click.option("--yes", is_flag=True, help="With --repair: carry out all possible repairs without asking.")
@opening.take_over_options
@opening.without_traceback
def doctor(
    *,
    thread_id: str | None,
    url: str,
    as_json: bool,
    every: bool,
    repair: bool,
    yes: bool,
    take_over: bool,
    force: bool,
) -> None:
    """Find stuck and expired runs, open tool calls and approvals, parked and waiting queues.

    Exits with 0 if all is well, and with 1 if something was found. Without --repair, the store is only read. --repair
    writes to the store, and is refused while another process holds the store. A repair drops a parked queue, answers an
    open call with an error, or denies a call that waits for an approval. The next program on the store sends the
    answers; the command itself asks no server.

    \b
    Examples:
      gpt-agent-fsm doctor thread_1 --store agents.db
      gpt-agent-fsm doctor --all --store agents.db --json
      gpt-agent-fsm doctor thread_1 --store agents.db --repair
      gpt-agent-fsm doctor --all --store agents.db --repair --yes
    """  # noqa: D301 - click reads the backspace
    if thread_id is None and not every:
        raise click.UsageError("give a THREAD, or --all for all threads of the store.")
    if thread_id is not None and every:
        raise click.UsageError(f"--all examines all threads of the store; leave out --all or {thread_id}.")
    if repair and as_json:
        raise click.UsageError("--repair asks and reports in sentences; leave out --json.")
    if (yes or take_over or force) and not repair:
        raise click.UsageError("--yes, --take-over and --force need --repair.")
    writing = opening.opened(url, to_write=repair, take_over=take_over, force=force)
    with opening.complaints() as said, writing as store:
        # A store that was opened for repairs is held by this command, so no program drives its threads.
        owned = not repair and is_held(store)
        found = _examine(store, thread_id, owned=owned)
        if repair:
            repaired_threads = _repair(store, found, yes=yes)
            shown, found = found, _examine(store, thread_id, owned=False)
            _print_left([finding for finding in found if finding not in shown], repaired_threads)
        else:
            _print(found, as_json=as_json, may_repair=not owned)
        if not found and not said and not as_json:
            click.echo("All is well.")
    sys.exit(1 if found or said else 0)


def _examine(store: SQLStore, thread_id: str | None, *, owned: bool) -> list[Finding]:
    settings, now = opening.settings(), time.time()
    if thread_id is not None:
        every = {thread_id: opening.load(store, thread_id)}
    else:
        every = {row.snapshot.thread_id: Saved(snapshot=row.snapshot) for row in store.threads()}
        every |= store.unfinished()
    return [finding for saved in every.values() for finding in find(saved, settings, now, owned=owned)]


def _print(found: list[Finding], *, as_json: bool, may_repair: bool) -> None:
    if as_json:
        output.print_json_array(
            [
                {
                    "thread_id": finding.thread_id,
                    "kind": str(finding.kind),
                    "problem": finding.problem,
                    "advice": _advice(finding, may_repair=may_repair),
                    "can_repair": bool(finding.commands),
                }
                for finding in found
            ]
        )
        return
    for finding in found:
        _print_problem(finding)
        _print_below(_advice(finding, may_repair=may_repair))


def _print_problem(finding: Finding) -> None:
    kind = str(finding.kind).replace("_", " ")
    click.echo(printable(f"{finding.thread_id}: {kind}. {finding.problem}"))


def _print_below(sentence: str) -> None:
    click.echo(f"  {printable(sentence)}")


def _advice(finding: Finding, *, may_repair: bool) -> str:
    """Return what a person can do. A person at a terminal cannot call a method, so the command comes first."""
    if not finding.commands or not may_repair:
        return finding.advice
    return f"Run doctor with --repair to {effect_of(finding)}. In a program: {_continued(finding.advice)}"


def effect_of(finding: Finding) -> str:
    """Return what the repair of a finding does, such as "answer the call call_1 with an error"."""
    return _continued(finding.repair).rstrip("?")


def _continued(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}"


def _repair(store: SQLStore, found: list[Finding], *, yes: bool) -> set[str]:
    """Show the findings, and carry out the repairs that the person wants. Return the ids of the repaired threads."""
    done = set()
    for finding in found:
        _print_problem(finding)
        if finding.commands and _is_wanted(finding.repair, yes=yes):
            _carry_out(store, finding)
            _print_below("Repaired.")
            done.add(finding.thread_id)
        else:
            _print_below(finding.advice)
    return done


def _is_wanted(question: str, *, yes: bool) -> bool:
    if yes:
        _print_below(f"{question} Yes.")
    return yes or click.confirm(f"  {printable(question)}")


def _print_left(left: list[Finding], repaired_threads: set[str]) -> None:
    """Print what was found only after the repairs."""
    for finding in left:
        if finding.thread_id in repaired_threads and finding.kind in (FindingKind.STUCK_RUN, FindingKind.UNFINISHED):
            # This is not another problem: the thread continues from the repair as soon as a program drives it.
            click.echo(f"{printable(finding.thread_id)}: repaired, but this was not sent to the server yet.")
            _print_below(finding.advice)
        else:
            _print([finding], as_json=False, may_repair=True)


def _carry_out(store: SQLStore, finding: Finding) -> None:
    saved, now = opening.load(store, finding.thread_id), time.time()
    decision = repaired(saved, finding.commands, opening.settings(), now)
    after, before = decision.snapshot, saved.snapshot
    store.commit(
        after,
        consumed=decision.consumed,
        events=decision.happened,
        at=now,
        due=saved.due if after.pending == before.pending else None,
        queue=after.queue.change_since(before.queue),
    )
