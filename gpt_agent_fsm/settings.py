"""The settings of a runtime: durations in seconds, and counts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from gpt_agent_fsm.errors import explains_keywords, nearest

__all__ = ["Settings"]

PREFIX = "GPT_AGENT_"
_STORE = "GPT_AGENT_STORE"
_OF_THE_COMMAND_LINE = (_STORE, "GPT_AGENT_SERVE_")
"""The beginnings of the variables that set options of the command `gpt-agent-fsm`. These variables are not settings."""
_MAX_DOUBLINGS = 60
_MAX_VALUE = 1_000_000_000
"""Thirty years in seconds. This is longer than any useful wait, but not too long for any timer."""
MAX_TOKENS = 10**15
"""The highest possible limit of tokens. It is more than anybody can pay, but every store can still add such numbers."""
_TOOL_POLL_INTERVAL = 120.0
_GROWTH = 0.1
"""The growing poll interval, as a part of the run's age."""
MAX_RETRY_AFTER = 600.0
"""The longest wait in seconds that a server may ask for. Without it, a wrong header could stop a thread for a day."""


def _check(
    minimum: float, *, maximum: int = _MAX_VALUE, zero: bool = False
) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:  # noqa: ANN401 - a validator gets any value
        integral = str(attribute.type).startswith("int") or attribute.type is int
        kind = int if integral else (int, float)
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        if not is_number or not (isinstance(value, int) or math.isfinite(value)):
            noun = "a whole number" if integral else "a number of seconds"
            raise ValueError(f"Settings: {attribute.name} must be {noun}, not {value!r}")
        if value > maximum:
            raise ValueError(f"Settings: {attribute.name} must be at most {maximum}, not {value!r}")
        if value < minimum or (value == 0 and not zero):
            least = f"at least {minimum:g}" if zero or 0 < minimum < 1 else "more than 0"
            raise ValueError(f"Settings: {attribute.name} must be {least}, not {value!r}")

    return check


_seconds = _check(0.0)
_delay = _check(0.0, zero=True)
_seconds_or_none: Any = attrs.validators.optional(_seconds)
_not_tiny_or_none: Any = attrs.validators.optional(_check(0.001))
"""For values by which the library divides, or which it doubles again and again."""
_count = _check(1)
_count_or_none: Any = attrs.validators.optional(_count)
_tokens_or_none: Any = attrs.validators.optional(_check(1, maximum=MAX_TOKENS))
_retries = _check(0, zero=True)


@explains_keywords
@attrs.frozen(kw_only=True)
class Settings:
    """The intervals, timeouts and limits of a runtime. Durations are in seconds.

    Raises `ValueError` for a value that is not a number or is out of range.
    """

    heartbeat_interval: float = attrs.field(default=1.0, validator=_seconds)
    """The poll interval: the time between two polls of a run that is in progress."""
    heartbeat_max_interval: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """If this is set, the poll interval grows with the age of the run: it is a tenth of the age, but never shorter than
    `heartbeat_interval` and never longer than this setting. None means that the poll interval does not grow. This
    setting must not be shorter than `heartbeat_interval`. The age counts from the moment at which this process
    first saw the run in progress, and again from 0 after tool outputs were sent. While webhooks or a stream report the
    end of the run, polls are rarer than this."""
    webhook_heartbeat_interval: float = attrs.field(default=30.0, validator=_seconds)
    """The poll interval while webhooks report the end of runs. These polls are a safety net for lost webhooks."""
    idle_timeout: float | None = attrs.field(default=120.0, validator=_seconds_or_none)
    """An agent without activity stops after this time; None means never. An agent that waits for tool outputs does not
    stop: it polls its run at this interval instead, or every 120 seconds if the idle timeout is None. The idle timeout
    also limits `receive_timeout`: with a short idle timeout, slow HTTP answers are cut off."""
    receive_timeout: float = attrs.field(default=30.0, validator=_seconds)
    """The total request timeout, from connecting to the last byte of the HTTP answer."""
    rate_limit_max_retries: int = attrs.field(default=10, validator=_retries)
    """How many times a rate limited run is started again. The count restarts with each user message."""
    rate_limit_retry_delay: float = attrs.field(default=30.0, validator=_delay)
    """The delay before a rate limited run is started again."""
    tool_output_max_attempts: int = attrs.field(default=3, validator=_count)
    """The maximum number of attempts to send the outputs of a run's tool calls."""
    tool_output_retry_delay: float = attrs.field(default=1.0, validator=_delay)
    """The delay between two attempts to send tool outputs."""
    request_max_attempts: int = attrs.field(default=8, validator=_count)
    """The maximum number of attempts of a request that does not send tool outputs. Polls of an active run have no
    limit, unless the server refuses them."""
    request_retry_delay: float = attrs.field(default=0.5, validator=_delay)
    """The delay before the second attempt of a request. The delay doubles before each further attempt. Random jitter
    subtracts up to half of the delay."""
    request_retry_max_delay: float = attrs.field(default=30.0, validator=_delay)
    """The maximum delay between two attempts of a request. The server may ask for a longer delay, up to ten minutes."""
    run_timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """A run that takes longer than this is cancelled and fails with the code `timeout`; None means no limit. The time
    counts from the moment at which this process first saw the run in progress."""
    tool_timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """A run that waits for tool outputs for longer than this is cancelled and fails with the code `timeout`; None means
    no limit."""
    max_tool_rounds: int | None = attrs.field(default=None, validator=_count_or_none)
    """A run that asks for tools more often than this is cancelled and fails with the code `max_tool_rounds`; None means
    no limit. If a run asks for several calls at the same time, they count as one."""
    max_total_tokens: int | None = attrs.field(default=None, validator=_tokens_or_none)
    """How many tokens the runs of a thread may use together; None means no limit. When the tokens are used up, the
    queue is parked with `BudgetExceeded` before the next message or run. `Runtime.connect` can set another limit for a
    thread."""
    approval_timeout: float | None = attrs.field(default=None, validator=_seconds_or_none)
    """A tool call that waits for an approval for longer than this is denied; None means no limit. The time counts from
    `ToolApprovalRequested`, even across restarts."""
    tool_workers: int = attrs.field(default=8, validator=_count)
    """How many functions of tools and approval rules, counted together, may run at the same time."""
    streams: int = attrs.field(default=32, validator=_retries)
    """How many runs may be read as streams at the same time, each on an OS thread of its own. Further runs are only
    polled."""
    stall_after: float | None = attrs.field(default=300.0, validator=_not_tiny_or_none)
    """If a thread waits for the same thing for this time, `ThreadStalled` is sent. It is sent again each time the wait
    has doubled. None means never."""
    max_answer_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=_count)
    """The size in bytes of the largest HTTP answer to accept, after decompression. A larger answer counts as
    unreadable."""
    max_part_bytes: int = attrs.field(default=20 * 1024 * 1024, validator=_count)
    """The largest total size in bytes of the images and files that one message contains as data. The store keeps this
    data until the message is sent. For more data, use `Runtime.upload`, and send the file's id."""
    requests_per_minute: float | None = attrs.field(default=None, validator=_not_tiny_or_none)
    """How many requests a minute all threads of the API key may make together; None means no limit. In a cluster, this
    counts for all processes together. Requests that have to wait take turns; see `tenant` of `Runtime.connect`."""
    workers: int = attrs.field(default=8, validator=_count)
    """The number of workers, which make requests and call handlers."""

    def __attrs_post_init__(self) -> None:
        longest, usual = self.heartbeat_max_interval, self.heartbeat_interval
        if longest is not None and longest < usual:
            raise ValueError(
                f"Settings: heartbeat_max_interval must be at least heartbeat_interval ({usual!r}), not {longest!r}"
            )

    @property
    def outcome_grace(self) -> float:
        """The seconds to wait before the library repeats a request that got no HTTP answer.

        A request may be in flight for at most this time.
        """
        return self.receive_timeout

    @property
    def idle_seconds(self) -> float:
        """The idle timeout in seconds.

        If there is no idle timeout, the value is longer than any agent lives.
        """
        return _MAX_VALUE if self.idle_timeout is None else self.idle_timeout

    def growing_interval(self, age: float) -> float:
        """Return the poll interval in seconds of a run of this age in seconds; 0 if the interval does not grow."""
        if self.heartbeat_max_interval is None:
            return 0.0
        return min(age * _GROWTH, self.heartbeat_max_interval, self.idle_seconds)

    @property
    def tool_poll_interval(self) -> float:
        """The poll interval in seconds while a run waits for tool outputs."""
        return _TOOL_POLL_INTERVAL if self.idle_timeout is None else self.idle_timeout

    @property
    def request_timeout(self) -> float:
        """The timeout of one request in seconds. It is the smaller of `receive_timeout` and `idle_timeout`."""
        return min(self.receive_timeout, self.idle_seconds)

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after this many failures in a row, before jitter."""
        doublings = min(failures - 1, _MAX_DOUBLINGS)
        return min(self.request_retry_delay * 2.0**doublings, self.request_retry_max_delay)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Return the settings from the environment, from variables such as `GPT_AGENT_HEARTBEAT_INTERVAL`.

        A setting without a variable keeps its default. The text `none` means None. Raises `ValueError` for a value that
        is not a number, and for a variable that begins with `GPT_AGENT_` but is neither a setting nor an option of the
        command line.
        """
        environ = os.environ if environ is None else environ
        fields = {PREFIX + field.name.upper(): field for field in attrs.fields(cls)}
        values: dict[str, Any] = {}
        for name, text in environ.items():
            if not name.startswith(PREFIX) or name.startswith(_OF_THE_COMMAND_LINE):
                continue
            if name not in fields:
                raise ValueError(f"{name} is not a setting; {_meant(name, sorted(fields))}")
            field = fields[name]
            optional = "None" in str(field.type)
            if optional and text.strip().lower() == "none":
                values[field.name] = None
                continue
            kind, noun = (int, "a whole number") if str(field.type).startswith("int") else (float, "a number")
            try:
                values[field.name] = kind(text)
            except ValueError:
                raise ValueError(f"{name} must be {noun}{' or none' * optional}, not {text!r}") from None
        return cls(**values)


def _meant(variable: str, known: list[str]) -> str:
    """Return the nearest variable, or all variables if none is near. All of them begin in the same way."""
    names = [name.removeprefix(PREFIX) for name in (*known, _STORE)]
    meant = nearest(variable.removeprefix(PREFIX), names)
    return f"the settings are {', '.join(known)}" if meant is None else f"did you mean {PREFIX}{meant}?"
