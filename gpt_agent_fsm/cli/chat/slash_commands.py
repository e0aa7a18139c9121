"""The lines of a chat that begin with a slash."""

from __future__ import annotations

import re

from gpt_agent_fsm.cli.chat.opening import Session, said_in
from gpt_agent_fsm.cli.chat.screen import Screen

__all__ = ["CANCEL", "COMMANDS", "QUIT", "Commands"]

CANCEL, QUIT = "/cancel", "/quit"

COMMANDS = {
    CANCEL: "end the run, and drop a message that was not sent; Ctrl-C does the same during an answer",
    "/state": "the state of the conversation, and what it waits for",
    "/usage": "the tokens that the conversation has used",
    "/history": "the messages of the conversation",
    "/help": "this list; to send a message that begins with a slash, type two slashes",
    QUIT: "leave; so does Ctrl-D",
}

_METHODS = re.compile(r" Call [a-z_]+\(\)[^.]*\.$")
"""The last sentence of `Agent.explain`, which names methods. A person in a chat has the commands instead."""


class Commands:
    """Runs the commands of a chat, except for `CANCEL` and `QUIT`, which the caller handles."""

    def __init__(self, session: Session, screen: Screen) -> None:
        self._session = session
        self._screen = screen

    def run(self, line: str) -> bool:
        """Run a command and return True. If there is no such command, show an error and return False."""
        agent, show = self._session.agent, self._screen.result
        match line:
            case "/state":
                show(f"{agent.thread_id} is {agent.state}. {_METHODS.sub('', agent.explain())}")
            case "/usage":
                used = agent.usage
                show(
                    f"{used.total_tokens} tokens in {used.runs} run{'' if used.runs == 1 else 's'}: "
                    f"{used.prompt_tokens} in prompts, {used.completion_tokens} in answers"
                )
            case "/history":
                self._history()
            case "/help":
                for name, says in COMMANDS.items():
                    show(f"{name:9} {says}")
            case _:
                self._screen.error(f"there is no command {line.split(maxsplit=1)[0]}; /help lists the commands")
                return False
        return True

    def _history(self) -> None:
        records = self._session.runtime.history(self._session.agent.thread_id)
        known = [said for said in map(said_in, records) if said is not None]
        ids = {said.id for said in known}
        messages = [said for said in self._session.earlier if said.id not in ids] + known
        for said in messages:
            self._screen.said(said.role, said.text)
        if not messages:
            self._screen.result("There are no messages yet.")
