"""Pictures of the inspector's pages. `docs/screenshots.py` uses this. It needs the extras `inspector` and `browser`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import chromium

from gpt_agent_fsm import Runtime, Settings, tool
from gpt_agent_fsm.inspector import inspector, serve
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.steps import Step

__all__ = ["PICTURES", "SHOTS", "Shot", "photograph"]

SIZES: Mapping[str, tuple[int, int]] = {"desktop": (1280, 900), "phone": (390, 844)}
_LIMITED = [Fail(RunStatus.RATE_LIMITED)]
_PLANS: Mapping[str, Sequence[Sequence[Step]]] = {
    "Hello": [[Linger(2), Answer("Good morning. How can I help?")]],
    "Where is order 17?": [[Linger(1), *_LIMITED], [Linger(2), Answer("It was lost on its way to you.")]],
    "Then pay me back.": [[Linger(1), Call((("refund", '{"order": 17, "reason": "lost"}'),))]],
    "Summarise the day": [[Linger(100_000)]],
    "Fail": [[Fail(message="The server had an error while processing your request.")]],
    "Hurry": [_LIMITED] * 9,
}
"""What a run does, for the text of its message. Each repetition of a run takes the next plan."""
_OTHERS = ("Hello", "Fail", "Hello", "Where is order 17?", "Hello", "Hello", "Summarise the day", "Hurry")
_SAID = ("Hello", "Where is order 17?", "Then pay me back.")
_PAUSE, _SHORT_PAUSE = 370.0, 14.0


@attrs.frozen
class Shot:
    """A picture: a page of the inspector ("list" or "thread"), the size of the window, and the colours.

    `height` is the height of the picture. With None, the picture shows the whole page.
    """

    page: str
    size: str
    scheme: str
    height: int | None = None


SHOTS = {
    f"{page}-{size}-{scheme}": Shot(page, size, scheme)
    for page in ("list", "thread")
    for size in SIZES
    for scheme in ("light", "dark")
}
"""All pages in each size, light and dark, by their names."""
PICTURES = {
    "inspector": Shot("list", "desktop", "light", 660),
    "inspector-thread": Shot("thread", "desktop", "light", 1010),
}
"""The pictures of the page about the inspector, by their names."""


@tool(approve=True)
def refund(order: int, reason: str) -> str:
    """Pay the price of an order back."""
    return f"Order {order} was paid back: {reason}."


@contextmanager
def _conversations() -> Iterator[tuple[Runtime, str]]:
    """Yield a runtime with conversations in different states, and the id of the one that waits for an approval."""
    scheduler, taken = VirtualScheduler(), dict.fromkeys(_PLANS, 0)

    def plan(text: str) -> Sequence[Step]:
        taken[text] += 1
        return list(_PLANS[text][min(taken[text], len(_PLANS[text])) - 1])

    settings = Settings(idle_timeout=None, rate_limit_retry_delay=4.0, stall_after=None)
    with Runtime(SimulatedServer(plan), settings, scheduler=scheduler, tools=[refund]) as runtime:
        # The last record is a few seconds old.
        passing = len(_OTHERS) * _PAUSE + len(_SAID) * _SHORT_PAUSE
        scheduler.set_time_of_day(time.time() - scheduler.clock.time() - passing)
        for text in _OTHERS:
            runtime.start("asst_1").add_user_message(text)
            scheduler.advance(_PAUSE)
        agent = runtime.start("asst_1")
        taken["Where is order 17?"] = 0
        for text in _SAID:
            agent.add_user_message(text)
            scheduler.advance(_SHORT_PAUSE)
        yield runtime, agent.thread_id


def photograph(places: Mapping[Shot, Path]) -> None:
    """Write these pictures."""
    with _conversations() as (runtime, thread_id), serve(inspector(runtime)) as url, chromium.launched() as browser:
        for shot, path in places.items():
            width, height = SIZES[shot.size]
            viewport = {"width": width, "height": shot.height or height}
            page = browser.new_page(viewport=viewport, color_scheme=shot.scheme, reduced_motion="reduce")
            page.goto(url if shot.page == "list" else f"{url}thread?id={thread_id}")
            page.locator("#link", has_text="live").wait_for()
            page.screenshot(path=path, full_page=shot.height is None)
            page.close()
