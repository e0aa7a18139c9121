"""Every backend passes the contract, the one in memory included."""

from __future__ import annotations

import threading

import pytest

from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.local import LocalServer, ModelError, ToolCall
from gpt_agent_fsm.objects import RunStatus
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


class TestAssistantsBackendOverTheEmbeddedServer(BackendContract):
    @pytest.fixture(autouse=True)
    def _server(self):
        self.closing = threading.Event()
        with LocalServer(self.model) as server:
            self.backend = AssistantsBackend(server.base_url)
            yield
            self.closing.set()
            self.backend.close()

    def make_backend(self):
        return self.backend

    def model(self, request):
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
