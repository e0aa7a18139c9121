"""Every backend passes the contract, including the one in memory."""

from __future__ import annotations

import pytest

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import LocalServer, ModelError, ToolCall
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer
from gpt_agent_fsm.testing.contracts.backend import BackendContract

PLANS = {
    "hello": [Answer()],
    "tools": [Call((("f", "{}"), ("g", '{"x": 1}'))), Answer()],
    "fail": [Fail()],
    "rate": [Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")],
    "slow": [Linger(10**9)],
}


class TestSimulatedServer(BackendContract):
    def make_backend(self):
        return SimulatedServer(lambda text: list(PLANS[text]), page_size=2)


class TestForgetfulSimulatedServer(BackendContract):
    def make_backend(self):
        return SimulatedServer(lambda text: list(PLANS[text]), keeps_keys=False)


def model(request):
    said, last = request.user_message, request.messages[-1]
    if said == "slow":
        request.cancelled.wait(20)
    if said == "fail":
        raise ModelError("server_error", "Sorry")
    if said == "rate":
        raise ModelError("rate_limit_exceeded", "Rate limit reached for this model")
    if said == "tools" and last["role"] == "user":
        return [ToolCall("f", {}), ToolCall("g", {"x": 1})]
    return "Hi"


class OverTheEmbeddedServer(BackendContract):
    @pytest.fixture(autouse=True)
    def _server(self):
        with LocalServer(model) as server:
            self.backend = self.connect_to(server)
            yield
            self.backend.close()

    def make_backend(self):
        return self.backend


class TestAssistantsBackendOverTheEmbeddedServer(OverTheEmbeddedServer):
    def connect_to(self, server):
        return AssistantsBackend(server.base_url)


class TestResponsesBackendOverTheEmbeddedServer(OverTheEmbeddedServer):
    def connect_to(self, server):
        return ResponsesBackend(server.base_url, assistants={"asst_contract": Assistant("gpt-4o")})
