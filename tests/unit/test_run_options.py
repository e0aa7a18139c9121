"""The options of one run, and structured answers, as a program uses them."""

import attrs
import pytest

from gpt_agent_fsm import Assistant, Runtime, errors, events
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ToolCall
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Linger, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.crashing import StoreHandle

PATIENCE = 60


@attrs.frozen
class Forecast:
    city: str
    celsius: float


OSLO = '{"city":"Oslo","celsius":2.5}'


# --- options ----------------------------------------------------------------------------------------------


def test_the_options_of_a_question_reach_its_run_alone(world):
    agent = world.connect()
    agent.ask("Hello", timeout=PATIENCE, model="large", metadata={"user": "7"}, tool_choice="none")
    agent.ask("Hello", timeout=PATIENCE)
    expected = {"model": "large", "metadata": {"user": "7"}, "tool_choice": "none"}
    assert world.server.options(agent.thread_id) == [expected, {}]


@pytest.mark.parametrize("api", [AssistantsBackend, ResponsesBackend])
@pytest.mark.parametrize(
    ("option", "about"), [({"max_output_tokens": 1}, "tokens"), ({"tool_choice": "required"}, "tool")]
)
def test_an_option_that_the_server_refuses_fails_its_message_alone(api, option, about):
    with LocalServer() as server:
        assistants = {"assistants": {"asst_1": Assistant("a model")}} if api is ResponsesBackend else {}
        with Runtime(api(server.base_url, "k", **assistants)) as runtime:
            agent = runtime.start("asst_1")
            with pytest.raises(errors.RunError, match=about) as caught:
                agent.ask("Hello", timeout=PATIENCE, **option)
            assert caught.value.code == "content_refused"
            assert agent.ask("Again", timeout=PATIENCE).text


def test_options_survive_a_crash_before_the_run_is_created():
    server, store = SimulatedServer(), MemoryStore()
    first = Runtime(server, store=StoreHandle(store), scheduler=VirtualScheduler())
    agent = first.start("a")
    agent.add_user_message("Hello", instructions="Be brief")
    with Runtime(server, store=StoreHandle(store), scheduler=VirtualScheduler()) as second:
        second.agents[0].wait(timeout=PATIENCE)
    assert server.options(agent.thread_id) == [{"instructions": "Be brief"}]


def test_a_message_that_nobody_waits_for_takes_no_timeout(world):
    sentence = "Agent.add_user_message takes no argument 'timeout'; there are content, when, instructions"
    with pytest.raises(TypeError, match=sentence):
        world.connect().add_user_message("Hello", timeout=1)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"temperature": 1}, TypeError, r"Agent\.\w+ takes no argument 'temperature'; there are content, .*instruct"),
        ({"wen": "next"}, TypeError, r"Agent\.\w+ takes no argument 'wen'; did you mean 'when'\?$"),
        ({"model": " "}, ValueError, "model must be a string that is not blank"),
        ({"instructions": 7}, ValueError, "instructions must be a string"),
        ({"tool_choice": "get_weather"}, ValueError, 'tool_choice must be "auto", "none", "required" or a mapping'),
        ({"tool_choice": {"name": "f"}}, ValueError, 'a mapping with the "type" of a tool'),
        ({"metadata": {"a": 1}}, ValueError, "metadata must be a mapping of strings to strings"),
        ({"metadata": {str(n): "" for n in range(13)}}, ValueError, "at most 12 names"),
        ({"metadata": {"a": "x" * 513}}, ValueError, "texts of 512 characters"),
        ({"metadata": {"gpt_agent_fsm_key": "x"}}, ValueError, "without names that begin with gpt_agent_fsm_"),
        ({"max_output_tokens": 0}, ValueError, "max_output_tokens must be a whole number above 0"),
        ({"max_output_tokens": True}, ValueError, "max_output_tokens must be a whole number above 0"),
        ({"model": "torn \ud83d"}, ValueError, "cannot be written as JSON"),
        ({"tool_choice": {"type": object()} | {"type": "x", "of": object()}}, ValueError, "cannot be written as JSON"),
        ({"when": "later"}, ValueError, 'when must be "next" or "instead"'),
    ],
)
@pytest.mark.parametrize("method", ["ask", "add_user_message"])
def test_a_wrong_option_is_refused_and_nothing_is_sent(world, method, options, error, reason):
    agent = world.connect()
    with pytest.raises(error, match=reason):
        getattr(agent, method)("Hello", **options)
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert world.server.messages(agent.thread_id) == []


def test_an_option_of_none_is_left_out(world):
    agent = world.connect()
    agent.ask("Hello", timeout=PATIENCE, model=None)
    assert world.server.options(agent.thread_id) == [{}]


def test_a_backend_that_takes_no_options_is_named():
    class Plain(SimulatedServer):
        run_options = frozenset()

    with Runtime(Plain(), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("a")
        with pytest.raises(ValueError, match="Plain takes no model for a single run"):
            agent.ask("Hello", model="large")
        with pytest.raises(ValueError, match="Plain takes no output for a single run"):
            agent.ask("Hello", output=Forecast)
        assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


# --- instead ----------------------------------------------------------------------------------------------


def test_a_question_instead_of_the_run_in_progress_is_answered_first(world):
    world.plans.append([Linger(1000)])
    agent = world.connect()
    agent.add_user_message("Slow")
    world.scheduler.advance(5)
    agent.add_user_message("Later")
    assert agent.ask("Now", timeout=PATIENCE, when="instead").text == "You said: Now"
    agent.wait(timeout=PATIENCE)
    said = [event.content for event in world.heard if isinstance(event, events.UserMessageAdded)]
    assert said == ["Slow", "Now", "Later"]
    (failed,) = (event for event in world.heard if isinstance(event, events.RunFailed))
    assert failed.code == "cancelled"


# --- structured answers -----------------------------------------------------------------------------------


def test_an_answer_is_an_object_of_the_class_that_was_asked_for(world):
    world.plans.append([Answer(OSLO)])
    answer = world.connect().ask("Weather?", timeout=PATIENCE, output=Forecast)
    assert answer.value == Forecast("Oslo", 2.5)
    assert answer.text == OSLO


def test_an_answer_as_text_has_no_value(world):
    assert world.connect().ask("Hello", timeout=PATIENCE).value is None


def test_an_answer_of_another_form_keeps_its_text(world):
    world.plans.append([Answer("Cold.")])
    agent = world.connect()
    answer = agent.ask("Weather?", timeout=PATIENCE, output=Forecast)
    with pytest.raises(errors.RunError, match="not a valid Forecast: the answer is not valid JSON") as raised:
        _ = answer.value
    assert (raised.value.code, raised.value.thread_id) == ("invalid_output", agent.thread_id)
    assert raised.value.run_id == answer.run_id
    assert answer.text == "Cold."


def test_an_output_that_cannot_be_described_is_refused_and_nothing_is_sent(world):
    agent = world.connect()
    with pytest.raises(ValueError, match="output must be a JSON schema or a class with fields"):
        agent.ask("Weather?", output=int | str)
    assert world.server.messages(agent.thread_id) == []


def weather(request):
    """Answer with an object if one was asked for; the tool is called first."""
    if request.tools and not any(message["role"] == "tool" for message in request.messages):
        return [ToolCall("measure", {})]
    return OSLO if request.response_format else f"{request.model}: {request.instructions}"


def backends(server, **fields):
    """Yield the id of an assistant on each API, with the backend that knows it."""
    assistant = Assistant("small", "Be kind.", **fields)
    yield ResponsesBackend(server.base_url, assistants={"a": assistant}), "a"
    threads = AssistantsBackend(server.base_url)
    yield threads, threads.publish(assistant)


def measure() -> float:
    return 2.5


def test_options_and_structured_answers_work_with_both_apis():
    with LocalServer(weather) as server:
        for backend, assistant_id in backends(server, tools=[measure]):
            with Runtime(backend) as runtime:
                agent = runtime.start(assistant_id)
                assert agent.ask("Weather?", timeout=PATIENCE, output=Forecast).value == Forecast("Oslo", 2.5)
                plain = agent.ask("Who are you?", timeout=PATIENCE, model="large", additional_instructions="Rhyme.")
                assert plain.text.startswith("large: Be kind.")
                assert plain.text.endswith("Rhyme.")
                assert agent.ask("And you?", timeout=PATIENCE, instructions="Bark.").text == "small: Bark."


def test_the_output_of_an_assistant_holds_for_each_question():
    with LocalServer(weather) as server:
        for backend, assistant_id in backends(server, output=Forecast):
            with Runtime(backend) as runtime:
                answer = runtime.start(assistant_id).ask("Weather?", timeout=PATIENCE)
                assert answer.value == Forecast("Oslo", 2.5)


@pytest.mark.parametrize(
    "choice", [{"type": "function", "name": "measure"}, {"type": "function", "function": {"name": "measure"}}]
)
def test_a_tool_that_must_be_called_is_named_in_the_form_of_either_api(choice):
    chosen = []

    def model(request):
        chosen.append(request.tool_choice)
        return weather(request)

    with LocalServer(model) as server:
        for backend, assistant_id in backends(server, tools=[measure]):
            chosen.clear()
            with Runtime(backend) as runtime:
                runtime.start(assistant_id).ask("Weather?", timeout=PATIENCE, tool_choice=choice)
            assert chosen[0] == {"type": "function", "function": {"name": "measure"}}
