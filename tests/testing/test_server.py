"""The servers in memory keep the rules of the real ones for approvals, outdated answers and tokens."""

import pytest

from gpt_agent_fsm import Runtime, events
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.assistants.wire import converter as assistants_converter
from gpt_agent_fsm.backends.responses.wire import converter as responses_converter
from gpt_agent_fsm.errors import RequestRefused
from gpt_agent_fsm.ports import RunRequest, RunStatus, ToolOutputsRequest
from gpt_agent_fsm.testing import Answer, Call, Fail, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.conversations import SimulatedConversations
from gpt_agent_fsm.testing.habits import Habits
from gpt_agent_fsm.testing.simulation.servers import _ASSISTANTS
from gpt_agent_fsm.testing.threads_api import SimulatedThreads

LOOKUP = Call(by_server=(("lookup", '{"q":1}'),))


class Http:
    """The HTTP client of a backend, without HTTP."""

    base_url = "http://simulated/v1"

    def __init__(self, server, converter):
        self.server, self.converter = server, converter

    def get(self, path, shape, *, params=None, timeout):
        return self.converter.structure(self.server.get(path, params or {}), shape)

    def post(self, path, body, shape, *, timeout):
        return self.converter.structure(self.server.post(path, self.converter.unstructure(body)), shape)

    def close(self):
        pass


def assistants(*steps):
    server = SimulatedServer(lambda text: list(steps))
    backend = AssistantsBackend(Http.base_url, "k")
    backend._http = Http(SimulatedThreads(server), assistants_converter)
    return server, backend


def responses(*steps):
    server = SimulatedConversations(lambda text: list(steps))
    backend = ResponsesBackend(Http.base_url, "k", assistants=_ASSISTANTS)
    backend._http = Http(server, responses_converter)
    return server, backend


@pytest.fixture(params=[assistants, responses])
def make(request):
    return request.param


def converse(backend, **options):
    scheduler, heard = VirtualScheduler(), []
    with Runtime(backend, scheduler=scheduler) as runtime:
        agent = runtime.connect(
            thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None, **options
        )
        agent.add_user_message("Hello")
        scheduler.advance(60)
        heard = [record.event for record in runtime.history(agent.thread_id)]
        return agent.thread_id, agent.usage, heard


def approve(agent, event):
    if isinstance(event, events.ToolApprovalRequested):
        agent.approve(event.id)


def deny(agent, event):
    if isinstance(event, events.ToolApprovalRequested):
        agent.deny(event.id, "no")


@pytest.mark.parametrize(("decide", "said"), [(approve, "true"), (deny, "false")])
def test_the_server_asks_for_the_approval_of_its_own_call(make, decide, said):
    server, backend = make(LOOKUP, Answer("Done"))
    thread_id, _, heard = converse(backend, subscribe=decide)
    (asked,) = [event for event in heard if isinstance(event, events.ToolApprovalRequested)]
    assert (asked.name, asked.arguments) == ("lookup", {"q": 1})
    assert server.calls_by_server(thread_id) == {asked.id}
    ((given,),) = server.outputs(thread_id).values()
    assert said in given.lower()
    assert [event.content for event in heard if isinstance(event, events.AssistantMessageAdded)] == ["Done"]


def test_a_response_may_ask_for_an_approval_and_for_an_output_in_one_round():
    server, backend = responses(Call((("f", "{}"),), by_server=(("lookup", "{}"),)), Answer("Done"))

    def act(agent, event):
        approve(agent, event)
        if isinstance(event, events.ToolCallRequested) and event.name == "f":
            agent.submit_tool_output(event.id, 1)

    thread_id, _, heard = converse(backend, subscribe=act)
    assert len(server.outputs(thread_id)) == 2
    assert any(isinstance(event, events.RunCompleted) for event in heard)


def test_the_tokens_of_the_server_are_those_that_the_library_counts(make):
    for end, tokens in [(Answer("Done"), 2), (Fail(), 1)]:
        server, backend = make(end)
        thread_id, usage, _ = converse(backend)
        assert list(server.tokens(thread_id).values()) == [usage.total_tokens] == [tokens]


def waiting_run(server):
    thread_id = server.create_thread(timeout=1)
    run = server.create_run(RunRequest(thread_id=thread_id, assistant_id="a", key="k"), timeout=1)
    return thread_id, server.get_run(thread_id, run.id, timeout=1)


def answer_of(thread_id, run, outputs=(), decisions=()):
    return ToolOutputsRequest(thread_id=thread_id, run_id=run.id, outputs=outputs, decisions=decisions)


def test_a_call_of_the_server_takes_a_decision_and_no_output():
    server = SimulatedServer(lambda text: [LOOKUP])
    thread_id, run = waiting_run(server)
    pairs = ((run.tool_calls[0].id, "{}"),)
    with pytest.raises(RequestRefused, match="one output for each"):
        server.submit_tool_outputs(answer_of(thread_id, run, outputs=pairs), timeout=1)
    assert server.submit_tool_outputs(answer_of(thread_id, run, decisions=pairs), timeout=1).status is RunStatus.ACTIVE


def test_a_round_is_shown_again_after_its_outputs_until_the_faults_end():
    server = SimulatedServer(lambda text: [Call((("f", "{}"),))], habits=Habits(outdated_polls=3))
    thread_id, run = waiting_run(server)
    server.submit_tool_outputs(answer_of(thread_id, run, ((run.tool_calls[0].id, "1"),)), timeout=1)
    assert server.get_run(thread_id, run.id, timeout=1) == run
    assert server.get_run(thread_id, run.id, timeout=1) == run
    server.faults_off = True
    assert server.get_run(thread_id, run.id, timeout=1).status is RunStatus.COMPLETED


def test_a_rate_limit_may_end_a_run_just_before_its_cancel():
    server = SimulatedServer(lambda text: [Call((("f", "{}"),))], habits=Habits(cancels="overtaken"))
    thread_id, run = waiting_run(server)
    with pytest.raises(RequestRefused, match="Cannot cancel"):
        server.cancel_run(thread_id, run.id, timeout=1)
    assert server.get_run(thread_id, run.id, timeout=1).status is RunStatus.RATE_LIMITED


def test_a_run_whose_cancel_never_ends_counts_as_stuck():
    server = SimulatedServer(lambda text: [Call((("f", "{}"),))], habits=Habits(cancels="endless"))
    thread_id, run = waiting_run(server)
    assert not server.is_stuck(thread_id)
    server.cancel_run(thread_id, run.id, timeout=1)
    assert server.is_stuck(thread_id)
