"""A user's program. Each line with a remark has a mistake that a type checker must report, and no other line has one."""

# ruff: noqa
from typing import Literal

import blinker
from requests.auth import HTTPBasicAuth

from gpt_agent_fsm import Agent, Answer, Assistant, FunctionTool, Runtime, Settings, ToolContext, events, signals, tool
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.events import Event, RunCompleted, RunFailed

# --- handlers ----------------------------------------------------------------------------------------------------


@signals.run_completed.connect
def on_completed(agent: Agent, event: RunCompleted) -> None:
    print(agent.thread_id, event.total_tokens)


@signals.run_completed.connect
def on_completed_without_annotations(agent, event):  # type: ignore[no-untyped-def]
    print(agent, event)


@signals.run_completed.connect
@signals.run_failed.connect
def on_end(agent: Agent, event: RunCompleted | RunFailed) -> None: ...


def test_my_own_handler(agent: Agent, event: RunCompleted) -> None:
    on_completed(agent, event)
    on_end(agent, event=event)


@signals.event.connect
def on_any(agent: Agent, event: Event) -> None:
    if isinstance(event, RunFailed):
        print(event.code)


@signals.run_failed.connect_via(blinker.ANY)
def on_failed(agent: Agent, event: RunFailed) -> None: ...


with signals.run_completed.connected_to(on_completed):
    signals.run_completed.disconnect(on_completed)

some_signal: blinker.Signal = signals.run_completed


def on_wrong_event(agent: Agent, event: RunFailed) -> None: ...


def on_wrong_name(agent: Agent, completed: RunCompleted) -> None: ...


async def on_async(agent: Agent, event: RunCompleted) -> None: ...


signals.run_completed.connect(on_wrong_event)  # mistake: the event class of another signal
signals.event.connect(on_wrong_event)  # mistake: one event class for all events
signals.run_completed.connect(on_wrong_name)  # mistake: another parameter name
signals.run_completed.connect(on_async)  # mistake: an async handler

# --- backends and assistants ---------------------------------------------------------------------------------------


@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
    """Tell how warm it is."""
    return f"{city}: 21 {unit}"


def plain(context: ToolContext, city: str) -> str:
    return city


FunctionTool("f", "A function.", {"type": "object"})
tools = [get_weather, plain, {"type": "code_interpreter"}, FunctionTool("f")]
guide = Assistant("gpt-4o", "Be brief.", [get_weather, plain, {"type": "code_interpreter"}, FunctionTool("f")])
Assistant("gpt-4o", tools=[42])  # mistake: a number as a tool
Assistant("gpt-4o", tools=get_weather)  # mistake: a tool where a list belongs


def token() -> str:
    return "token"


async def async_token() -> str:
    return "token"


backend = ResponsesBackend(auth=token, assistants={"guide": guide})
AssistantsBackend("https://agents.example.com/v1", auth=HTTPBasicAuth("user", "password")).publish(guide)
AssistantsBackend(auth=async_token)  # mistake: an async function for a token
AssistantsBackend(auth="token")  # mistake: a token where a callable belongs

# --- conversations -------------------------------------------------------------------------------------------------

heard: list[Event] = []
settings = Settings(heartbeat_interval=0.5, run_timeout=None)
Settings(heartbeat=0.5)  # mistake: the name of a setting


def subscriber(agent: Agent, event: Event) -> None: ...


def subscriber_of_one(event: Event) -> None: ...


async def async_subscriber(agent: Agent, event: Event) -> None: ...


with Runtime(backend, settings) as runtime:
    agent = runtime.start("guide", subscribe=lambda agent, event: heard.append(event))
    agent = runtime.connect(thread_id="t", assistant_id="guide", last_message_id=None, subscribe=subscriber)
    answer: Answer = agent.ask("Hello", timeout=60)
    print(answer.text.upper(), answer.run_id)
    runtime.start("guide", subscribe=subscriber_of_one)  # mistake: a subscriber with one parameter
    runtime.start("guide", subscribe=async_subscriber)  # mistake: an async subscriber
    runtime.connect(thread_id="t", assistant_id="guide")  # mistake: a missing argument
    agent.set_assistant_id(7)  # mistake: a number as an id
    print(answer.txt)  # mistake: the name of an attribute
