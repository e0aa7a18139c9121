"""A runtime in virtual time whose threads are in different states, and the inspector of this runtime."""

import pytest

from gpt_agent_fsm import Runtime, Settings, tool
from gpt_agent_fsm.inspector import inspector
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, Fail, SimulatedServer, VirtualScheduler

TOKEN = "a-token-of-the-tests"
PLANS = {
    "Refund": [Call((("refund", '{"order": 17}'),)), Answer("Done.")],
    "Ask": [Call((("get_weather", '{"city": "Oslo"}'),)), Answer("It is warm.")],
    "Fail": [Fail(message="The server had an error.")],
    "Hurry": [Fail(RunStatus.RATE_LIMITED)],
}


@tool(approve=True)
def refund(order: int) -> str:
    """Pay the price of an order back."""
    return f"Paid {order}."


def _answers_by_hand(agent, event):
    """Stand for a program that answers the calls of other tools later."""


class World:
    """A runtime in virtual time.

    Attributes:
        runtime: the runtime.
        app: its inspector.
        client: a browser without JavaScript.
    """

    def __init__(self, store=None):
        self.scheduler = VirtualScheduler()
        self.server = SimulatedServer(lambda text: list(PLANS.get(text, [Answer(f"You said: {text}")])))
        settings = Settings(idle_timeout=None)
        self.runtime = Runtime(self.server, settings, store or MemoryStore(), scheduler=self.scheduler, tools=[refund])
        self.app = inspector(self.runtime, token=TOKEN)
        self.client = self.app.test_client()

    def talk(self, text, seconds=5.0):
        """Send a message on a new thread, let time pass, and return the agent."""
        agent = self.runtime.start("asst_1", subscribe=_answers_by_hand)
        agent.add_user_message(text)
        self.scheduler.advance(seconds)
        return agent

    def page_of(self, agent, **query):
        """Return the page of an agent's thread."""
        return self.client.get("/thread", query_string={"id": agent.thread_id, **query}).text

    def press(self, agent, action, token=TOKEN, **fields):
        """Press a button on the page of an agent's thread, and return the answer."""
        return self.client.post(f"/thread/{action}", data={"id": agent.thread_id, "token": token, **fields})


@pytest.fixture
def world():
    world = World()
    with world.runtime:
        yield world
