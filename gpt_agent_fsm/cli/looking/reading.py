"""`gpt-agent-fsm history` and `gpt-agent-fsm explain`: one thread of a store."""

from __future__ import annotations

import time
from collections.abc import Iterable

import click

from gpt_agent_fsm import Settings
from gpt_agent_fsm.cli.chat.options import ASSISTANT
from gpt_agent_fsm.cli.looking import opening, output
from gpt_agent_fsm.cli.looking.doctor import chat_command, effect_of
from gpt_agent_fsm.engine.diagnosing import find
from gpt_agent_fsm.engine.protocols import Record, Saved
from gpt_agent_fsm.engine.showing import explanation_in_parts, fields_of, printable, was_pruned

__all__ = ["explain", "history"]

_INTERVAL = 0.5


@click.command()
@click.argument("thread_id", metavar="THREAD")
@opening.store_option()
@opening.as_json
@click.option("--follow", is_flag=True, help="Keep printing new events, until Ctrl-C; with --json, one object a line.")
@opening.without_traceback
def history(*, thread_id: str, url: str, as_json: bool, follow: bool) -> None:
    """Print the events of a thread, oldest first. THREAD is the id or the key of the thread.

    Each line has the number, the time (UTC), the event and its fields. The store is only read. If old events were
    pruned, the numbers begin above 1, and standard error says so.

    \b
    Examples:
      gpt-agent-fsm history thread_1 --store agents.db
      gpt-agent-fsm history thread_1 --store agents.db --follow
      gpt-agent-fsm history thread_1 --store agents.db --json | jq '.[].type'
    """  # noqa: D301 - click reads the backspace
    with opening.opened(url) as store:
        saved = opening.load(store, thread_id)
        thread_id = saved.snapshot.thread_id
        records = store.history(thread_id)
        if was_pruned(records, saved):
            click.echo("Older events were pruned.", err=True)
        if as_json and not follow:
            output.print_json_array([fields_of(record) for record in records])
            return
        last = 0
        while True:
            _print(records, as_json=as_json)
            if not follow:
                return
            last = records[-1].seq if records else last
            time.sleep(_INTERVAL)
            records = store.history(thread_id, last)


def _print(records: Iterable[Record], *, as_json: bool) -> None:
    for record in records:
        if as_json:
            output.print_json(fields_of(record))
        else:
            click.echo(output.line_of(record))


@click.command(short_help="Say what a thread waits for, and what helps.")
@click.argument("thread_id", metavar="THREAD")
@opening.store_option()
@opening.as_json
@opening.without_traceback
def explain(*, thread_id: str, url: str, as_json: bool) -> None:
    """Say what a thread waits for, since when, what happens next, and which methods and commands help.

    THREAD is the id or the key of the thread. If no process holds the store, nothing happens until a program opens it,
    and the command says so. The store is only read. The settings come from the environment, as for
    `Settings.from_env()`.

    \b
    Examples:
      gpt-agent-fsm explain thread_1 --store agents.db
      gpt-agent-fsm explain thread_1 --store agents.db --json
    """  # noqa: D301 - click reads the backspace
    settings, now = opening.settings(), time.time()
    with opening.opened(url) as store:
        saved, halt = opening.load(store, thread_id), opening.halt_of(store)
    parts = explanation_in_parts(saved, settings, now, halt)
    # While a process drives the thread, the commands are refused.
    commands = _commands(saved, settings, now) if halt else {}
    if as_json:
        state = str(saved.snapshot.state)
        output.print_json(
            {
                "thread_id": saved.snapshot.thread_id,
                "state": state,
                "explanation": " ".join(parts),
                "commands": commands,
            }
        )
        return
    for part in parts:
        click.echo(output.paragraph(part))
    for effect, command in commands.items():
        click.echo(f"To {printable(effect)}, run:\n  {command}")


def _commands(saved: Saved, settings: Settings, now: float) -> dict[str, str]:
    """Return the commands that help the thread, by their effects."""
    thread_id = saved.snapshot.thread_id
    effects = [effect_of(finding) for finding in find(saved, settings, now, owned=False) if finding.commands]
    repair = opening.command("doctor", thread_id, "--repair")
    commands = {" and ".join(effects): repair} if effects else {}
    if saved.snapshot.assistant_id == ASSISTANT:
        commands["continue the conversation, with the other options of the chat, such as --script"] = chat_command(
            thread_id
        )
    return commands
