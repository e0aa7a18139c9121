"""`gpt-agent-fsm doctor`: find threads that need a person, and make the repairs that need no server."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING

import attrs
import click

from gpt_agent_fsm.cli.chat.options import ASSISTANT
from gpt_agent_fsm.cli.looking import opening, output
from gpt_agent_fsm.cli.values import without_password
from gpt_agent_fsm.engine.diagnosing import Finding, FindingKind, find, orphan, repaired
from gpt_agent_fsm.engine.protocols import Saved
from gpt_agent_fsm.engine.showing import printable
from gpt_agent_fsm.stores.holder import is_held

if TYPE_CHECKING:
    from gpt_agent_fsm.stores import SQLStore

__all__ = ["chat_command", "doctor", "effect_of"]


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
    """Find stuck and expired runs, open tool calls and approvals, parked and waiting queues, threads without a worker.

    THREAD is the id or the key of a thread.

    Without --repair, the store is only read. --repair writes to the store, and is refused while another process holds
    the store. A repair drops a parked queue, answers an open call with an error, or denies a call that waits for an
    approval. The command itself asks no server: the next program on the store sends the answers.

    Exits with 0 if nothing is left to do here: nothing was found, or --repair has repaired all that was found. Exits
    with 1 if something is left.

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
        end = "All that was found is repaired." if repair and found else "All is well."
        if repair:
            found = _repair(store, found, thread_id, yes=yes)
        else:
            _print(found, as_json=as_json, may_repair=not owned)
        if not found and not said and not as_json:
            click.echo(end)
    sys.exit(1 if found or said else 0)


@attrs.frozen
class _Case:
    """A finding, and whether a chat can continue its thread."""

    finding: Finding
    is_of_chat: bool


def _examine(store: SQLStore, thread_id: str | None, *, owned: bool) -> list[_Case]:
    settings, now = opening.settings(), time.time()
    if thread_id is not None:
        saved = opening.load(store, thread_id)
        every = {saved.snapshot.thread_id: saved}
    else:
        every = {row.snapshot.thread_id: Saved(snapshot=row.snapshot) for row in store.threads()}
        every |= store.unfinished()
    owners = _owners(store) if owned else None
    return [
        _Case(finding, saved.snapshot.assistant_id == ASSISTANT)
        for saved in every.values()
        for finding in (
            *find(saved, settings, now, owned=owned),
            *(() if owners is None or saved.snapshot.thread_id in owners else orphan(saved)),
        )
    ]


def _owners(store: SQLStore) -> set[str] | None:
    """Return the threads that a live worker owns; None if no cluster has the store."""
    from gpt_agent_fsm.stores.owners import view_of  # noqa: PLC0415 - SQLAlchemy may not be installed

    view = view_of(store)
    return None if view is None else {name for name, owner in view.owners.items() if owner.lease is not None}


def _print(cases: list[_Case], *, as_json: bool, may_repair: bool) -> None:
    if as_json:
        output.print_json_array([_fields(case.finding, may_repair=may_repair) for case in cases])
        return
    for case in cases:
        _print_problem(case.finding)
        if may_repair and case.finding.commands:
            _print_command(effect_of(case.finding), _repair_command(case.finding))
        _print_advice(case, may_repair=may_repair)


def _fields(finding: Finding, *, may_repair: bool) -> dict[str, object]:
    return {
        "thread_id": finding.thread_id,
        "kind": str(finding.kind),
        "problem": finding.problem,
        "advice": finding.advice,
        "can_repair": bool(finding.commands),
        "command": _repair_command(finding) if may_repair and finding.commands else None,
    }


def _repair_command(finding: Finding) -> str:
    return opening.command("doctor", finding.thread_id, "--repair")


def _print_problem(finding: Finding) -> None:
    kind = str(finding.kind).replace("_", " ")
    click.echo(printable(f"{finding.thread_id}: {kind}. {finding.problem}"))


def _print_below(sentence: str) -> None:
    click.echo(f"  {printable(sentence)}")


def _print_command(effect: str, command: str) -> None:
    """Print a command in a line of its own, so that a person can copy it."""
    _print_below(f"To {effect}, run:")
    _print_below(f"  {command}")


def _print_advice(case: _Case, *, may_repair: bool) -> None:
    """Print what a person can do in a program, or in a chat if no process drives the thread."""
    advice = case.finding.advice
    _print_below(f"In a program: {_continued(advice)}" if may_repair and case.finding.commands else advice)
    if may_repair and case.is_of_chat:
        _print_command(
            "continue the conversation, with the other options of the chat, such as --script",
            chat_command(case.finding.thread_id),
        )


def effect_of(finding: Finding) -> str:
    """Return what the repair of a finding does, such as "answer the call call_1 with an error"."""
    return _continued(finding.repair).rstrip("?")


def _continued(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:]}"


def _repair(store: SQLStore, shown: list[_Case], thread_id: str | None, *, yes: bool) -> list[_Case]:
    """Show the cases, carry out the repairs that the person wants, and return the cases that are left."""
    done = set()
    for case in shown:
        finding = case.finding
        _print_problem(finding)
        if finding.commands and _is_wanted(finding.repair, yes=yes):
            _carry_out(store, finding)
            _print_below("Repaired.")
            done.add(finding.thread_id)
        else:
            _print_advice(case, may_repair=True)
    left = []
    for case in _examine(store, thread_id, owned=False):
        if case.finding.thread_id in done and case.finding.kind in (FindingKind.STUCK_RUN, FindingKind.UNFINISHED):
            _print_repaired(case)
        else:
            left.append(case)
    _print([case for case in left if case not in shown], as_json=False, may_repair=True)
    return left


def _is_wanted(question: str, *, yes: bool) -> bool:
    if yes:
        _print_below(f"{question} Yes.")
        return True
    try:
        return click.confirm(f"  {printable(question)}")
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo()
        raise click.ClickException(
            "The input has ended without an answer. To carry out all possible repairs without a question, add --yes."
        ) from None


def _print_repaired(case: _Case) -> None:
    """Say who continues from a repair. This is not another problem: the next program on the store does so by itself."""
    click.echo(f"{printable(case.finding.thread_id)}: repaired. The server does not know this yet.")
    _print_below("Your program, the one whose Runtime has this store, sends it when it starts, and follows the run.")
    if case.is_of_chat:
        _print_command(
            "send it in a chat, with its other options, such as --script", chat_command(case.finding.thread_id)
        )


def chat_command(thread_id: str) -> str:
    """Return the command that continues the thread of a chat. A chat reads no environment variable for its database."""
    url = without_password(click.get_current_context().params["url"])
    return printable(shlex.join(["gpt-agent-fsm", "chat", "--db", url, "--thread", thread_id]))


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
