"""The sentences that say what a thread waits for."""

import re
from typing import get_args

import attrs
import pytest

from gpt_agent_fsm.engine.explaining import explain
from gpt_agent_fsm.engine.showing import NOT_HELD
from gpt_agent_fsm.machine import effects
from gpt_agent_fsm.machine.objects import Failure, Usage
from gpt_agent_fsm.machine.reasons import as_sentence, in_words
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    LOCATE,
    NOTHING_NEW,
    awaiting,
    cancel,
    connect,
    creating,
    delayed,
    denied,
    discard,
    due,
    failed,
    idle,
    parked,
    polling,
    posting,
    rate_limited,
    reading,
    retrying,
    say,
    seen,
    submitting,
    unknown,
    waiting,
)


def spent(*more):
    """The only run has used all tokens of the thread, and another message waits."""
    completed = seen(RunStatus.COMPLETED, usage=Usage(total_tokens=3))
    return polling(max_total_tokens=3).tell(completed, *NOTHING_NEW, say(key="k2"), *more)


SITUATIONS = {
    "at rest": (idle, "The thread is at rest"),
    "checking": (lambda: idle().tell(connect), "The library checks whether a run is in progress"),
    "posting": (posting, "A message waits to be posted"),
    "two messages": (lambda: posting().tell(say(key="k2")), "2 messages wait to be posted"),
    "a message in doubt": (lambda: posting().tell(unknown()), "It is not known whether a message was posted"),
    "creating": (creating, "its run must be created"),
    "a run in doubt": (lambda: creating().tell(unknown()), "It is not known whether the run was created"),
    "running": (polling, "The run run_1 is in progress on the server"),
    "awaiting": (lambda: awaiting(LOCATE), "The run run_1 waits for the output of locate (call_1)"),
    "submitting": (submitting, "The tool outputs of the run run_1 are being sent"),
    "ending": (lambda: polling().tell(cancel, seen()), "The run run_1 must end (cancelled)"),
    "rate limited": (rate_limited, "The run run_1 was rate limited and is started again; after that, one retry left"),
    "retrying": (retrying, "The run run_1 was rate limited"),
    "reading": (reading, "The run run_1 has ended, and its messages are being read"),
    "failed": (failed, "The last run failed (server_error): Sorry."),
    "parked": (
        parked,
        "The queue is parked until the next command; one message waits. Posting the message failed (x)",
    ),
    "a budget": (
        spent,
        "The queue is parked until a larger limit of tokens; one message waits. "
        "The budget is used up (budget_exceeded): 3 tokens were used; the limit is 3.",
    ),
    "a parked run": (lambda: creating().tell(denied()), "one run waits"),
}


def told(story, now=1_000.0, when=None, **flags):
    return " ".join(explain(story.snapshot, story.settings, now, when, **flags))


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_has_its_sentence(name):
    make, sentence = SITUATIONS[name]
    assert sentence in told(make())


@pytest.mark.parametrize("name", SITUATIONS)
def test_it_is_whole_sentences_without_the_words_of_a_message(name):
    text = told(waiting(SITUATIONS[name][0]()))
    assert re.fullmatch(r"[A-Z0-9].*\.", text)
    assert "Hello" not in text
    assert ".." not in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("make", "calls"),
    [
        (idle, ["add_user_message"]),
        (polling, ["cancel_run"]),
        (lambda: awaiting(LOCATE), ["submit_tool_output", "cancel_run"]),
        (spent, ["connect", "discard_queue"]),
        (lambda: spent(discard), ["connect"]),
        (parked, ["connect", "add_user_message", "discard_queue"]),
        (rate_limited, ["cancel_run", "discard_queue"]),
        (lambda: posting().tell(delayed()), ["discard_queue"]),
    ],
)
def test_it_names_the_calls_that_change_something(make, calls):
    named = re.findall(r"(\w+)\(\)", told(make()))
    assert named == calls


@pytest.mark.parametrize(
    "make",
    [
        polling,
        lambda: awaiting(LOCATE),
        submitting,
        creating,
        rate_limited,
        reading,
        lambda: posting().tell(unknown()),
    ],
)
def test_it_counts_the_messages_behind_what_is_waited_for(make):
    assert "queued" not in told(make())
    assert " One message is queued behind it." in told(make().tell(say(key="k8")))
    assert " 2 messages are queued behind it." in told(make().tell(say(key="k8"), say(key="k9")))


@pytest.mark.parametrize("make", [posting, parked, spent])
def test_messages_that_the_reason_itself_counts_are_not_counted_twice(make):
    assert "queued behind" not in told(make().tell(say(key="k8"), say(key="k9")))


def test_it_says_since_when():
    assert "It has waited for 3 minutes, since 1970-01-01 00:13:20 UTC." in told(waiting(polling(), 800.0))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "a moment"), (1, "1 second"), (59, "59 seconds"), (7_300, "2 hours"), (200_000, "2 days")],
)
def test_times_are_easy_to_read(seconds, words):
    assert f"It has waited for {words}," in told(waiting(polling(), 1_000.0 - seconds))


def test_it_says_what_comes_next_and_when():
    story = polling().tell(seen())
    assert "Next: polling the run in 5 seconds." in told(story, when=1_005.0)
    assert "Next: polling the run now." in told(story, when=999.0)
    assert "Next: polling the run in 5 seconds. The limits of the API key hold it back." in told(
        story, when=1_005.0, held=True
    )


def test_a_step_that_is_held_back_has_no_time_of_its_own():
    text = told(polling().tell(seen()), when=999.0, held=True)
    assert "Next: polling the run. The limits of the API key hold it back." in text


@pytest.mark.parametrize("request_", get_args(effects.Request), ids=lambda request: request.operation)
def test_each_request_is_said_in_words(request_):
    assert "_" not in in_words(request_.operation)


def test_the_methods_are_separated_by_commas():
    assert told(parked()).endswith(
        "Call connect() or add_user_message() to try again, or discard_queue() to drop what was not sent."
    )


def test_without_a_process_nothing_comes_next_by_itself():
    stopped = told(polling(), halt=NOT_HELD)
    assert "No process holds the store, so nothing happens until a program opens it. Next: polling the run." in stopped
    assert "now" not in stopped
    assert "No process" not in told(idle(), halt=NOT_HELD)


@pytest.mark.parametrize("name", SITUATIONS)
def test_without_a_process_no_request_is_in_progress(name):
    assert not re.search(
        r"\b(are being|is started|library (checks|searches))\b", told(SITUATIONS[name][0](), halt=NOT_HELD)
    )


def test_a_thread_at_rest_has_no_next_step():
    assert "Next" not in told(idle())
    assert "Next" in told(polling())


def test_a_failed_poll_is_named():
    assert "Polling the run failed (overloaded): Too much to do." in told(polling().tell(delayed(), due))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Too much", "Too much."),
        ("Too much.", "Too much."),
        ("Is it there?", "Is it there?"),
        ("No!", "No!"),
        ("And so on…", "And so on…"),
        ("Too much. ", "Too much."),
    ],
)
def test_a_message_of_a_server_ends_as_one_sentence(text, sentence):
    assert as_sentence(text) == sentence
    story = polling()
    story.snapshot = attrs.evolve(story.snapshot, failure=Failure(code=None, message=text))
    assert f": {sentence} Next: polling the run" in told(story)


def test_a_code_that_is_in_the_message_is_said_once():
    message = "No. (HTTP 404, code no_such_thing)"
    story = polling()
    story.snapshot = attrs.evolve(story.snapshot, failure=Failure(code="no_such_thing", message=message))
    assert told(story).count("no_such_thing") == 1


def test_a_run_that_failed_before_is_named_until_the_next():
    assert "The last run failed" in told(polling().tell(seen(RunStatus.FAILED, code="server_error", message="Sorry")))
