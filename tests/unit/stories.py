"""One minimal story for each row of the machine's table: the inputs before the row, and the input that takes it."""

from __future__ import annotations

from collections.abc import Callable

from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.objects import Usage
from gpt_agent_fsm.machine.run_status import RunStatus
from tests.story import (
    BROKEN,
    LOCATE,
    MEASURE,
    MEASURE_AGAIN,
    NOTHING_NEW,
    Story,
    answer,
    approve,
    ask_approval,
    awaiting,
    busy,
    cancel,
    completed,
    connect,
    created,
    creating,
    delayed,
    denied,
    deny,
    deny_the_poll,
    discard,
    due,
    idle,
    long_wait,
    needs,
    output,
    page,
    polling,
    posted,
    posting,
    question,
    rate_limit,
    rate_limited,
    reading,
    refused,
    resume,
    retrying,
    run,
    running,
    runs,
    say,
    seen,
    start_tool,
    submitting,
    tool_ended,
    tool_lost,
    unknown,
    waiting,
    withdraw,
)

ONCE = {"request_max_attempts": 1}
ONE_SUBMISSION = {"tool_output_max_attempts": 1}
SURELY_UNSENT = unknown(in_flight=False)


def searching(lost=None) -> Story:
    """A message in doubt is being searched for."""
    return posting().tell(lost or unknown(), due)


def tired(story: Story) -> Story:
    """A run that must end, and whose cancels and polls are exhausted."""
    story.tell(cancel)
    story.tell(seen())
    for _ in range(100):
        if story.snapshot.run.ending.tries >= 2 * story.settings.request_max_attempts:
            break
        story.tell(*([] if story.snapshot.pending.sent else [due]), seen(RunStatus.CANCELLING))
    return story.tell(due)


def reading_on(**settings) -> Story:
    """The second page of the answers is being read."""
    return reading(**settings).tell(page(answer("msg_2"), next_after="msg_2"))


def spent() -> Story:
    """The only run has used all tokens that the thread may use."""
    return reading(max_total_tokens=3).tell(*NOTHING_NEW)


def limit(tokens: int) -> inputs.Connect:
    """A person limits the tokens of the thread."""
    return inputs.Connect(assistant_id="asst_1", max_total_tokens=tokens)


def costly_rate_limit():
    return seen(
        RunStatus.RATE_LIMITED,
        code="rate_limit_exceeded",
        message="Rate limit reached",
        usage=Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2),
    )


def finding(lost=None) -> Story:
    """A run in doubt is being searched for."""
    return creating().tell(lost or unknown(), due)


def parting(**settings) -> Story:
    """Outputs were given up, and the abandoned run is being cancelled."""
    return submitting(**ONE_SUBMISSION, **settings).tell(refused())


def reading_after_a_cursor() -> Story:
    """Answers are being read on a thread that was connected with a cursor."""
    start = inputs.Connect(assistant_id="asst_1", last_message_id="msg_0", look=True)
    return Story().tell(start, runs(), say(), posted(), created(), due, completed())


def ended(status: RunStatus) -> inputs.RunSeen:
    """A poll that shows a failed run."""
    return seen(status, code="server_error", message="Sorry")


STORIES: dict[str, Callable[[], tuple[Story, inputs.Input]]] = {
    # somebody holds the thread
    "somebody connects": lambda: (idle(), connect),
    "a person must approve a call": lambda: (awaiting(), ask_approval(LOCATE)),
    "a call is approved": lambda: (awaiting().tell(ask_approval(LOCATE)), approve(LOCATE)),
    "a call is denied": lambda: (awaiting().tell(ask_approval(LOCATE)), deny(LOCATE)),
    "a function is started": lambda: (awaiting(), start_tool(LOCATE)),
    "a function has ended": lambda: (awaiting().tell(start_tool(LOCATE)), tool_ended(LOCATE)),
    "a function was started and is lost": lambda: (awaiting().tell(start_tool(LOCATE)), tool_lost(LOCATE)),
    "the run asks for tools too often": lambda: (
        submitting(max_tool_rounds=1).tell(seen(), due),
        needs(MEASURE_AGAIN),
    ),
    "the tokens are used up": lambda: (spent(), say("Two", "k2")),
    "the tokens are used up before a retry": lambda: (polling(max_total_tokens=2).tell(costly_rate_limit()), due),
    "the tokens are used up, says a new process": lambda: (
        spent().tell(limit(4), say("Two", "k2"), delayed(), limit(3)),
        resume,
    ),
    "the tokens are used up before a repeat in doubt": lambda: (
        polling().tell(costly_rate_limit(), due, SURELY_UNSENT, due, limit(2)),
        runs(),
    ),
    "nothing has changed for long": lambda: (waiting(running()), long_wait()),
    "another assistant is set": lambda: (idle(), inputs.SetAssistant(assistant_id="asst_2")),
    "a crash while a message was being posted": lambda: (posting(), resume),
    "a crash between two polls": lambda: (running(), resume),
    # no run is active
    "a message instead of the run in progress": lambda: (polling(), say("Stop. Rather:", "k2", instead=True)),
    "a message while a run is active": lambda: (polling(), say("More", "k2")),
    "a message is parked": lambda: (posting(), denied()),
    "connected with a run in doubt": lambda: (creating(**ONCE).tell(unknown()), connect),
    "connected at rest": lambda: (Story(), connect),
    "an answer waits to be read": lambda: (polling(), completed()),
    "a run in doubt is unparked": lambda: (creating(**ONCE).tell(unknown()), say("Two", "k2")),
    "a message has no run yet": lambda: (posting(), posted()),
    "a message in doubt is unparked": lambda: (posting(**ONCE).tell(unknown()), say("Two", "k2")),
    "a queued message is sent": lambda: (idle(), say()),
    "nothing is left to do": lambda: (Story().tell(connect), runs()),
    "the balance was filled up": lambda: (posting().tell(denied(quota=True)), inputs.QuotaRestored()),
    "the poll interval is over": lambda: (running(), due),
    "nothing happened for the idle time-out": lambda: (idle(), due),
    # runs that are listed
    "the run in doubt was created": lambda: (finding(), runs(run(key="k1.1"))),
    "somebody else's run is active": lambda: (Story().tell(connect), runs(run(run_id="run_9"))),
    "the run in doubt is not there yet": lambda: (finding(), runs()),
    "the repeated run in doubt was not created": lambda: (retrying().tell(SURELY_UNSENT, due), runs()),
    "no run is active": lambda: (Story().tell(connect), runs()),
    # a message and its run
    "a message was posted": lambda: (posting(), posted()),
    "the message in doubt was posted": lambda: (searching(), page(question("msg_4", key="k1"))),
    "the message in doubt may be on the next page": lambda: (searching(), page(answer("msg_9"), next_after="msg_9")),
    "a message like the one in doubt is there": lambda: (searching(), page(question("msg_4"))),
    "the message in doubt is not there yet": lambda: (searching(), page()),
    "the message in doubt was not posted": lambda: (searching(SURELY_UNSENT), page()),
    "a run was created": lambda: (creating(), created()),
    "another run blocks a message": lambda: (posting(), busy()),
    "another run keeps blocking a message": lambda: (posting(**ONCE), busy()),
    # the run is polled
    "news of another run": lambda: (polling(), completed("run_0")),
    "the run is completed": lambda: (polling(), completed()),
    "the run is rate limited": lambda: (polling(), rate_limit()),
    "the run is rate limited once too often": lambda: (polling(rate_limit_max_retries=0), rate_limit()),
    "the run is out of quota": lambda: (polling(), ended(RunStatus.OUT_OF_QUOTA)),
    "the run has failed": lambda: (polling(), ended(RunStatus.FAILED)),
    "cancelled while a poll is in flight": lambda: (polling().tell(cancel), seen()),
    # tools
    "a stale poll after the outputs were taken": lambda: (submitting(), needs(LOCATE, MEASURE)),
    "the run asks for tools whose outputs are known": lambda: (polling(), needs(BROKEN)),
    "the run asks for tools": lambda: (polling(), needs(LOCATE)),
    "the run continues": lambda: (polling(), seen()),
    "the last output comes while a poll is in flight": lambda: (awaiting(LOCATE).tell(due), output(LOCATE)),
    "the last output comes": lambda: (awaiting(LOCATE), output(LOCATE)),
    "an output comes, others are open": lambda: (awaiting(LOCATE, MEASURE), output(LOCATE)),
    "an output comes for an abandoned run": lambda: (deny_the_poll(awaiting().tell(due)), output(LOCATE)),
    "the run waits for an approval": lambda: (polling(), seen(RunStatus.NEEDS_TOOLS, unsupported="an approval")),
    "the run waits for tools and names none": lambda: (polling(), seen(RunStatus.NEEDS_TOOLS)),
    # the run must end
    "the run takes too long": lambda: (polling(), inputs.DeadlinePassed(setting="run_timeout", seconds=30)),
    "the run is cancelled": lambda: (running(), cancel),
    "the run does not end although it must": lambda: (tired(polling()), seen()),
    "a cancel has not ended the run yet": lambda: (running().tell(cancel), seen(RunStatus.CANCELLING)),
    "the run is rate limited while it must end": lambda: (polling().tell(cancel), rate_limit()),
    "cancels and polls are delayed once too often": lambda: (tired(polling()), delayed()),
    "cancelled while outputs are delayed": lambda: (submitting().tell(cancel), delayed()),
    "a cancel is delayed": lambda: (running().tell(cancel), delayed()),
    "a cancel is denied": lambda: (running(**ONCE).tell(cancel), denied()),
    "cancelled while the run is being created": lambda: (creating(), cancel),
    "cancelled before the run could be created": lambda: (creating().tell(denied()), cancel),
    "the cancelled run in doubt was not created": lambda: (finding(SURELY_UNSENT).tell(cancel), runs()),
    "cancelled while the rate limit is waited out": lambda: (rate_limited(), cancel),
    "the queue is discarded while a run is active": lambda: (running().tell(say("Two", "k2")), discard),
    "the discarded message in doubt was not posted": lambda: (searching(SURELY_UNSENT).tell(discard), page()),
    "a message is withdrawn before it was sent": lambda: (running().tell(say("Two", "k2")), withdraw("k2")),
    "another run blocks a discarded message": lambda: (posting().tell(discard), busy()),
    "a discarded message is delayed": lambda: (posting().tell(discard), delayed()),
    "a discarded message is refused": lambda: (posting().tell(discard), refused()),
    "a discarded message is denied": lambda: (posting().tell(discard), denied()),
    "the abandoned run is being cancelled": lambda: (parting(), seen(RunStatus.CANCELLING)),
    # everything was said
    "the answers have another page": lambda: (reading(), page(answer("msg_2"), next_after="msg_2")),
    "the list after the cursor may lack messages": lambda: (reading_after_a_cursor(), page()),
    "the server does not list after the cursor": lambda: (
        reading_after_a_cursor().tell(page()),
        page(answer("msg_9"), next_after="msg_8"),
    ),
    "the answer is not listed yet": lambda: (reading(), page()),
    "the list fails once too often": lambda: (reading(**ONCE), delayed()),
    "the list fails once too often, and the answer is in hand": lambda: (reading_on(**ONCE), delayed()),
    "the list is refused": lambda: (reading(), refused()),
    "the list is refused, and the answer is in hand": lambda: (reading_on(), refused()),
    "the answers are read": lambda: (reading(), page(answer("msg_2"))),
    # requests that took no effect
    "outputs are delayed once too often": lambda: (submitting(**ONE_SUBMISSION), delayed()),
    "outputs are delayed": lambda: (submitting(), delayed()),
    "a poll is delayed": lambda: (polling(), delayed()),
    "a message is delayed": lambda: (posting(), delayed()),
    "the cancel of an abandoned run is delayed": lambda: (parting(**ONCE), delayed()),
    "a message is delayed once too often": lambda: (posting(**ONCE), delayed()),
    # outcomes that are unknown
    "outputs are lost once too often": lambda: (submitting(**ONE_SUBMISSION), unknown()),
    "the answer to outputs is lost": lambda: (submitting(), unknown()),
    "the answer to a message is lost": lambda: (posting(), unknown()),
    "the answer to a message is lost once too often": lambda: (posting(**ONCE), unknown()),
    "outputs meet a locked thread": lambda: (submitting(), busy()),
    # refusals
    "a cancel is refused": lambda: (running().tell(cancel), refused()),
    "outputs are refused once too often": lambda: (submitting(**ONE_SUBMISSION), refused()),
    "outputs are refused": lambda: (submitting(), refused()),
    "cancelled while a poll is refused": lambda: (polling().tell(cancel), refused(404)),
    "a poll is refused": lambda: (polling(), refused(404)),
    "the server denies knowing the run": lambda: (
        polling().tell(refused(404), due, refused(404), due),
        refused(404),
    ),
    "the server denies knowing the cursor": lambda: (reading_after_a_cursor(), refused(404)),
    "the text of a message is refused": lambda: (posting(), refused(content=True)),
    "the cancel of an abandoned run is refused": lambda: (parting(), refused()),
    "a run is refused because of its message": lambda: (creating(), refused(content=True)),
    "a message is refused": lambda: (posting(), refused()),
    "outputs are denied": lambda: (submitting(), denied()),
    "a poll is denied": lambda: (polling(), denied()),
    "a message or run is denied": lambda: (posting(), denied()),
}
