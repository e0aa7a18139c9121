"""`ask`: one call sends a message and returns the answer to it."""

import math
import threading

import attrs
import pytest

from gpt_agent_fsm import Assistant, Runtime, Settings, errors, events, signals
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import RunRequest
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer, VirtualScheduler

RATE = Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")
MEASURE = Call((("measure", "{}"),))


def refuse(error):
    def fail(*args, **kwargs):
        raise error

    return fail


# --- answers ------------------------------------------------------------------------------------------


def test_the_answer_has_the_text_the_messages_the_run_and_the_tokens(world):
    answer = world.connect().ask("Hello", timeout=60)
    assert str(answer) == answer.text == "You said: Hello"
    (message,) = (event for event in world.heard if isinstance(event, events.AssistantMessageAdded))
    assert answer.messages == (message,)
    (completed,) = (event for event in world.heard if isinstance(event, events.RunCompleted))
    assert answer.run_id == completed.id
    assert answer.usage.total_tokens == completed.total_tokens
    assert answer.tool_calls == ()


def test_an_answer_without_a_message_has_an_empty_text(world):
    world.plans.append([Answer("")])
    answer = world.connect().ask("Hello", timeout=60)
    assert (answer.text, answer.messages) == ("", ())


def test_several_messages_are_joined_by_a_newline(world):
    world.plans.append([Answer("One"), Answer("Two")])
    assert world.connect().ask("Hello", timeout=60).text in ("One", "One\nTwo")


def test_an_answer_has_no_older_messages_of_a_conversation_that_names_no_runs():
    with LocalServer() as server:

        def ask(text, thread_id=None):
            backend = ResponsesBackend(server.base_url, assistants={"asst_1": Assistant("m")})
            with Runtime(backend, Settings(heartbeat_interval=0.05)) as runtime:
                agent = runtime.connect(
                    thread_id=thread_id or runtime.create_thread(), assistant_id="asst_1", last_message_id=None
                )
                return agent.thread_id, agent.ask(text, timeout=60), runtime.history(agent.thread_id)

        thread_id, first, _ = ask("One")
        _, second, history = ask("Two", thread_id)
    assert (first.text, second.text) == ("You said: One", "You said: Two")
    published = [record.event for record in history if isinstance(record.event, events.AssistantMessageAdded)]
    assert [(event.content, event.older) for event in published] == [("You said: One", True), ("You said: Two", False)]


def test_the_handlers_have_heard_the_answer_before_it_is_returned(world):
    agent = world.connect()
    answer = agent.ask("Hello", timeout=60)
    assert world.heard[-1] == answer.messages[-1]


def test_tool_calls_that_are_answered_by_hand_are_part_of_the_answer(world):
    world.plans.append([MEASURE, MEASURE, Answer("Done")])

    def measure(agent, event):
        agent.submit_tool_output(event.id, 21)

    with signals.tool_call_requested.connected_to(measure):
        answer = world.connect().ask("Hello", timeout=60)
    assert [call.name for call in answer.tool_calls] == ["measure", "measure"]
    assert answer.text == "Done"


def test_a_rate_limited_run_is_waited_for(world):
    world.plans += [[RATE], [Answer("At last")]]
    answer = world.connect().ask("Hello", timeout=600)
    assert answer.text == "At last"
    started = [event.id for event in world.heard if isinstance(event, events.RunStarted)]
    assert answer.run_id == started[-1] != started[0]


def test_the_failure_of_an_earlier_message_is_not_its_own(world):
    world.plans += [[Fail()], [Answer("Fine")]]
    agent = world.connect()
    agent.add_user_message("One")
    assert agent.ask("Two", timeout=60).text == "Fine"


def test_messages_behind_it_do_not_change_the_answer(world):
    agent = world.connect()

    def add(agent, event):
        if event.content == "One":
            agent.add_user_message("Two")

    with signals.user_message_added.connected_to(add):
        assert agent.ask("One", timeout=60).text == "You said: One"
    assert agent.wait(timeout=60) == "idle"


def test_a_run_of_somebody_else_is_not_taken_for_its_own(world):
    agent = world.connect()
    world.plans.append([Linger(3), Answer("For another")])
    other = world.server.post_message(agent.thread_id, "Other", key="x", timeout=1)
    assert other
    world.server.create_run(RunRequest(thread_id=agent.thread_id, assistant_id="asst_1", key="x.0"), timeout=1)
    answer = agent.ask("Mine", timeout=60)
    assert answer.text == "You said: Mine"


# --- no answer ----------------------------------------------------------------------------------------


def test_a_failed_run_is_an_error_with_its_code(world):
    world.plans.append([Fail(code="server_error", message="Sorry")])
    agent = world.connect()
    with pytest.raises(errors.RunError, match="Sorry") as caught:
        agent.ask("Hello", timeout=60)
    (failed,) = (event for event in world.heard if isinstance(event, events.RunFailed))
    error = caught.value
    assert (error.code, error.message, error.thread_id, error.run_id) == (
        "server_error",
        "Sorry",
        agent.thread_id,
        failed.id,
    )
    assert agent.ask("Again", timeout=60).text == "You said: Again"


def test_exhausted_retries_are_an_error(world):
    world.plans += [[RATE]] * 20
    with pytest.raises(errors.RunError) as caught:
        world.connect().ask("Hello", timeout=6_000)
    assert caught.value.code == "rate_limit_exceeded"


def test_a_cancelled_run_is_an_error(world):
    world.plans.append([Linger(10**6)])
    agent = world.connect()

    def cancel(agent, event):
        agent.cancel_run()

    with signals.run_started.connected_to(cancel), pytest.raises(errors.RunError) as caught:
        agent.ask("Hello", timeout=60)
    assert caught.value.code == "cancelled"


def test_a_discarded_message_is_an_error(world):
    world.plans.append([Linger(10**6)])
    agent = world.connect()
    agent.add_user_message("One")

    def discard(agent, event):
        agent.discard_queue()

    with signals.run_started.connected_to(discard), pytest.raises(errors.RunError) as caught:
        agent.ask("Two", timeout=60)
    assert caught.value.code == "discarded"
    assert caught.value.run_id is None


@pytest.mark.parametrize("then", ["nothing", "another message"])
def test_a_message_in_doubt_that_is_discarded_and_found_is_an_error_because_it_gets_no_run(world, then):
    agent = world.connect()
    post = world.server.post_message

    def lose_the_answer(*args, **kwargs):
        world.server.post_message = post
        post(*args, **kwargs)
        agent.discard_queue()
        if then == "another message":
            agent.add_user_message("Another")
        raise errors.OutcomeUnknown(None, None, "No answer.", in_flight=True)

    world.server.post_message = lose_the_answer
    with pytest.raises(errors.RunError, match="on the thread, but its run was discarded") as caught:
        agent.ask("Hello", timeout=100)
    assert (caught.value.code, caught.value.run_id) == ("discarded", None)


@pytest.mark.parametrize("code", ["content_filter", "invalid_image_url"])
@pytest.mark.parametrize("operation", ["post_message", "create_run"])
def test_refused_content_is_an_error_and_the_next_message_is_answered(world, operation, code):
    agent = world.connect()
    original = getattr(world.server, operation)
    status = 413 if operation == "post_message" else 400
    setattr(world.server, operation, refuse(errors.RequestRefused(status, code, "Not this")))
    with pytest.raises(errors.RunError, match="Not this") as caught:
        agent.ask("Hello", timeout=60)
    assert caught.value.code == "content_refused"
    setattr(world.server, operation, original)
    assert agent.ask("Again", timeout=60).text == "You said: Again"


def test_a_message_that_was_not_sent_is_withdrawn_from_a_parked_queue(world):
    agent = world.connect()
    post, world.server.post_message = world.server.post_message, refuse(errors.AccessDenied(401, "invalid", "No key"))
    with pytest.raises(errors.RunError, match=r"No key .*\. The message was not sent, and it was withdrawn") as caught:
        agent.ask("Hello", timeout=60)
    assert caught.value.code == "invalid"
    (discarded,) = (event for event in world.heard if isinstance(event, events.MessagesDiscarded))
    assert len(discarded.keys) == 1
    world.server.post_message = post
    agent.ask("Again", timeout=60)
    assert [message.content for message in world.server.messages(agent.thread_id)] == ["Again", "You said: Again"]


def test_a_message_behind_one_that_has_failed_says_so_and_how_to_give_that_one_up(world):
    agent = world.connect()
    create, world.server.create_run = (
        world.server.create_run,
        refuse(errors.RequestRefused(400, "bad", "No such thing")),
    )
    with pytest.raises(
        errors.RunError, match=r"is on the thread\. The next command tries again; discard_queue\(\) gives"
    ):
        agent.ask("One", timeout=60)
    with pytest.raises(
        errors.RunError, match=r"No such thing.* An earlier message has failed.* withdrawn\..* call discard_queue\(\)\."
    ):
        agent.ask("Two", timeout=60)
    world.server.create_run = create
    agent.discard_queue()
    assert agent.ask("Three", timeout=60).text == "You said: Three"


def test_only_the_own_message_is_withdrawn(world):
    agent = world.connect()
    post, world.server.post_message = world.server.post_message, refuse(errors.AccessDenied(401, "invalid", "No key"))
    agent.add_user_message("One")
    with pytest.raises(errors.RunError):
        agent.ask("Two", timeout=60)
    world.server.post_message = post
    assert agent.ask("Three", timeout=60).text == "You said: Three"
    said = [message.content for message in world.server.messages(agent.thread_id)]
    assert said == ["One", "You said: One", "Three", "You said: Three"]


def test_a_withdrawn_message_is_an_error_at_once_even_if_the_queue_continues_with_another_one(world):
    def send_another(agent, event):
        del world.server.post_message
        agent.add_user_message("Another")

    agent = world.connect()
    world.plans.append([Linger(10_000)])
    world.server.post_message = refuse(errors.AccessDenied(401, "invalid_api_key", "Wrong key"))
    with (
        signals.messages_discarded.connected_to(send_another, sender=agent),
        pytest.raises(errors.RunError, match="withdrawn"),
    ):
        agent.ask("Hello", timeout=60)


def test_a_message_whose_run_could_not_be_created_stays_on_the_thread_and_the_error_says_so(world, caplog):
    agent = world.connect()
    world.server.create_run = refuse(errors.QuotaExceeded(429, "insufficient_quota", "No money."))
    with pytest.raises(errors.RunError, match="The message is on the thread") as caught:
        agent.ask("Hello", timeout=60)
    assert caught.value.code == "insufficient_quota"
    assert "No money" in caplog.text
    assert "was ignored" not in caplog.text


def test_a_message_that_may_have_been_sent_stays_and_the_error_says_so(world):
    agent = world.connect()
    lost = errors.OutcomeUnknown(None, None, "No answer.", in_flight=True)
    world.server.post_message = refuse(lost)
    world.server.list_messages = refuse(errors.AccessDenied(401, "invalid", "No key."))
    with pytest.raises(errors.RunError, match="may have been sent"):
        agent.ask("Hello", timeout=600)
    assert not any(isinstance(event, events.MessagesDiscarded) for event in world.heard)


def test_messages_that_cannot_be_read_are_an_error(world):
    agent = world.connect()
    world.server.list_messages = refuse(errors.RequestRefused(400, "broken", "No list."))
    world.plans.append([Answer("")])
    with pytest.raises(errors.RunError, match="its messages could not be read"):
        agent.ask("Hello", timeout=600)


def test_a_timeout_withdraws_nothing(world):
    world.plans.append([Linger(100), Answer("Late")])
    agent = world.connect()
    with pytest.raises(errors.WaitTimeout, match="has not answered after 10 seconds"):
        agent.ask("Hello", timeout=10)
    assert agent.wait(timeout=300) == "idle"
    assert world.server.messages(agent.thread_id)[-1].content == "Late"


def test_asking_in_a_handler_is_refused(world):
    caught = []

    def ask(agent, event):
        with pytest.raises(errors.WaitInHandler, match="ask"):
            agent.ask("Again")
        caught.append(event)

    with signals.run_completed.connected_to(ask):
        world.connect().ask("Hello", timeout=60)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("content", "timeout"),
    [("", 1), (" ", 1), (None, 1), ("Hello", "1"), ("Hello", True), ("Hello", math.nan), ("Hello", -1)],
)
def test_a_wrong_argument_is_refused_and_nothing_is_sent(world, content, timeout):
    agent = world.connect()
    with pytest.raises(ValueError, match=r"message|timeout"):
        agent.ask(content, timeout=timeout)
    assert list(world.server.messages(agent.thread_id)) == []


def test_a_stopped_agent_is_not_asked(world):
    agent = world.connect()
    agent.shutdown()
    with pytest.raises(errors.AgentNotAlive):
        agent.ask("Hello", timeout=60)


# --- many at once, over the wire ----------------------------------------------------------------------


def test_each_of_many_callers_gets_its_own_answer():
    def model(request):
        content = request.messages[-1]["content"]
        if request.messages[-1]["role"] == "user" and content.endswith("3"):
            return [ToolCall("measure", {})]
        said = next(each["content"] for each in reversed(request.messages) if each["role"] == "user")
        return f"Heard {said}"

    answers = {}
    settings = Settings(heartbeat_interval=0.02)
    with LocalServer(model) as server, Runtime(AssistantsBackend(server.base_url, "k"), settings) as runtime:
        agent = runtime.connect(
            thread_id=runtime.create_thread(),
            assistant_id="asst_1",
            last_message_id=None,
            subscribe=lambda agent, event: (
                agent.submit_tool_output(event.id, 1) if isinstance(event, events.ToolCallRequested) else None
            ),
        )

        def ask(number):
            answers[number] = agent.ask(f"Message {number}", timeout=120).text

        callers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert answers == {number: f"Heard Message {number}" for number in range(8)}


class IgnoresCursor(SimulatedServer):
    """A server that always lists the messages from the start, in the requested order, and a hundred at most."""

    def list_messages(self, thread_id, *, after, newest_first, timeout):
        return super().list_messages(thread_id, after=None, newest_first=newest_first, timeout=timeout)


def test_each_question_of_a_long_conversation_gets_its_own_answer_although_the_cursor_is_ignored():
    with Runtime(IgnoresCursor(), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("asst_1")
        texts = [f"message {number}" for number in range(120)]
        assert [agent.ask(text).text for text in texts] == [f"You said: {text}" for text in texts]


class NewestFirst(SimulatedServer):
    """A server that always lists the newest messages first, without times, as `ListOrder` gives them to the library."""

    def list_messages(self, thread_id, *, after, newest_first, timeout):
        return super().list_messages(thread_id, after=None, newest_first=not newest_first, timeout=timeout)

    def get_run(self, thread_id, run_id, **options):
        run = super().get_run(thread_id, run_id, **options)
        return attrs.evolve(run, messages=tuple(each for each in self.messages(thread_id) if each.run_id == run_id))


def test_a_server_that_always_lists_the_newest_first_loses_no_answer():
    with Runtime(NewestFirst(), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.start("asst_1")
        texts = [f"message {number}" for number in range(4)]
        assert [agent.ask(text).text for text in texts] == [f"You said: {text}" for text in texts]
