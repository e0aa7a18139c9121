"""Nine ways to break what the library promises, as a plugin of pytest.

`BEHAVIOUR_MUTANT=shutdown pytest -p tests.mutation.behaviour_mutants tests/unit` shows which tests notice that
`Agent.shutdown` does nothing. Without the variable nothing is broken.
"""

from __future__ import annotations

import inspect
import os
import textwrap
import types
from collections.abc import Callable

from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.backends.http import client
from gpt_agent_fsm.engine import connecting
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.webhooks import Webhooks
from gpt_agent_fsm.machine.actions import endings, requests, runs

__all__ = ["MUTANTS", "VARIABLE", "rewrite"]

VARIABLE = "BEHAVIOUR_MUTANT"

_OUR_HEADERS = {"OpenAI-Beta", "OpenAI-Organization", "OpenAI-Project", "Accept"}


def rewrite(function: types.FunctionType, *changes: tuple[str, str]) -> None:
    """Change the source of a function, for everybody who holds it: the table holds its actions themselves."""
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        if old not in source:
            raise LookupError(f"{function.__qualname__} no longer contains {old!r}: renew the mutant")
        source = source.replace(old, new)
    module = compile("from __future__ import annotations\n" + source, "<mutant>", "exec")
    codes = [const for const in module.co_consts if isinstance(const, types.CodeType)]
    function.__code__ = next(code for code in codes if code.co_name == function.__name__)


def shutdown() -> None:
    """`Agent.shutdown` does nothing."""
    Agent.shutdown = lambda self: None


def delivery() -> None:
    """No event reaches anybody."""
    Announcer._call = lambda self, handler, event, *, by_keyword: None


def assistant() -> None:
    """A run that waits for its request keeps the old assistant."""
    rewrite(runs.change_assistant, ("not copy.sent", "False"))


def reconnect() -> None:
    """Connecting again sets the idle time-out to a millisecond, whatever is asked for."""
    millisecond = ("connection.settings_from(driver.settings)", "type(driver.settings)(idle_timeout=0.001)")
    rewrite(connecting._connect_again, ("connection.idle_timeout is not None", "True"), millisecond)


def headers() -> None:
    """The headers that a user gives are dropped."""
    check = client.checked_headers
    client.checked_headers = lambda given: {n: value for n, value in check(given).items() if n in _OUR_HEADERS}


def webhooks() -> None:
    """Webhooks are read and ignored."""
    Webhooks.take_in = lambda self, notice: None


def timeout() -> None:
    """A run that takes too long fails with another code."""
    rewrite(endings.time_out, ('"timeout"', '"expired"'))


def idle() -> None:
    """An idle agent stops after a second."""
    rewrite(requests.start_idle_timer, ("copy.settings.idle_seconds", "1.0"))


def message() -> None:
    """`Agent.add_user_message` does nothing."""
    Agent.add_user_message = lambda self, content: None


MUTANTS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (shutdown, delivery, assistant, reconnect, headers, webhooks, timeout, idle, message)
}


def pytest_configure() -> None:
    """Break what the environment names."""
    if name := os.environ.get(VARIABLE):
        MUTANTS[name]()
