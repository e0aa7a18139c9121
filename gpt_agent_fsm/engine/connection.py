"""The arguments with which user code connects to a thread."""

from __future__ import annotations

import math

import attrs

from gpt_agent_fsm import signals
from gpt_agent_fsm.engine.checks import check_connection, plain, required_text
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.settings import Settings

__all__ = ["Connection"]


@attrs.frozen(kw_only=True)
class Connection:
    """The arguments with which user code connects to a thread. For each attribute, see `Runtime.connect`.

    Raises `ValueError` or `TypeError` for a wrong argument.
    """

    assistant_id: str
    last_message_id: str | None = attrs.field(default=None, converter=plain)
    subscribe: signals.Handler | None = None
    idle_timeout: float | None = None
    replay_after: int | None = None
    key: str | None = attrs.field(default=None, converter=plain)
    max_total_tokens: int | None = None
    stream: bool | None = None
    tenant: str | None = attrs.field(default=None, converter=plain)

    def __attrs_post_init__(self) -> None:
        check_connection(
            self.assistant_id,
            self.last_message_id,
            self.subscribe,
            self.key,
            self.max_total_tokens,
            self.stream,
            self.replay_after,
            self.tenant,
        )

    def settings_from(self, settings: Settings) -> Settings:
        """Return the settings with the idle timeout of this connection. Raises an error if the timeout is wrong."""
        if self.idle_timeout is None:
            return settings
        never = self.idle_timeout == math.inf
        return attrs.evolve(settings, idle_timeout=None if never else self.idle_timeout)

    def command(self, *, look: bool = False) -> inputs.Connect:
        """Return the command that reports this connection to the machine. `look`: see `inputs.Connect`."""
        return inputs.Connect(
            assistant_id=required_text(self.assistant_id, "assistant_id"),
            last_message_id=self.last_message_id,
            look=look,
            max_total_tokens=self.max_total_tokens,
            stream=self.stream,
            tenant=self.tenant,
        )

    def join(self, driver: Thread) -> None:
        """Subscribe the handler, if there is one, to the events of the driver's thread."""
        driver.join(self.subscribe, self.replay_after, stream=bool(self.stream))
