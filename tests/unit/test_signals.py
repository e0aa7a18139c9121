"""Which handler hears which event, in which order, and the effect of a failing handler."""

import logging
import typing

import pytest

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.ports import RunStatus
from gpt_agent_fsm.testing import Answer, Fail


def test_there_is_one_signal_for_each_event_in_snake_case():
    classes = typing.get_args(events.Event)
    assert set(events.__all__) == {cls.__name__ for cls in classes} | {"Event"}
    for cls in classes:
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")
        assert signals.by_class[cls] is getattr(signals, name)
        assert getattr(signals, name).name == name


def test_a_signal_is_sent_with_the_agent_and_the_event(world):
    heard = []

    def on_completed(agent, event):
        heard.append((agent, event))

    agent = world.connect()
    with signals.run_completed.connected_to(on_completed):
        agent.add_user_message("Hello")
        agent.wait(timeout=60)
    ((sender, event),) = heard
    assert sender is agent
    assert isinstance(event, events.RunCompleted)


def test_a_handler_connected_to_one_agent_hears_no_other(world):
    heard = []

    def hear(agent, event):
        heard.append(agent)

    one, two = world.connect(), world.connect()
    with signals.event.connected_to(hear, sender=one):
        for agent in (one, two):
            agent.add_user_message("Hello")
            agent.wait(timeout=60)
    assert set(heard) == {one}


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3)])
def test_a_handler_that_raises_stops_neither_other_handlers_nor_the_agent(world, caplog, error):
    def broken(agent, event):
        raise error

    heard = []
    agent = world.connect(subscribe=broken)
    world.connect(agent.thread_id, subscribe=lambda agent, event: heard.append(event))
    with signals.event.connected_to(broken), signals.run_completed.connected_to(broken):
        agent.add_user_message("Hello")
        assert agent.wait(timeout=60) == "idle"
    assert heard == world.heard
    assert "broken failed on RunCompleted" in caplog.text


def test_a_muted_signal_is_not_sent(world):
    heard = []

    def hear(agent, event):
        heard.append(event)

    agent = world.connect()
    with signals.run_completed.connected_to(hear), signals.run_completed.muted():
        agent.add_user_message("Hello")
        agent.wait(timeout=60)
    assert "RunCompleted" in world.names()
    assert heard == []
    with signals.run_completed.connected_to(hear):
        agent.add_user_message("Again")
        agent.wait(timeout=60)
    assert [type(event) for event in heard] == [events.RunCompleted]


def test_a_handler_may_command_its_agent(world):
    def ask_twice(agent, event):
        if isinstance(event, events.AssistantMessageAdded) and event.content == "You said: one":
            agent.add_user_message("two")

    agent = world.connect(subscribe=ask_twice)
    agent.add_user_message("one")
    agent.wait(timeout=60)
    assert [message.content for message in world.server.messages(agent.thread_id)][-1] == "You said: two"


def test_events_are_announced_after_they_were_saved(world):
    announced = []

    def check(agent, event):
        announced.append((event, event in [record.event for record in world.runtime.history(agent.thread_id)]))

    agent = world.connect(subscribe=check)
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert announced == [(record.event, True) for record in world.runtime.history(agent.thread_id)]
    assert isinstance(announced[-1][0], events.AssistantMessageAdded)


def test_the_name_of_a_handler_is_readable():
    class Listener:
        def __call__(self, agent, event): ...

    assert signals.name_of(test_there_is_one_signal_for_each_event_in_snake_case).endswith("snake_case")
    assert signals.name_of(Listener()).endswith("Listener")


@pytest.mark.parametrize("error", [__import__("asyncio").CancelledError(), GeneratorExit()])
def test_no_exception_of_a_handler_ends_a_worker(world, caplog, error):
    def broken(agent, event):
        raise error

    agent = world.connect(subscribe=broken)
    agent.add_user_message("Hello")
    assert agent.wait(timeout=60) == "idle"
    assert "broken failed on RunCompleted" in caplog.text


def test_a_handler_whose_name_cannot_be_read_is_called_by_its_class():
    class Mute:
        def __getattr__(self, name):
            raise SystemExit

        def __call__(self, agent, event):
            raise ValueError("mine")

    event = events.AgentStopped(thread_id="t", reason="r")
    signals.call(Mute(), None, event, by_keyword=False, thread="t")
    assert signals.name_of(Mute()).endswith("Mute")


def test_ctrl_c_in_a_handler_is_passed_on_to_the_main_thread():
    def broken(agent, event):
        raise KeyboardInterrupt

    event = events.AgentStopped(thread_id="t", reason="r")
    with pytest.raises(KeyboardInterrupt):
        signals.call(broken, None, event, by_keyword=False, thread="t")
    assert not signals.in_handler()


# --- the log ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (Answer("secret"), "run run_3 completed, "),
        (Fail(message="secret"), "run run_3 failed: server_error"),
        (
            Fail(RunStatus.RATE_LIMITED, message="Rate limit reached: secret"),
            "run run_3 was rate limited, 10 retries",
        ),
    ],
)
def test_each_run_that_ends_is_one_line_at_info_without_message_text(world, caplog, step, line):
    caplog.set_level(logging.INFO, logger="gpt_agent_fsm")
    world.plans.append([step])
    agent = world.connect()
    agent.add_user_message("secret")
    world.scheduler.advance(10)
    [record] = [record for record in caplog.records if record.levelno == logging.INFO]
    assert line in record.getMessage()
    assert "secret" not in caplog.text
