"""The rules of a thread's life. They stand in the tables of this file and nowhere else.

A row of `TABLE` reads: this input, in this state, leads to that state, if the guard says yes, and does the action.
Rows are tried from the top; the first whose guard holds is taken, and a guarded group ends in a row without a guard.
`IGNORED` are inputs that may come and change nothing; `ILLEGAL` are inputs that only a defect of ours could bring.
Guards are questions and actions are verbs, all of them methods of `gpt_agent_fsm.machine.advance.Life`
(see `gpt_agent_fsm.machine.guards` and `gpt_agent_fsm.machine.actions`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from transitions import EventData, Machine
from transitions import State as TransitionsState

from gpt_agent_fsm.machine.snapshot import State

__all__ = ["IGNORED", "ILLEGAL", "LIVE", "TABLE", "TRIGGERS", "build_machine", "reason_to_ignore", "states_of"]

IDLE, RUNNING, AWAITING_TOOLS, SUBMITTING, RATE_LIMITED, FAILED = State
ANY = list(State)
RESTING = [IDLE, FAILED]
LIVE = [RUNNING, AWAITING_TOOLS, SUBMITTING]
ANSWERED = [RUNNING, SUBMITTING]
STARTING = [IDLE, RATE_LIMITED]
SENDING = [IDLE, RATE_LIMITED, SUBMITTING]
UNSTARTED = [IDLE, RATE_LIMITED, FAILED]
SAME: Final = None
OTHERWISE: Final = None

Row = list[Any]

# fmt: off
TABLE: list[Row] = [
    # input                 in state        to state        if                           do

    # Somebody holds the thread, or holds it again.
    ["connect",             ANY,            SAME,           OTHERWISE,                   "attach"],
    ["set_assistant",       ANY,            SAME,           OTHERWISE,                   "change_assistant"],
    ["resume",              SENDING,        SAME,           "outcome_is_in_doubt",       "look_after_crash"],
    ["resume",              ANY,            SAME,           "has_request",               "resume_request"],

    # Nothing is going on. What is next?
    ["add_user_message",    ANY,            SAME,           OTHERWISE,                   "queue_message"],
    ["take_up",             FAILED,         SAME,           "is_parked",                 "rest"],
    ["take_up",             RESTING,        SAME,           "should_look",               "look_for_a_run"],
    ["take_up",             RESTING,        IDLE,           "has_unread_messages",       "read_messages"],
    ["take_up",             RESTING,        IDLE,           "owes_a_run",                "create_run"],
    ["take_up",             RESTING,        IDLE,           "has_queued_message",        "post_message"],
    ["take_up",             RESTING,        SAME,           OTHERWISE,                   "rest"],
    ["key_works",           FAILED,         SAME,           "is_parked",                 "unpark"],
    ["timer_due",           ANY,            SAME,           "request_waits",             "perform_request"],
    ["timer_due",           RESTING,        SAME,           "has_nothing_to_do",         "stop"],

    # A run that is already on is adopted; one of ours whose creation was in doubt is found again.
    ["runs_listed",         UNSTARTED,      RUNNING,        "found_our_run",             "start_found_run"],
    ["runs_listed",         UNSTARTED,      RUNNING,        "found_a_run_to_adopt",      "adopt_run"],
    ["runs_listed",         UNSTARTED,      SAME,           "must_look_again",           "look_again"],
    ["runs_listed",         RATE_LIMITED,   SAME,           OTHERWISE,                   "create_run_after_all"],
    ["runs_listed",         RESTING,        SAME,           OTHERWISE,                   "note_latest_run"],

    # A message goes out, then its run. A message whose posting was in doubt is looked for.
    ["message_posted",      IDLE,           SAME,           OTHERWISE,                   "confirm_message"],
    ["messages_listed",     IDLE,           SAME,           "found_our_message",         "confirm_found_message"],
    ["messages_listed",     IDLE,           SAME,           "search_goes_on",            "search_next_page"],
    ["messages_listed",     IDLE,           FAILED,         "message_is_unknowable",     "give_up_search"],
    ["messages_listed",     IDLE,           SAME,           "must_look_again",           "look_again"],
    ["messages_listed",     IDLE,           SAME,           "is_searching",              "conclude_absence"],
    ["run_created",         STARTING,       RUNNING,        OTHERWISE,                   "start_run"],
    ["thread_busy",         STARTING,       SAME,           "may_try_again",             "look_for_the_run_in_the_way"],
    ["thread_busy",         STARTING,       FAILED,         OTHERWISE,                   "give_up"],

    # The run is polled until it needs something or ends.
    ["run_seen",            LIVE,           SAME,           "run_is_another",            "ignore_other_run"],
    ["run_seen",            LIVE,           IDLE,           "run_is_completed",          "complete_run"],
    ["run_seen",            LIVE,           RATE_LIMITED,   "run_may_be_retried",        "wait_for_rate"],
    ["run_seen",            LIVE,           FAILED,         "run_is_rate_limited",       "exhaust_retries"],
    ["run_seen",            LIVE,           FAILED,         "run_is_out_of_quota",       "report_empty_balance"],
    ["run_seen",            LIVE,           FAILED,         "run_is_failed",             "fail_run"],
    ["run_seen",            LIVE,           RUNNING,        "is_to_be_cancelled",        "send_cancel"],

    # It asks for tools; each call is passed on once, and all are answered together.
    ["run_seen",            ANSWERED,       RUNNING,        "outputs_have_arrived",      "poll_later"],
    ["run_seen",            LIVE,           SUBMITTING,     "all_calls_are_answered",    "submit_known_outputs"],
    ["run_seen",            LIVE,           AWAITING_TOOLS, "run_needs_tools",           "request_tool_calls"],
    ["run_seen",            LIVE,           RUNNING,        OTHERWISE,                   "poll_later"],
    ["submit_tool_output",  AWAITING_TOOLS, SUBMITTING,     "is_the_last_output",        "record_last_output"],
    ["submit_tool_output",  AWAITING_TOOLS, SAME,           "answers_an_open_call",      "record_output"],
    ["submit_tool_output",  FAILED,         SAME,           "answers_an_open_call",      "record_output"],

    # A person wants it to end, or it takes too long.
    ["deadline_passed",     LIVE,           SAME,           OTHERWISE,                   "time_out"],
    ["cancel_run",          LIVE,           SAME,           OTHERWISE,                   "cancel"],
    ["cancel_run",          STARTING,       SAME,           "run_may_exist",             "remember_to_cancel"],
    ["cancel_run",          RATE_LIMITED,   FAILED,         OTHERWISE,                   "abandon_retry"],
    ["run_seen",            FAILED,         SAME,           "is_saying_farewell",        "close_request"],

    # Everything was said.
    ["messages_listed",     IDLE,           SAME,           "has_more_to_read",          "read_next_page"],
    ["messages_listed",     IDLE,           SAME,           "cursor_is_not_honoured",    "read_from_the_start"],
    ["messages_listed",     IDLE,           SAME,           OTHERWISE,                   "publish_messages"],

    # A request did not get through; nothing happened on the server.
    ["request_delayed",     SUBMITTING,     FAILED,         "outputs_are_out_of_tries",  "give_up_outputs"],
    ["request_delayed",     SUBMITTING,     SAME,           "was_a_submission",          "submit_again_later"],
    ["request_delayed",     ANY,            SAME,           "may_try_again",             "try_again_later"],
    ["request_delayed",     LIVE,           SAME,           OTHERWISE,                   "forget_cancel"],
    ["request_delayed",     FAILED,         SAME,           "is_saying_farewell",        "let_go"],
    ["request_delayed",     UNSTARTED,      FAILED,         OTHERWISE,                   "give_up"],

    # It is unknown whether it took effect: look before sending again.
    ["outcome_unknown",     SUBMITTING,     FAILED,         "outputs_are_out_of_tries",  "give_up_outputs"],
    ["outcome_unknown",     SUBMITTING,     SAME,           OTHERWISE,                   "look_at_run_later"],
    ["outcome_unknown",     STARTING,       SAME,           "may_try_again",             "look_for_outcome"],
    ["outcome_unknown",     STARTING,       FAILED,         OTHERWISE,                   "give_up_in_doubt"],

    ["thread_busy",         SUBMITTING,     SAME,           OTHERWISE,                   "wait_for_the_lock"],

    # The server said no.
    ["request_refused",     LIVE,           SAME,           "was_a_cancel",              "look_at_run"],
    ["request_refused",     SUBMITTING,     FAILED,         "outputs_are_out_of_tries",  "give_up_outputs"],
    ["request_refused",     SUBMITTING,     SAME,           "was_a_submission",          "look_at_run_later"],
    ["request_refused",     LIVE,           FAILED,         OTHERWISE,                   "lose_run"],
    ["request_refused",     IDLE,           SAME,           "cursor_is_refused",         "read_without_cursor"],
    ["request_refused",     IDLE,           FAILED,         "content_is_refused",        "drop_message"],
    ["request_refused",     FAILED,         SAME,           "is_saying_farewell",        "close_request"],
    ["request_refused",     UNSTARTED,      FAILED,         OTHERWISE,                   "give_up"],

    # A person must act: the key, or the balance.
    ["request_denied",      SUBMITTING,     FAILED,         "was_a_submission",          "keep_outputs"],
    ["request_denied",      ANY,            FAILED,         OTHERWISE,                   "give_up"],
]

IGNORED: list[Row] = [
    # input                 in state                                because
    ["submit_tool_output",  UNSTARTED,                              "no run waits for it"],
    ["submit_tool_output",  [RUNNING, SUBMITTING],                  "the run does not wait for it now"],
    ["submit_tool_output",  [AWAITING_TOOLS],                       "the run did not ask for it, or has its output"],
    ["cancel_run",          RESTING,                                "there is no run"],
    ["resume",              ANY,                                    "nothing was under way"],
    ["run_seen",            UNSTARTED,                              "that run is over"],
    ["timer_due",           ANY,                                    "a request is under way"],
    ["deadline_passed",     UNSTARTED,                              "that run is over"],
    ["key_works",           ANY,                                    "nothing is parked"],
]

ILLEGAL: list[Row] = [
    # input                 in state                                because
    ["take_up",             [*LIVE, RATE_LIMITED],                  "the core asks this of itself only at rest"],
    ["runs_listed",         LIVE,                                   "runs are listed only where none is known"],
    ["message_posted",      [*LIVE, RATE_LIMITED, FAILED],          "messages are posted only in idle"],
    ["messages_listed",     [*LIVE, RATE_LIMITED, FAILED],          "messages are listed only in idle"],
    ["run_created",         [*LIVE, FAILED],                        "runs are created only in idle and rate_limited"],
    ["thread_busy",         [RUNNING, AWAITING_TOOLS, FAILED],      "only what starts something meets a busy thread"],
    ["outcome_unknown",     [RUNNING, AWAITING_TOOLS, FAILED],      "what is sent here may be repeated without harm"],
]
# fmt: on

TRIGGERS: tuple[str, ...] = tuple(dict.fromkeys(row[0] for row in TABLE))


def states_of(source: State | list[State]) -> list[State]:
    """Return the states that a row of the table names."""
    return source if isinstance(source, list) else [source]


_REASONS = {(row[0], state): row[2] for row in IGNORED for state in row[1]}


def reason_to_ignore(trigger: str, state: State) -> str:
    """Why `trigger` changes nothing in `state`, as `IGNORED` says."""
    return str(_REASONS[trigger, state])


class _QuietState(TransitionsState):
    """A state without anything to do on the way in or out, and without a line in the log at info level for that."""

    def enter(self, event_data: EventData) -> None:
        """Do nothing."""

    def exit(self, event_data: EventData) -> None:
        """Do nothing."""


class _QuietMachine(Machine):
    """`Machine` without the line that it logs at info level for each callback."""

    state_cls = _QuietState

    def callbacks(self, funcs: Iterable[Any], event_data: EventData) -> None:
        """Call each function."""
        for func in funcs:
            self.callback(func, event_data)


def build_machine(table: list[Row] | None = None) -> Machine:
    """Make the machine that all threads share. It holds no model: the core hands it one for each input."""
    rows = [
        {"trigger": trigger, "source": states_of(source), "dest": dest, "conditions": guard, "before": action}
        for trigger, source, dest, guard, action in (TABLE if table is None else table)
    ]
    rows += [{"trigger": trigger, "source": source, "dest": SAME, "before": "ignore"} for trigger, source, _ in IGNORED]
    return _QuietMachine(model=None, states=State, transitions=rows, initial=None, auto_transitions=False)
