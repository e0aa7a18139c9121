"""Which handler hears which event, in which order, and the effect of a failing handler."""

import functools
import gc
import logging
import typing
import warnings
from collections import deque

import blinker
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
    assert signals.name_of([].append) == "list.append"
    assert signals.name_of(None) == "NoneType"


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


EVENT = events.AgentStopped(thread_id="t", reason="r")


# --- receivers that could not be called ---------------------------------------------------------------------


class Listener:
    """An object with handlers."""

    def hear(self, agent, event): ...

    async def hear_later(self, agent, event): ...


class AsyncListener:
    async def __call__(self, agent, event): ...


async def async_handler(agent, event): ...


def generator(agent, event):
    yield


def hear_event(event): ...


@functools.wraps(hear_event)
def adapted(agent, event):
    """Take what a signal gives, and pass on less than that."""
    hear_event(event)


@functools.wraps(adapted)
def shortened(event): ...


@functools.wraps(hear_event)
def passed_on(*args, **kwargs): ...


KEPT = Listener()
WRONG_RECEIVERS = [
    (async_handler, "it must not be async, because nothing would await it"),
    (functools.partial(async_handler), "must not be async"),
    (KEPT.hear_later, "must not be async"),
    (AsyncListener(), "must not be async"),
    (generator, "must not be a generator function, because nothing would iterate over it"),
    (lambda agent: None, "it has no parameter named event"),
    (lambda agent, evt: None, "it has no parameter named event"),
    (lambda event: None, "multiple values for argument 'event'"),
    (lambda *, event: None, "too many positional arguments"),
    (lambda agent, event, more: None, "missing a required argument: 'more'"),
    (lambda agent, event, /: None, "positional.only"),
    (Listener.hear, "missing a required argument: 'agent'"),
    (shortened, "multiple values for argument 'event'"),
    (passed_on, "multiple values for argument 'event'"),
    (functools.lru_cache(hear_event), "multiple values for argument 'event'"),
    (7, "it is not callable"),
]


@pytest.mark.parametrize(("receiver", "words"), WRONG_RECEIVERS)
def test_a_receiver_that_could_not_be_called_with_an_event_is_refused(receiver, words):
    signal = signals.run_completed
    ways = (
        lambda: signal.connect(receiver),
        lambda: signal.connect_via(KEPT)(receiver),
        lambda: signal.connected_to(receiver).__enter__(),
    )
    for connect in ways:
        with pytest.raises(
            TypeError, match=rf"signals\.run_completed\.connect: .* receiver\(agent, event=event\): .*{words}"
        ):
            connect()
    assert not signal.receivers


class Unreadable:
    __signature__ = "none"

    def __call__(self, agent, event): ...


@pytest.mark.parametrize(
    "receiver",
    [
        KEPT.hear,
        Unreadable(),
        lambda agent, event: None,
        lambda agent, event, more=1: None,
        lambda *args, **kwargs: None,
        lambda sender, /, **named: None,
        functools.partial(lambda more, agent, event: None, 1),
        adapted,
        functools.lru_cache(KEPT.hear),
    ],
)
def test_a_receiver_that_can_be_called_or_has_no_readable_signature_is_taken(receiver):
    with signals.run_completed.connected_to(receiver):
        assert signals.run_completed.receivers


@pytest.mark.parametrize(
    ("subscribe", "words"),
    [
        (async_handler, "it must not be async, because nothing would await it"),
        (generator, "it must not be a generator function"),
        (lambda event: None, "too many positional arguments"),
        (lambda agent, *, event: None, "too many positional arguments"),
        (lambda agent, event, more: None, "missing a required argument: 'more'"),
    ],
)
def test_a_subscriber_that_could_not_be_called_is_refused(world, subscribe, words):
    with pytest.raises(TypeError, match=rf"subscribe must be callable as subscribe\(agent, event\): {words}"):
        world.connect(subscribe=subscribe)
    assert world.runtime.agents == ()


def test_the_signals_are_blinker_signals():
    assert isinstance(signals.run_completed, blinker.NamedSignal)
    assert signals.namespace["run_completed"] is signals.run_completed


# --- receivers that vanish ------------------------------------------------------------------------------------


def send(signal):
    """Send an event of any class to a signal, as an announcer does."""
    for receiver in signal.receivers_for(None):
        receiver(None, event=None)


def test_a_lambda_that_nothing_else_references_gets_a_warning_that_says_what_to_do(caplog):
    with pytest.warns(RuntimeWarning, match=r"signals\.run_completed\.connect: nothing else .* weak=False") as caught:
        signals.run_completed.connect(lambda agent, event: None)
    assert caught[0].filename == __file__
    gc.collect()
    send(signals.run_completed)
    assert caplog.text == ""


def test_a_lambda_that_is_kept_gets_no_warning():
    def connect_all(kept):
        signals.run_completed.connect(kept[0])
        signals.run_completed.connect(handler := lambda agent, event: None)
        signals.run_completed.connect(lambda agent, event: None, weak=False)
        return handler

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        connect_all([lambda agent, event: None])
    for receiver in list(signals.run_completed.receivers_for(None)):
        signals.run_completed.disconnect(receiver)


@pytest.mark.parametrize("kind", ["a method", "a function", "a partial"])
def test_another_receiver_that_vanished_is_named_once_when_its_signal_is_next_sent(caplog, kind):
    def connect():
        def hear_briefly(agent, event): ...

        given = {"a method": Listener().hear, "a function": hear_briefly, "a partial": functools.partial(hear_briefly)}
        signals.run_completed.connect(given[kind])

    connect()
    gc.collect()
    assert caplog.text == ""
    send(signals.run_failed)
    assert caplog.text == ""
    for _ in range(2):
        send(signals.run_completed)
    [record] = caplog.records
    assert "run_completed: the receiver" in record.getMessage()
    assert "is gone, because nothing referenced it; keep a reference" in record.getMessage()
    assert not signals.run_completed._watched


def test_a_receiver_that_was_disconnected_is_not_missed(caplog):
    listener = Listener()
    signals.run_completed.connect(listener.hear)
    signals.run_completed.disconnect(listener.hear)
    del listener
    gc.collect()
    send(signals.run_completed)
    assert caplog.text == ""


class Sender:
    """Stands for an agent."""


@pytest.mark.parametrize("other_lives", [False, True])
def test_a_receiver_is_missed_only_if_one_of_its_agents_could_still_call_it(caplog, other_lives):
    def hear_briefly(agent, event): ...

    senders = [Sender(), Sender()]
    for sender in senders:
        signals.run_completed.connect(hear_briefly, sender=sender)
    signals.run_completed.disconnect(hear_briefly, sender=senders[0])
    if not other_lives:
        del senders[1]
        sender = None
        gc.collect()
    del hear_briefly
    gc.collect()
    send(signals.run_completed)
    assert ("hear_briefly is gone" in caplog.text) is other_lives


def test_a_receiver_that_ends_together_with_its_agent_is_not_missed(caplog):
    def connect():
        def hear_briefly(agent, event): ...

        sender = Sender()
        sender.receiver, hear_briefly.sender = hear_briefly, sender
        signals.run_completed.connect(hear_briefly, sender=sender)

    connect()
    gc.collect()
    send(signals.run_completed)
    assert caplog.text == ""


def test_a_receiver_that_is_connected_again_for_good_is_not_missed_after_it_was_disconnected(caplog):
    def hear_briefly(agent, event): ...

    signals.run_completed.connect(hear_briefly)
    signals.run_completed.connect(hear_briefly, weak=False)
    signals.run_completed.disconnect(hear_briefly)
    del hear_briefly
    gc.collect()
    send(signals.run_completed)
    assert caplog.text == ""


# --- many OS threads ------------------------------------------------------------------------------------------


def test_two_workers_may_report_the_same_vanished_receiver():
    class TakenMeanwhile(deque):
        """Another worker takes the only name after this worker has seen it."""

        def __bool__(self):
            self.clear()
            return next(answers)

    answers = iter([True, False])
    signal = signals.Signal("test")
    signal._vanished = TakenMeanwhile(["a receiver"])
    send(signal)
    assert list(answers) == []


def test_a_receiver_may_be_disconnected_while_other_threads_connect_theirs_to_new_agents():
    class Bucket(set):
        """While an entry is removed, another OS thread connects to a new agent."""

        def discard(self, entry):
            newcomers.append(Sender())
            signal.connect(KEPT.hear, sender=newcomers[-1])
            super().discard(entry)

    def handler(agent, event): ...

    newcomers, senders = [], [Sender(), Sender()]
    signal = signals.Signal("test")
    signal.set_class = Bucket
    signal._by_receiver.default_factory = signal._by_sender.default_factory = Bucket
    for sender in senders:
        signal.connect(handler, sender=sender)
    signal.disconnect(handler)
    assert handler not in [receiver for sender in senders for receiver in signal.receivers_for(sender)]
    assert [list(signal.receivers_for(sender)) for sender in newcomers] == [[KEPT.hear]] * len(newcomers)
    assert newcomers


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


def test_the_same_failure_of_a_handler_is_logged_with_its_traceback_once(caplog):
    def broken(agent, event):
        raise ValueError(event)

    for _ in range(3):
        signals.call(broken, None, EVENT, by_keyword=True, thread="t")
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False]
    assert caplog.records[2].getMessage().endswith("broken failed on AgentStopped again with ValueError")
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_another_failure_of_a_handler_is_logged_with_its_traceback(caplog):
    def broken(agent, event):
        if event.reason == "one":
            raise ValueError(1)
        raise failures.pop()

    failures = [KeyError(2), ValueError(3)]
    for reason in ("one", "two", "three", "one"):
        stopped = events.AgentStopped(thread_id="t", reason=reason)
        signals.call(broken, None, stopped, by_keyword=True, thread="t")
    assert [record.exc_info is not None for record in caplog.records] == [True, True, True, False]


def test_the_same_method_of_several_objects_is_one_handler(caplog):
    class Broken:
        def hear(self, agent, event):
            raise ValueError

    for _ in range(2):
        signals.call(Broken().hear, None, EVENT, by_keyword=True, thread="t")
    assert [record.exc_info is not None for record in caplog.records] == [True, False]


def test_each_failure_of_a_handler_without_a_hash_is_logged_with_its_traceback(caplog):
    class Broken:
        __hash__ = None

        def __call__(self, agent, event):
            raise ValueError

    broken = Broken()
    for _ in range(2):
        signals.call(broken, None, EVENT, by_keyword=True, thread="t")
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
