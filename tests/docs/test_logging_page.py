"""The page about logging names every logger, and says the truth about what they keep quiet."""

import logging
import re

from gpt_agent_fsm import Runtime, Settings, signals
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.local import Chaos, LocalServer, ModelRequest, ToolCall
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
SECRET = "the moon is made of cheese"


def loggers():
    """Return the names of the loggers that the source asks for."""
    for path in sorted((ROOT / "gpt_agent_fsm").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        text = path.read_text(encoding="utf-8")
        if "get_logger(__name__)" in text:
            yield module.removesuffix(".__init__")
        if "get_logger(__package__)" in text:
            yield module.rpartition(".")[0]


def test_every_logger_is_on_the_page_and_no_other():
    rows = re.findall(r"^\| `(gpt_agent_fsm[\w.]*)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(set(loggers()))


def test_the_package_has_a_handler_that_does_nothing():
    handlers = logging.getLogger("gpt_agent_fsm").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_no_text_of_a_conversation_is_logged_even_if_requests_fail(caplog, clean_signals):
    def model(request: ModelRequest) -> str | list[ToolCall]:
        return SECRET if request.outputs else [ToolCall("ask", {"question": SECRET})]

    @signals.tool_call_requested.connect
    def on_tool_call(agent, event):
        agent.submit_tool_output(event.id, SECRET)

    caplog.set_level(logging.DEBUG)
    settings = Settings(heartbeat_interval=0.05, request_retry_delay=0.05)
    faults = ["rate-limit", "error-before", "error-after"]
    with (
        LocalServer(model, chaos=Chaos(seed=3, rate=0.3, retry_after=0, faults=faults)) as server,
        Runtime(AssistantsBackend(server.base_url, "a-secret-key"), settings) as runtime,
    ):
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None)
        agent.add_user_message(SECRET)
        assert agent.wait(timeout=60) == "idle"
    assert {record.levelno for record in caplog.records} >= {logging.DEBUG, logging.WARNING}
    assert SECRET not in caplog.text
    assert "a-secret-key" not in caplog.text
