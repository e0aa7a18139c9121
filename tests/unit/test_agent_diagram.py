"""An agent draws the machine with its state lit."""

from xml.etree import ElementTree

import pytest

from gpt_agent_fsm import diagrams
from gpt_agent_fsm.errors import AgentNotAlive, StoreError
from gpt_agent_fsm.events import StateChanged
from gpt_agent_fsm.testing import Answer, Call


@pytest.fixture
def agent(world):
    """An agent that waits for the output of a tool."""
    world.plans.append([Call((("locate", "{}"),)), Answer("Oslo")])
    agent = world.connect()
    agent.add_user_message("Where?")
    world.scheduler.advance(10)
    assert agent.state == "awaiting_tools"
    return agent


@pytest.mark.parametrize("form", diagrams.FORMATS)
def test_the_state_is_lit_and_the_arrows_are_marked_in_each_format(world, agent, form):
    moves = [event for event in world.heard if isinstance(event, StateChanged)]
    assert agent.diagram(form) == diagrams.render(diagrams.diagram_of("awaiting_tools", moves), form)


def test_the_default_is_a_picture(agent):
    assert agent.diagram() == agent.diagram("svg")
    assert 'class="state awaiting_tools lit"' in agent.diagram()
    assert agent.diagram().count(' taken"') == 2


def test_only_the_arrows_of_the_last_run_are_marked(world, agent):
    agent.submit_tool_output(agent.open_tool_calls[0].id, 1)
    agent.wait()
    for number in range(100):
        agent.add_user_message(str(number))
    agent.wait()
    assert agent.diagram("md").splitlines()[0] == (
        "The thread is **`idle`**. It moved: `idle` → `running`, `running` → `idle`."
    )


def test_an_unknown_format_is_a_clear_error(agent):
    with pytest.raises(ValueError, match="the format must be one of mermaid, dot, svg, md, not 'png'"):
        agent.diagram("png")


def test_an_agent_that_was_stopped_draws_nothing(agent):
    agent.shutdown()
    with pytest.raises(AgentNotAlive):
        agent.diagram()


# --- in a notebook -----------------------------------------------------------------------------------------


def parsed(html):
    return ElementTree.fromstring(f"<all>{html}</all>")  # noqa: S314 - ours


def test_a_notebook_shows_the_agent_and_its_diagram(agent):
    html = agent._repr_html_()
    assert agent.diagram() in html
    assert parsed(html).find("p/code").text == repr(agent)


def test_a_notebook_shows_an_agent_that_was_stopped_without_a_diagram(agent):
    agent.shutdown()
    assert parsed(agent._repr_html_()).find("p/code").text == repr(agent)
    assert "<svg" not in agent._repr_html_()


def test_a_notebook_shows_an_agent_whose_store_fails(world, agent, monkeypatch):
    def fail(*_):
        raise StoreError("the disk is full")

    monkeypatch.setattr(agent._roster.store, "history", fail)
    assert parsed(agent._repr_html_()).find("p/code").text == repr(agent)


def test_the_id_of_a_thread_cannot_become_an_element(world, monkeypatch):
    agent = world.connect()
    monkeypatch.setattr(type(agent), "__repr__", lambda _: "<Agent <script>& idle>")
    assert parsed(agent._repr_html_()).find("p/code").text == "<Agent <script>& idle>"
