"""A bot with three tools. It talks to the server in OPENAI_BASE_URL until you enter an empty line or press Ctrl-D."""

import contextlib
import datetime
import zoneinfo
from typing import Literal

from gpt_agent_fsm import Assistant, Runtime, tool
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.errors import RunError

NOTES: list[str] = []


@tool(retry="safe")
def get_time(zone: str = "Europe/Oslo") -> str:
    """Return the time of day in a time zone."""
    return datetime.datetime.now(zoneinfo.ZoneInfo(zone)).isoformat(timespec="minutes")


@tool(retry="safe")
def convert(amount: float, unit: Literal["celsius", "fahrenheit"]) -> float:
    """Convert a temperature into the other unit.

    Args:
        amount: The temperature.
        unit: The unit of the amount.
    """
    return round(amount * 9 / 5 + 32 if unit == "celsius" else (amount - 32) * 5 / 9, 1)


@tool
def take_note(text: str) -> int:
    """Save a note, and return the number of saved notes."""
    NOTES.append(text)
    return len(NOTES)


ASSISTANT = Assistant("gpt-4o", "You are a brief and friendly helper.", [get_time, convert, take_note])


def main() -> None:
    """Read lines from the user, and print the bot's answer to each line."""
    backend = ResponsesBackend(assistants={"helper": ASSISTANT})
    with contextlib.suppress(EOFError), Runtime(backend) as runtime:
        agent = runtime.start("helper")
        while line := input("> "):
            try:
                print(agent.ask(line, timeout=120))
            except RunError as error:
                print(f"No answer: {error}")


if __name__ == "__main__":
    main()
