"""Pictures of what people see. `python docs/screenshots.py` writes the pictures of the terminal that the pages show.

`python docs/screenshots.py --pages FOLDER index chat` builds the pages and writes a picture of each named page: on a
desktop and on a phone, light and dark. This shows whether a change of the style looks good. It needs the extras `docs`
and `browser`, and Chromium. Nothing is fetched from a network.

`python docs/screenshots.py --inspector` writes the pictures on the page about the inspector, and with a folder all
pages of the inspector: on a desktop and on a phone, light and dark. It needs the extra `inspector`, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import chromium

if TYPE_CHECKING:
    from rich.text import Text

DOCS = Path(__file__).parent
PICTURES = DOCS / "_static"

# --- the terminal ------------------------------------------------------------------------------------------

_COLUMNS = 96
_SAME_IDS = "from gpt_agent_fsm.local import ids\nids._random.seed(1)"
_SCRIPT = """
rules:
  - when: table
    steps:
      - call: {name: book_table, arguments: {people: 4}}
      - say: The table is booked. Shall I order flowers, too?
  - when: weather
    steps:
      - call: {name: get_weather, arguments: {city: Oslo}}
      - say: It is 21 degrees in Oslo. You can sit outside.
"""
_TOOLS = '''
from gpt_agent_fsm import tool

@tool(approve=True)
def book_table(people: int) -> str:
    """Book a table in the restaurant."""
    return f"A table for {people} is booked."
'''
_REDRAWN = "\r\x1b[2K\x1b[1A"
"""What rich writes before it draws a moving picture again."""


def chat() -> Text:
    """Return a chat with two tools: a person approves a call of the first, and types the output of the second."""
    from terminal_screen import TerminalScreen  # noqa: PLC0415 - needs rich

    from tests.cli.chat.terminal import Terminal  # noqa: PLC0415 - needs a pseudo terminal

    Path("chat.yaml").write_text(_SCRIPT, encoding="utf-8")
    Path("restaurant.py").write_text(_TOOLS, encoding="utf-8")
    arguments = ("chat", "--script", "chat.yaml", "--tools", "restaurant:book_table")
    with Terminal(*arguments, first=_SAME_IDS, size=(40, _COLUMNS)) as terminal:
        terminal.prompted()
        terminal.type("A table for 4, please.")
        terminal.until("a reason:")
        terminal.type("y")
        terminal.prompted()
        terminal.type("How is the weather?")
        terminal.until("text\\):")
        terminal.type('{"celsius": 21}')
        terminal.prompted()
        terminal.type("/usage")
        terminal.prompted()
        return TerminalScreen(_command(*arguments) + terminal.raw, _COLUMNS).text


def demo() -> Text:
    """Return the demo at a moment when one conversation waits for tools and another one is rate limited."""
    from terminal_screen import TerminalScreen  # noqa: PLC0415

    from tests.cli.chat.terminal import Terminal  # noqa: PLC0415

    with Terminal("demo", first=_SAME_IDS, size=(26, _COLUMNS)) as terminal:
        terminal.until("ended as expected")
        frames = terminal.raw.split(_REDRAWN)
    screens = (TerminalScreen(_command("demo") + frame.rpartition("\x1b[2K")[2], _COLUMNS).text for frame in frames)
    return next(
        screen
        for screen in screens
        if all(
            word in screen.plain
            for word in ("awaiting_tools", "rate_limited", "transcript", "assistant: A set of states")
        )
    )


def threads() -> Text:
    """Return the table of the threads in a store, and why one of them waits."""
    from terminal_screen import TerminalScreen  # noqa: PLC0415

    from tests.cli.chat.terminal import Terminal  # noqa: PLC0415

    written = ""
    waiting = _fill_store("agents.db")
    for arguments in (("threads", "--store", "agents.db"), ("explain", waiting, "--store", "agents.db")):
        with Terminal(*arguments, size=(40, _COLUMNS)) as terminal:
            terminal.ended()
            written += _command(*arguments) + terminal.raw
    return TerminalScreen(written, _COLUMNS).text


def _command(*arguments: str) -> str:
    return f"\x1b[2m$\x1b[0m gpt-agent-fsm {' '.join(arguments)}\r\n"


def _fill_store(path: str) -> str:
    """Fill a store with four threads. Return the id of the thread that waits for an approval."""
    from gpt_agent_fsm import Runtime, tool  # noqa: PLC0415
    from gpt_agent_fsm.ports import RunStatus  # noqa: PLC0415
    from gpt_agent_fsm.stores import SQLStore  # noqa: PLC0415
    from gpt_agent_fsm.testing import Answer, Call, Fail, SimulatedServer, VirtualScheduler  # noqa: PLC0415

    plans = {
        "Hello": [Answer("Hello.")],
        "Refund order 17": [Call((("refund", '{"order": 17}'),))],
        "Fail": [Fail(message="The server had an error.")],
        "Hurry": [Fail(RunStatus.RATE_LIMITED)],
    }

    @tool(approve=True)
    def refund(order: int) -> str:
        """Pay the price of an order back."""
        return f"Paid {order}."

    scheduler = VirtualScheduler()
    server = SimulatedServer(lambda text: list(plans[text]))
    pauses = (7000.0, 2500.0, 400.0, 5.0)
    scheduler.set_time_of_day(time.time() - scheduler.clock.time() - sum(pauses))
    with Runtime(server, store=SQLStore(f"sqlite:///{path}"), scheduler=scheduler, tools=[refund]) as runtime:
        ids = []
        for text, pause in zip(plans, pauses, strict=True):
            agent = runtime.start("asst_1")
            agent.add_user_message(text)
            scheduler.advance(pause)
            ids.append(agent.thread_id)
    return ids[1]


SCREENS: dict[str, tuple[str, Callable[[], Text]]] = {
    "chat": ("gpt-agent-fsm chat", chat),
    "demo": ("gpt-agent-fsm demo", demo),
    "threads": ("gpt-agent-fsm threads", threads),
}


def draw(name: str) -> str:
    """Return a picture of a terminal as SVG: a key of `SCREENS`."""
    from terminal_screen import svg_of  # noqa: PLC0415

    title, show = SCREENS[name]
    with _empty_folder():
        return svg_of(show(), _COLUMNS, title)


@contextmanager
def _empty_folder() -> Iterator[None]:
    """Inside the `with` block, work in an empty folder, without the variables of the user."""
    before, environment = Path.cwd(), dict(os.environ)
    for name in environment:
        if name.startswith(("OPENAI_", "GPT_AGENT_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["PYTHONPATH"] = str(DOCS.parent)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)


# --- pages ---------------------------------------------------------------------------------------------------

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
_TALLEST = 2400
_MEASURED = """() => {
    const room = document.documentElement;
    return [document.querySelector("article").scrollWidth > room.clientWidth, room.scrollHeight];
}"""


def photograph(html: Path, names: Sequence[str], folder: Path) -> list[str]:
    """Write a picture of each built page in each size, light and dark. Return the pages that are too wide for it."""
    folder.mkdir(parents=True, exist_ok=True)
    too_wide = []
    with chromium.launched() as browser:
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                for name in names:
                    page.goto((html / f"{name}.html").as_uri())
                    wide, tall = page.evaluate(_MEASURED)
                    label = f"{name.replace('/', '-')}-{size}-{scheme}"
                    clip = {"x": 0, "y": 0, "width": width, "height": min(tall, _TALLEST)}
                    page.screenshot(path=folder / f"{label}.png", full_page=True, clip=clip)
                    too_wide += [label] * wide
                page.close()
    return too_wide


def _photograph_pages(names: Sequence[str], folder: Path) -> int:
    if reason := chromium.missing():
        sys.exit(f"{reason} Install it, or leave out --pages.")
    with tempfile.TemporaryDirectory() as html:
        subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", DOCS, html], check=True)  # noqa: S603
        too_wide = photograph(Path(html), names, folder)
    for label in too_wide:
        print(f"{label} must be scrolled sideways")
    return 1 if too_wide else 0


# --- the inspector -------------------------------------------------------------------------------------------


def _photograph_inspector(folder: Path) -> int:
    """Write the pictures of the inspector: those of its page, or into another folder all pages, light and dark."""
    import inspector_pages  # noqa: PLC0415 - needs extras

    if reason := chromium.missing():
        sys.exit(f"{reason} Install it, or leave out --inspector.")
    folder.mkdir(parents=True, exist_ok=True)
    shots = inspector_pages.PICTURES if folder == PICTURES else inspector_pages.SHOTS
    inspector_pages.photograph({shot: folder / f"{name}.png" for name, shot in shots.items()})
    return 0


def main() -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", metavar="FOLDER", type=Path, help="write pictures of pages into this folder instead")
    help_ = "write the pictures of the inspector for its page; or all of its pages, into this folder"
    parser.add_argument("--inspector", metavar="FOLDER", type=Path, nargs="?", const=PICTURES, help=help_)
    parser.add_argument("names", nargs="*", help="pages, or pictures of the terminal; by default all of these pictures")
    options = parser.parse_args()
    if options.pages:
        return _photograph_pages(options.names or ["index"], options.pages)
    if options.inspector:
        return _photograph_inspector(options.inspector)
    for name in options.names or SCREENS:
        (PICTURES / f"{name}.svg").write_text(draw(name), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))  # for the person at a terminal whom the tests use, too
    sys.exit(main())
