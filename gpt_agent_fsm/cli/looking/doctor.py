"""`gpt-agent-fsm doctor`: find threads that need a person, and make the repairs that need no server."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.cli.looking import opening, output
from gpt_agent_fsm.engine.diagnosing import Finding, find, repaired
from gpt_agent_fsm.engine.protocols import Saved

if TYPE_CHECKING:
    from gpt_agent_fsm.stores import SQLStore

__all__ = ["doctor"]


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
    if (thread_id is None) is not every:
        raise click.UsageError("give a THREAD or --all.")
    if repair and as_json:
        raise click.UsageError("--repair asks and reports in sentences; leave out --json.")
    if (yes or take_over or force) and not repair:
        raise click.UsageError("--yes, --take-over and --force need --repair.")
    writing = opening.opened(url, to_write=repair, take_over=take_over, force=force)
    with opening.complaints() as said, writing as store:
        # A store that was opened for repairs is held by this command, so no program drives its threads.
        owned = not repair and opening.is_held(store)
        found = _examine(store, thread_id, owned=owned)
        _print(found, as_json=as_json, is_well=not said, may_repair=not owned and not repair)
        if repair and _repair(store, found, yes=yes):
            found = _examine(store, thread_id, owned=False)
            _print(found, as_json=False, is_well=not said, may_repair=True)
    sys.exit(1 if found or said else 0)


def _examine(store: SQLStore, thread_id: str | None, *, owned: bool) -> list[Finding]:
    settings, now = opening.settings(), time.time()
    if thread_id is not None:
        every = {thread_id: opening.load(store, thread_id)}
    else:
        every = {row.snapshot.thread_id: Saved(snapshot=row.snapshot) for row in store.threads()}
        every |= store.unfinished()
    return [finding for saved in every.values() for finding in find(saved, settings, now, owned=owned)]


def _print(found: list[Finding], *, as_json: bool, is_well: bool, may_repair: bool) -> None:
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
        problem = f"{finding.thread_id}: {str(finding.kind).replace('_', ' ')}. {finding.problem}"
        click.echo(f"{output.printable(problem)}\n  {output.printable(_advice(finding, may_repair=may_repair))}")
    if not found and is_well:
        click.echo("All is well.")


def _advice(finding: Finding, *, may_repair: bool) -> str:
    """Return what a person can do. A person at a terminal cannot call a method, so the command comes first."""
    if not finding.commands or not may_repair:
        return finding.advice
    effect = _continued(finding.repair).rstrip("?")
    return f"Run doctor with --repair to {effect}. In a program: {_continued(finding.advice)}"


def _continued(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}"


def _repair(store: SQLStore, found: list[Finding], *, yes: bool) -> bool:
    """Carry out the repairs that the person wants. Return whether anything was repaired."""
    done = False
    for finding in found:
        question = f"{output.printable(finding.thread_id)}: {output.printable(finding.repair)}"
        if finding.commands and (yes or click.confirm(question)):
            _carry_out(store, finding)
            click.echo(f"{output.printable(finding.thread_id)}: repaired ({str(finding.kind).replace('_', ' ')}).")
            done = True
    return done


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
