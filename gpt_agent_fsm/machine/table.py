"""The rules of a thread. The tables in this file contain all of them.

Each row of `TABLE` has states, an input, a guard (the condition), a next state and an action. If a thread is in one of
the states, gets the input, and the guard returns True, the thread moves to the next state and does the action. The last
column names the situation in a few words. Rows are tried from the top, and the first row whose guard holds is taken. A
group of rows with guards ends in a row without a guard.

The inputs in `IGNORED` may arrive, but change nothing. Only a defect of the library can cause the inputs in `ILLEGAL`.
`AFTER_EACH` contains states, a guard and an input. If an input leaves a thread in one of these states, and the guard
returns True, the input in `AFTER_EACH` is handled next. The guards are in the four modules whose names end in
`guards`, and the actions are in `actions`.
"""

from __future__ import annotations

from typing import Final

from gpt_agent_fsm.machine import call_guards as k
from gpt_agent_fsm.machine import failure_guards as f
from gpt_agent_fsm.machine import guards as g
from gpt_agent_fsm.machine import message_guards as h
from gpt_agent_fsm.machine.actions import calls as c
from gpt_agent_fsm.machine.actions import endings as e
from gpt_agent_fsm.machine.actions import messages as m
from gpt_agent_fsm.machine.actions import requests as q
from gpt_agent_fsm.machine.actions import runs as r
from gpt_agent_fsm.machine.actions import tools as t
from gpt_agent_fsm.machine.actions import waits as w
from gpt_agent_fsm.machine.inputs import (
    AddUserMessage,
    ApproveToolCall,
    AskForApproval,
    CancelRun,
    Connect,
    DeadlinePassed,
    DenyToolCall,
    DiscardQueue,
    MessagePosted,
    MessagesListed,
    Proceed,
    QuotaRestored,
    RequestBlocked,
    RequestDelayed,
    RequestNeedsOperator,
    RequestRejected,
    RequestUnresolved,
    Resume,
    RunCreated,
    RunSeen,
    RunsListed,
    SetAssistant,
    StartTool,
    StillWaiting,
    SubmitToolOutput,
    TimerDue,
    ToolEnded,
    ToolLost,
    WithdrawMessage,
)
from gpt_agent_fsm.machine.rows import OTHERWISE, SAME, Row, Silence, on, silent
from gpt_agent_fsm.machine.states import ANY, LIVE, MAY_BE_IN_DOUBT, NOT_LIVE, OUTPUTS_SENT, RESTING, STARTING, State

__all__ = ["AFTER_EACH", "IGNORED", "ILLEGAL", "STORIES", "TABLE", "TRIGGERS"]

IDLE, RUNNING, AWAITING_TOOLS = State.IDLE, State.RUNNING, State.AWAITING_TOOLS
SUBMITTING, RATE_LIMITED, FAILED = State.SUBMITTING, State.RATE_LIMITED, State.FAILED
MAY_HAVE_CALLS, NOT_AWAITING = (AWAITING_TOOLS, FAILED), (RUNNING, SUBMITTING)

# fmt: off
# ruff: noqa: E501 - a row is one line
TABLE: Final[tuple[Row, ...]] = (
    #  input                  in state          to state         if                                      do                          story

    # An agent connects, or the thread is resumed.
    on(Connect,               ANY,              SAME,            OTHERWISE,                              r.attach,                   "somebody connects"),
    on(SetAssistant,          ANY,              SAME,            OTHERWISE,                              r.change_assistant,         "another assistant is set"),
    on(Resume,                MAY_BE_IN_DOUBT,  SAME,            f.outcome_is_in_doubt,                  q.search_after_crash,       "a crash while a message was being posted"),
    on(Resume,                STARTING,         FAILED,          g.request_is_over_budget,               q.park_for_budget,          "the tokens are used up, says a new process"),
    on(Resume,                ANY,              SAME,            g.has_request,                          q.resume_request,           "a crash between two polls"),

    # At rest: decide what to do next.
    on(AddUserMessage,        ANY,              SAME,            h.comes_instead,                        e.queue_message_first,      "a message instead of the run in progress"),
    on(AddUserMessage,        ANY,              SAME,            OTHERWISE,                              m.queue_message,            "a message while a run is active"),
    on(Proceed,               FAILED,           SAME,            g.is_parked,                            q.start_idle_timer,         "a message is parked"),
    on(Proceed,               RESTING,          SAME,            g.must_search_for_owed_run,             r.search_for_owed_run,      "connected with a run in doubt"),
    on(Proceed,               RESTING,          SAME,            g.must_check_for_run,                   r.check_for_run,            "connected at rest"),
    on(Proceed,               RESTING,          IDLE,            g.has_unread_messages,                  m.read_messages,            "an answer waits to be read"),
    on(Proceed,               RESTING,          IDLE,            g.owed_run_is_in_doubt,                 r.search_for_owed_run,      "a run in doubt is unparked"),
    on(Proceed,               RESTING,          FAILED,          g.is_over_budget,                       q.park_for_budget,          "the tokens are used up"),
    on(Proceed,               RESTING,          IDLE,            g.owes_a_run,                           r.create_run,               "a message has no run yet"),
    on(Proceed,               RESTING,          IDLE,            g.message_is_in_doubt,                  m.search_for_message,       "a message in doubt is unparked"),
    on(Proceed,               RESTING,          IDLE,            g.has_queued_message,                   m.post_message,             "a queued message is sent"),
    on(Proceed,               RESTING,          SAME,            OTHERWISE,                              q.start_idle_timer,         "nothing is left to do"),
    on(QuotaRestored,         FAILED,           SAME,            g.is_parked,                            q.unpark,                   "the balance was filled up"),
    on(TimerDue,              STARTING,         FAILED,          g.request_is_over_budget,               q.park_for_budget,          "the tokens are used up before a retry"),
    on(TimerDue,              ANY,              SAME,            g.request_waits,                        q.perform_request,          "the poll interval is over"),
    on(TimerDue,              RESTING,          SAME,            g.has_nothing_to_do,                    q.stop,                     "nothing happened for the idle time-out"),

    # An active run is adopted; a run whose creation was in doubt is found again.
    on(RunsListed,            NOT_LIVE,         RUNNING,         g.found_our_run,                        r.start_found_run,          "the run in doubt was created"),
    on(RunsListed,            NOT_LIVE,         RUNNING,         g.found_a_run_to_adopt,                 r.adopt_run,                "somebody else's run is active"),
    on(RunsListed,            NOT_LIVE,         SAME,            g.must_search_run_again,                r.search_run_again,         "the run in doubt is not there yet"),
    on(RunsListed,            NOT_LIVE,         FAILED,          g.owed_run_is_unwanted,                 e.drop_absent_run,          "the cancelled run in doubt was not created"),
    on(RunsListed,            RATE_LIMITED,     FAILED,          g.is_over_budget,                       q.park_for_budget,          "the tokens are used up before a repeat in doubt"),
    on(RunsListed,            RATE_LIMITED,     SAME,            OTHERWISE,                              r.create_run_after_all,     "the repeated run in doubt was not created"),
    on(RunsListed,            RESTING,          SAME,            OTHERWISE,                              r.note_latest_run,          "no run is active"),

    # A message is posted, then its run is created. A message whose posting was in doubt is searched for.
    on(MessagePosted,         IDLE,             SAME,            OTHERWISE,                              m.confirm_message,          "a message was posted"),
    on(MessagesListed,        IDLE,             SAME,            h.found_our_message,                    m.confirm_found_message,    "the message in doubt was posted"),
    on(MessagesListed,        IDLE,             SAME,            h.search_has_more_pages,                m.search_next_page,         "the message in doubt may be on the next page"),
    on(MessagesListed,        IDLE,             SAME,            h.unwanted_head_is_not_found,           e.drop_unwanted_head,       "the discarded message in doubt was not posted"),
    on(MessagesListed,        IDLE,             FAILED,          h.message_is_unknowable,                m.give_up_search,           "a message like the one in doubt is there"),
    on(MessagesListed,        IDLE,             SAME,            h.must_search_message_again,            m.search_message_again,     "the message in doubt is not there yet"),
    on(MessagesListed,        IDLE,             SAME,            h.is_searching,                         m.conclude_absence,         "the message in doubt was not posted"),
    on(RunCreated,            STARTING,         RUNNING,         OTHERWISE,                              r.start_run,                "a run was created"),
    on(RequestBlocked,        STARTING,         FAILED,          f.unwanted_was_not_sent,                e.drop_unsent,              "another run blocks a discarded message"),
    on(RequestBlocked,        STARTING,         SAME,            f.may_try_again,                        r.search_for_blocking_run,  "another run blocks a message"),
    on(RequestBlocked,        STARTING,         FAILED,          OTHERWISE,                              q.give_up,                  "another run keeps blocking a message"),

    # The run is polled until it needs something or ends.
    on(RunSeen,               LIVE,             SAME,            g.run_is_another,                       r.ignore_other_run,         "news of another run"),
    on(RunSeen,               LIVE,             IDLE,            g.run_is_completed,                     r.complete_run,             "the run is completed"),
    on(RunSeen,               LIVE,             FAILED,          g.unwanted_run_is_rate_limited,         r.fail_run,                 "the run is rate limited while it must end"),
    on(RunSeen,               LIVE,             RATE_LIMITED,    g.run_may_be_retried,                   r.wait_for_rate,            "the run is rate limited"),
    on(RunSeen,               LIVE,             FAILED,          g.run_is_rate_limited,                  r.exhaust_retries,          "the run is rate limited once too often"),
    on(RunSeen,               LIVE,             FAILED,          g.run_is_out_of_quota,                  r.report_empty_balance,     "the run is out of quota"),
    on(RunSeen,               LIVE,             FAILED,          g.run_is_failed,                        r.fail_run,                 "the run has failed"),
    on(RunSeen,               LIVE,             FAILED,          g.cannot_be_ended,                      e.abandon_run,              "the run does not end although it must"),
    on(RunSeen,               LIVE,             RUNNING,         g.is_to_be_cancelled,                   e.send_cancel,              "cancelled while a poll is in flight"),
    on(RunSeen,               LIVE,             RUNNING,         g.is_ending,                            e.insist,                   "a cancel has not ended the run yet"),

    # The run asks for tools; each call is announced once, and all outputs are sent together.
    on(RunSeen,               LIVE,             RUNNING,         g.waits_for_the_impossible,             e.refuse_action,            "the run waits for an approval"),
    on(RunSeen,               LIVE,             RUNNING,         g.waits_for_nothing,                    r.poll_later,               "the run waits for tools and names none"),
    on(RunSeen,               OUTPUTS_SENT,     RUNNING,         k.outputs_have_arrived,                 r.poll_later,               "a stale poll after the outputs were taken"),
    on(RunSeen,               NOT_AWAITING,     RUNNING,         k.has_too_many_rounds,                  c.end_for_rounds,           "the run asks for tools too often"),
    on(RunSeen,               LIVE,             SUBMITTING,      k.all_calls_are_answered,               t.submit_known_outputs,     "the run asks for tools whose outputs are known"),
    on(RunSeen,               LIVE,             AWAITING_TOOLS,  k.run_needs_tools,                      t.request_tool_calls,       "the run asks for tools"),
    on(RunSeen,               LIVE,             RUNNING,         OTHERWISE,                              r.poll_later,               "the run continues"),
    on(SubmitToolOutput,      AWAITING_TOOLS,   SUBMITTING,      k.is_the_last_output_during_a_request,  t.record_output,            "the last output comes while a poll is in flight"),
    on(SubmitToolOutput,      AWAITING_TOOLS,   SUBMITTING,      k.is_the_last_output,                   t.record_last_output,       "the last output comes"),
    on(SubmitToolOutput,      AWAITING_TOOLS,   SAME,            k.answers_an_open_call,                 t.record_output,            "an output comes, others are open"),
    on(SubmitToolOutput,      FAILED,           SAME,            k.answers_an_open_call,                 t.record_output,            "an output comes for an abandoned run"),

    # Functions of this program answer calls. A person may have to approve a call first.
    on(AskForApproval,        AWAITING_TOOLS,   SAME,            k.may_ask_for_approval,                 c.ask_for_approval,         "a person must approve a call"),
    on(ApproveToolCall,       AWAITING_TOOLS,   SAME,            k.waits_for_approval,                   c.approve,                  "a call is approved"),
    on(DenyToolCall,          AWAITING_TOOLS,   SAME,            k.may_be_denied,                        c.deny,                     "a call is denied"),
    on(StartTool,             AWAITING_TOOLS,   SAME,            k.may_be_started,                       c.start,                    "a function is started"),
    on(ToolEnded,             MAY_HAVE_CALLS,   SAME,            k.tool_runs,                            c.end,                      "a function has ended"),
    on(ToolLost,              MAY_HAVE_CALLS,   SAME,            k.tool_runs,                            c.lose,                     "a function was started and is lost"),

    # The thread waits for a long time.
    on(StillWaiting,          ANY,              SAME,            g.is_waiting,                           w.announce_stall,           "nothing has changed for long"),

    # A person wants the run to end, or the run takes too long.
    on(DeadlinePassed,        LIVE,             SAME,            OTHERWISE,                              e.time_out,                 "the run takes too long"),
    on(CancelRun,             LIVE,             SAME,            OTHERWISE,                              e.cancel,                   "the run is cancelled"),
    on(CancelRun,             NOT_LIVE,         SAME,            g.run_may_exist,                        e.remember_to_cancel,       "cancelled while the run is being created"),
    on(CancelRun,             RESTING,          FAILED,          g.owes_a_run,                           e.drop_owed_run,            "cancelled before the run could be created"),
    on(CancelRun,             RATE_LIMITED,     FAILED,          OTHERWISE,                              e.drop_owed_run,            "cancelled while the rate limit is waited out"),
    on(DiscardQueue,          ANY,              SAME,            h.has_something_to_discard,             e.discard_queue,            "the queue is discarded while a run is active"),
    on(WithdrawMessage,       ANY,              SAME,            h.message_was_not_sent,                 e.withdraw_message,         "a message is withdrawn before it was sent"),
    on(RunSeen,               FAILED,           SAME,            f.was_a_cancel,                         q.close_request,            "the abandoned run is being cancelled"),

    # The run has completed: its messages are read.
    on(MessagesListed,        IDLE,             SAME,            h.has_more_to_read,                     m.read_next_page,           "the answers have another page"),
    on(MessagesListed,        IDLE,             SAME,            h.cursor_may_be_ignored,                m.look_at_the_newest,       "the list after the cursor may lack messages"),
    on(MessagesListed,        IDLE,             SAME,            h.newest_do_not_join,                   m.read_from_the_start,      "the server does not list after the cursor"),
    on(MessagesListed,        IDLE,             SAME,            h.answer_may_be_late,                   m.read_again_later,         "the answer is not listed yet"),
    on(MessagesListed,        IDLE,             SAME,            OTHERWISE,                              m.publish_messages,         "the answers are read"),

    # A request had no effect on the server.
    on(RequestDelayed,        STARTING,         FAILED,          f.unwanted_was_not_sent,                e.drop_unsent,              "a discarded message is delayed"),
    on(RequestDelayed,        LIVE,             FAILED,          g.cannot_be_ended,                      e.abandon_run,              "cancels and polls are delayed once too often"),
    on(RequestDelayed,        LIVE,             RUNNING,         g.is_to_be_cancelled,                   e.cancel_instead,           "cancelled while outputs are delayed"),
    on(RequestDelayed,        LIVE,             SAME,            g.is_ending,                            e.count_and_try_again,      "a cancel is delayed"),
    on(RequestDelayed,        SUBMITTING,       FAILED,          f.outputs_are_out_of_tries,             t.give_up_outputs,          "outputs are delayed once too often"),
    on(RequestDelayed,        SUBMITTING,       SAME,            f.was_a_submission,                     t.submit_again_later,       "outputs are delayed"),
    on(RequestDelayed,        LIVE,             SAME,            OTHERWISE,                              r.repeat_later,             "a poll is delayed"),
    on(RequestDelayed,        NOT_LIVE,         SAME,            f.may_try_again,                        q.try_again_later,          "a message is delayed"),
    on(RequestDelayed,        FAILED,           SAME,            f.was_a_cancel,                         q.drop_cancel,              "the cancel of an abandoned run is delayed"),
    on(RequestDelayed,        IDLE,             SAME,            h.was_a_reading_with_an_answer,         m.publish_what_is_there,    "the list fails once too often, and the answer is in hand"),
    on(RequestDelayed,        IDLE,             FAILED,          h.was_a_reading,                        m.give_up_reading,          "the list fails once too often"),
    on(RequestDelayed,        NOT_LIVE,         FAILED,          OTHERWISE,                              q.give_up,                  "a message is delayed once too often"),

    # It is unknown whether the request took effect: search before sending it again.
    on(RequestUnresolved,     SUBMITTING,       FAILED,          f.outputs_are_out_of_tries,             t.give_up_outputs,          "outputs are lost once too often"),
    on(RequestUnresolved,     SUBMITTING,       SAME,            OTHERWISE,                              t.poll_run_later,           "the answer to outputs is lost"),
    on(RequestUnresolved,     STARTING,         SAME,            f.may_try_again,                        q.search_for_outcome,       "the answer to a message is lost"),
    on(RequestUnresolved,     STARTING,         FAILED,          OTHERWISE,                              q.give_up_in_doubt,         "the answer to a message is lost once too often"),

    on(RequestBlocked,        SUBMITTING,       SAME,            OTHERWISE,                              t.wait_for_the_lock,        "outputs meet a locked thread"),

    # The server rejected the request.
    on(RequestRejected,       STARTING,         FAILED,          f.unwanted_was_not_sent,                e.drop_unsent,              "a discarded message is refused"),
    on(RequestRejected,       LIVE,             SAME,            f.was_a_cancel,                         e.poll_after_refusal,       "a cancel is refused"),
    on(RequestRejected,       SUBMITTING,       FAILED,          f.outputs_are_out_of_tries,             t.give_up_outputs,          "outputs are refused once too often"),
    on(RequestRejected,       SUBMITTING,       SAME,            f.was_a_submission,                     t.poll_run_later,           "outputs are refused"),
    on(RequestRejected,       LIVE,             RUNNING,         g.is_to_be_cancelled,                   e.cancel_instead,           "cancelled while a poll is refused"),
    on(RequestRejected,       LIVE,             SAME,            f.poll_may_be_refused_by_mistake,       r.poll_once_more,           "a poll is refused"),
    on(RequestRejected,       LIVE,             FAILED,          OTHERWISE,                              r.lose_run,                 "the server denies knowing the run"),
    on(RequestRejected,       IDLE,             SAME,            h.cursor_is_refused,                    m.read_without_cursor,      "the server denies knowing the cursor"),
    on(RequestRejected,       IDLE,             SAME,            h.was_a_reading_with_an_answer,         m.publish_what_is_there,    "the list is refused, and the answer is in hand"),
    on(RequestRejected,       IDLE,             FAILED,          h.was_a_reading,                        m.give_up_reading,          "the list is refused"),
    on(RequestRejected,       IDLE,             FAILED,          f.content_is_refused,                   m.drop_message,             "the text of a message is refused"),
    on(RequestRejected,       STARTING,         FAILED,          f.run_is_refused_for_good,              r.give_up_run,              "a run is refused because of its message"),
    on(RequestRejected,       FAILED,           SAME,            f.was_a_cancel,                         q.close_request,            "the cancel of an abandoned run is refused"),
    on(RequestRejected,       NOT_LIVE,         FAILED,          OTHERWISE,                              q.give_up,                  "a message is refused"),

    # A person must act, because of the API key or the balance.
    on(RequestNeedsOperator,  SUBMITTING,       FAILED,          f.was_a_submission,                     t.keep_outputs,             "outputs are denied"),
    on(RequestNeedsOperator,  LIVE,             SAME,            f.may_be_denied_by_mistake,             r.repeat_later,             "a poll is denied"),
    on(RequestNeedsOperator,  LIVE,             FAILED,          f.ending_is_denied,                     e.abandon_run,              "a cancel is denied"),
    on(RequestNeedsOperator,  STARTING,         FAILED,          f.unwanted_was_not_sent,                e.drop_unsent,              "a discarded message is denied"),
    on(RequestNeedsOperator,  ANY,              FAILED,          OTHERWISE,                              q.give_up,                  "a message or run is denied"),
)

# If an input leaves a thread in one of these states, and the guard returns True, the input `Proceed` is handled next.
AFTER_EACH: Final = (RESTING, g.is_free, Proceed())

IGNORED: Final[tuple[Silence, ...]] = (
    #      input              in state                because
    silent(SubmitToolOutput,  NOT_LIVE,               "no run waits for it"),
    silent(SubmitToolOutput,  [RUNNING, SUBMITTING],  "the run does not wait for it now"),
    silent(SubmitToolOutput,  AWAITING_TOOLS,         "the run did not request this call, the call has its output, or a function or a person answers the call"),
    silent(AskForApproval,    ANY,                   "the call is not open, or the question was asked"),
    silent(ApproveToolCall,   ANY,                   "the call does not wait for an approval"),
    silent(DenyToolCall,      ANY,                   "the call does not wait for an approval"),
    silent(StartTool,         ANY,                   "the call is not open"),
    silent(ToolEnded,         ANY,                   "the output is no longer wanted"),
    silent(ToolLost,          ANY,                   "the output is no longer wanted"),
    silent(CancelRun,         RESTING,                "there is no run"),
    silent(DiscardQueue,      ANY,                    "nothing waits to be sent"),
    silent(WithdrawMessage,   ANY,                    "the message was sent, or is not in the queue"),
    silent(Resume,            ANY,                    "no request was in flight"),
    silent(RunSeen,           NOT_LIVE,               "that run is over"),
    silent(TimerDue,          ANY,                    "a request is in flight"),
    silent(DeadlinePassed,    NOT_LIVE,               "that run is over"),
    silent(QuotaRestored,     ANY,                    "nothing is parked"),
    silent(StillWaiting,      ANY,                    "that wait is over"),
)

ILLEGAL: Final[tuple[Silence, ...]] = (
    #      input               in state                            because
    silent(Proceed,            [*LIVE, RATE_LIMITED],              "the library gives this input only in idle and failed"),
    silent(RunsListed,         LIVE,                               "runs are listed only where none is known"),
    silent(MessagePosted,      [*LIVE, RATE_LIMITED, FAILED],      "messages are posted only in idle"),
    silent(MessagesListed,     [*LIVE, RATE_LIMITED, FAILED],      "messages are listed only in idle"),
    silent(RunCreated,         [*LIVE, FAILED],                    "runs are created only in idle and rate_limited"),
    silent(RequestBlocked,     [RUNNING, AWAITING_TOOLS, FAILED],  "another run cannot block the requests that are made in these states"),
    silent(RequestUnresolved,  [RUNNING, AWAITING_TOOLS, FAILED],  "requests made here may be repeated without harm"),
)
# fmt: on

TRIGGERS: Final[tuple[str, ...]] = tuple(dict.fromkeys(row.trigger for row in TABLE))
STORIES: Final[tuple[str, ...]] = tuple(row.story for row in TABLE)
