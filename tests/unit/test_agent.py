"""The agent that user code holds: commands, properties, waiting."""

import threading

import attrs
import pytest

from gpt_agent_fsm import File, Image, State, Text, events, signals
from gpt_agent_fsm.errors import AgentNotAlive, GptAgentError, WaitInHandler, WaitTimeout
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger

ASK = Call((("locate", '{"city":"Oslo"}'),))


def test_a_conversation_from_a_message_to_the_answer(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    assert agent.wait(timeout=60) == "idle"
    assert world.names() == ["UserMessageAdded", "RunStarted", "RunCompleted", "AssistantMessageAdded"]
    assert world.heard[-1].content == "You said: Hello"
    assert agent.last_message_id == world.heard[-1].message_id


def test_commands_return_before_any_request_is_made(world):
    agent = world.connect()
    world.scheduler.settle()
    agent.add_user_message("Hello")
    assert world.server.messages(agent.thread_id) == []
    world.scheduler.settle()
    assert [message.content for message in world.server.messages(agent.thread_id)] == ["Hello"]


def test_a_tool_call_is_answered_with_compact_json(world):
    world.plans.append([ASK, Answer("Cold")])
    agent = world.connect()

    def answer(agent, event):
        if isinstance(event, events.ToolCallRequested):
            assert event.arguments == {"city": "Oslo"}
            agent.submit_tool_output(event.id, {"celsius": -3, "sky": "blå"})

    agent = world.connect(agent.thread_id, subscribe=answer)
    agent.add_user_message("Weather?")
    assert agent.wait(timeout=60) == "idle"
    (outputs,) = world.server.outputs(agent.thread_id).values()
    assert outputs == ['{"celsius":-3,"sky":"blå"}']


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), ("ok", '"ok"'), ([1, {"a": 2}], '[1,{"a":2}]'), (True, "true"), (1.5, "1.5")]
)
def test_any_json_value_is_an_output(world, value, text):
    world.plans.append([ASK, Answer()])
    agent = world.connect()
    agent.add_user_message("x")
    world.scheduler.advance(2)
    call = next(event for event in world.heard if isinstance(event, events.ToolCallRequested))
    agent.submit_tool_output(call.id, value)
    agent.wait(timeout=60)
    assert world.server.outputs(agent.thread_id) == {call.id: [text]}


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, "\ud800"])
def test_an_output_that_is_not_valid_json_is_refused_at_the_call(world, value):
    with pytest.raises(ValueError, match="JSON"):
        world.connect().submit_tool_output("call_1", value)


@pytest.mark.parametrize("content", ["", "  \n", "\t"])
def test_a_blank_message_is_refused_at_the_call(world, content):
    with pytest.raises(ValueError, match="the message must not be blank"):
        world.connect().add_user_message(content)


@pytest.mark.parametrize("content", [None, 7, b"x"])
def test_a_message_that_is_not_a_string_is_refused_at_the_call(world, content):
    with pytest.raises(ValueError, match="must be a string"):
        world.connect().add_user_message(content)


class Marked(str):
    """A string of another library, for example one that is marked as safe HTML."""

    __slots__ = ()


def test_a_subclass_of_str_is_taken_as_its_text_wherever_a_text_is_expected(world):
    agent = world.connect(assistant_id=Marked("asst_1"), key=Marked("user-42"), last_message_id=Marked("msg_0"))
    agent.set_assistant_id(Marked("asst_2"))
    world.plans.append([ASK, Answer("Hello you")])
    parts = [
        Marked("Hello"),
        Text(Marked("you")),
        Image(url=Marked("https://e.com/a.png")),
        File(file_id=Marked("f_1")),
    ]
    agent.add_user_message(parts)
    world.scheduler.advance(5)
    (call,) = agent.open_tool_calls
    agent.submit_tool_output(Marked(call.id), Marked("warm"))
    assert agent.wait(timeout=60) == "idle"
    assert agent.ask(Marked("Hello"), timeout=60).text
    saved = [each for message in world.server.messages(agent.thread_id) for each in (message.content, *message.parts)]
    texts = [value for each in saved for value in (attrs.astuple(each) if attrs.has(type(each)) else (each,))]
    assert {type(value) for value in texts if isinstance(value, str)} == {str}
    assert type(world.runtime.find(Marked("user-42"))) is str


def test_a_message_that_cannot_be_sent_is_refused_at_the_call(world):
    with pytest.raises(ValueError, match="surrogate"):
        world.connect().add_user_message("half \ud83d")


def test_blank_ids_are_refused_at_the_call(world):
    agent = world.connect()
    with pytest.raises(ValueError, match="assistant id must not be blank"):
        agent.set_assistant_id(" ")
    with pytest.raises(ValueError, match="tool call id must not be blank"):
        agent.submit_tool_output("", 1)


def test_properties_reflect_commands_that_no_tick_has_handled_yet(world):
    agent = world.connect(last_message_id="msg_1")
    agent.set_assistant_id("asst_2")
    assert agent.assistant_id == "asst_2"
    assert agent.last_message_id == "msg_1"
    agent.add_user_message("Hello")
    assert agent.assistant_id == "asst_2"


def test_the_assistant_of_the_next_run_is_the_new_one(world):
    agent = world.connect()
    agent.set_assistant_id("asst_2")
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert world.server.runs(agent.thread_id)[0].assistant_id == "asst_2"


@pytest.mark.parametrize("how", ["set_assistant_id", "connect"])
def test_a_run_that_waits_to_be_started_again_has_the_new_assistant(world, how):
    world.plans.extend([[Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")], [Answer()]])
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    assert agent.state == "rate_limited"
    if how == "connect":
        assert world.connect(agent.thread_id, assistant_id="asst_2") is agent
    else:
        agent.set_assistant_id("asst_2")
    assert agent.wait(timeout=60) == "idle"
    started = [event.assistant_id for event in world.heard if isinstance(event, events.RunStarted)]
    assert started == ["asst_1", "asst_2"]


def test_the_state_is_a_word(world):
    agent = world.connect()
    assert agent.state == "idle"
    assert str(agent.state) == "idle"
    assert f"{agent.state}" == "idle"
    assert agent.state is State.IDLE
    assert agent.run_in_progress is False
    assert agent.run_id is None


def test_the_agent_shows_whether_a_run_is_in_progress(world):
    world.plans.append([Linger(5)])
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(2)
    assert agent.state == "running"
    assert agent.run_in_progress
    assert agent.run_id == world.server.runs(agent.thread_id)[0].id


def test_a_run_is_cancelled(world):
    world.plans.append([Linger(100)])
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(2)
    agent.cancel_run()
    assert agent.wait(timeout=60) == "failed"
    assert world.heard[-2].code == "cancelled"


def test_waiting_gives_up_in_time_and_the_conversation_continues(world):
    world.plans.append([Linger(20), Answer()])
    agent = world.connect()
    agent.add_user_message("Hello")
    with pytest.raises(WaitTimeout, match=r"after 5 seconds\. The run run_3 is in progress") as caught:
        agent.wait(timeout=5)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, GptAgentError)
    assert agent.wait(timeout=60) == "idle"


def test_waiting_includes_queued_and_unread_messages(world):
    agent = world.connect()
    for word in ("one", "two", "three"):
        agent.add_user_message(word)
    agent.wait()
    assert world.names().count("AssistantMessageAdded") == 3


def test_waiting_for_a_failed_run_returns_the_state(world):
    world.plans.append([Fail()])
    agent = world.connect()
    agent.add_user_message("Hello")
    assert agent.wait(timeout=60) == "failed"


@pytest.mark.parametrize("other", [False, True])
def test_waiting_inside_a_handler_raises_at_once(world, other):
    caught = []
    elsewhere = world.connect()

    def handler(agent, event):
        if isinstance(event, events.RunCompleted):
            with pytest.raises(WaitInHandler, match="inside a handler") as info:
                (elsewhere if other else agent).wait()
            caught.append(info.value)

    agent = world.connect(subscribe=handler)
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert len(caught) == 1
    assert isinstance(caught[0], RuntimeError)


def test_a_dead_agent_refuses_commands_and_answers_what_it_can(world):
    agent = world.connect()
    agent.shutdown()
    assert agent.alive is False
    assert world.runtime.get(agent.thread_id) is None
    for command in (
        lambda: agent.add_user_message("x"),
        lambda: agent.submit_tool_output("call_1", 1),
        lambda: agent.set_assistant_id("asst_2"),
        agent.cancel_run,
        agent.shutdown,
        agent.wait,
        lambda: agent.state,
        lambda: agent.run_in_progress,
    ):
        with pytest.raises(AgentNotAlive, match=r"was stopped \(shutdown\); connect again"):
            command()
    assert agent.assistant_id == "asst_1"
    assert agent.last_message_id is None
    assert agent.run_id is None
    assert repr(agent) == f"<Agent {agent.thread_id} not alive>"


def test_an_agent_that_is_stopped_while_somebody_waits_ends_the_waiting(world):
    world.plans.append([Linger(100)])
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.call_later(3, agent.shutdown)
    with pytest.raises(AgentNotAlive):
        agent.wait()


def test_an_agent_says_what_it_is(world):
    agent = world.connect()
    assert repr(agent) == f"<Agent {agent.thread_id} idle>"


def test_an_agent_may_be_held_weakly_by_blinker(world):
    agent = world.connect()
    seen = threading.Event()

    def on_completed(sender, event):
        seen.set()

    signals.run_completed.connect(on_completed, sender=agent)
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert seen.is_set()


@pytest.mark.parametrize("timeout", ["5", True])
def test_a_timeout_is_a_number_of_seconds(world, timeout):
    with pytest.raises(ValueError, match="timeout must be a number of seconds of at least 0 or None"):
        world.connect().wait(timeout=timeout)


def test_a_thread_with_a_command_that_no_worker_has_taken_yet_is_not_said_to_be_at_rest(world):
    agent = world.connect()
    world.scheduler.settle()
    agent.add_user_message("Hello")
    assert agent.explain() == "The thread is about to carry out a command that was accepted."
    world.scheduler.settle()
    assert "carry out" not in agent.explain()


def test_a_wait_that_times_out_names_the_tool_that_it_waited_for(world):
    world.plans.append([Call((("measure", "{}"), ("locate", "{}")))])
    agent = world.connect()
    agent.add_user_message("Hello")
    with pytest.raises(WaitTimeout) as caught:
        agent.wait(timeout=5)
    call = next(event for event in world.heard if type(event).__name__ == "ToolCallRequested")
    assert f"waits for the output of measure ({call.id}), locate (" in str(caught.value)


# --- open calls -----------------------------------------------------------------------------------------------------


def test_the_calls_that_wait_for_an_output_are_listed_as_they_were_announced(world):
    world.plans.append([Call((("locate", '{"city":"Oslo"}'), ("measure", "  "))), Answer("Done")])
    agent = world.connect()
    assert agent.open_tool_calls == ()
    agent.add_user_message("x")
    world.scheduler.advance(2)
    announced = tuple(event for event in world.heard if isinstance(event, events.ToolCallRequested))
    assert agent.open_tool_calls == announced
    assert [call.arguments for call in announced] == [{"city": "Oslo"}, {}]
    agent.submit_tool_output(announced[0].id, 1)
    assert agent.open_tool_calls == announced[1:]
    agent.submit_tool_output(announced[1].id, 2)
    assert agent.open_tool_calls == ()
    assert agent.wait(timeout=60) == "idle"
    agent.shutdown()
    with pytest.raises(AgentNotAlive):
        agent.open_tool_calls  # noqa: B018 - a property
