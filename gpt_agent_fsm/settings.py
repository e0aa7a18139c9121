"""The knobs of a runtime, in seconds and counts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

__all__ = ["Settings"]

PREFIX = "GPT_AGENT_"
_MAX_DOUBLINGS = 60
_MOST = 1_000_000_000
"""Thirty years of seconds: more than anybody waits, and less than any timer refuses."""


def _check(minimum: float, *, zero: bool = False) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:  # noqa: ANN401 - a validator sees anything
        integral = attribute.type in ("int", int)
        kind = int if integral else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
            noun = "a whole number" if integral else "a number of seconds"
            raise ValueError(f"Settings: {attribute.name} must be {noun}, not {value!r}")
        if value > _MOST:
            raise ValueError(f"Settings: {attribute.name} must be at most {_MOST}, not {value!r}")
        if value < minimum or (value == 0 and not zero):
            raise ValueError(
                f"Settings: {attribute.name} must be {'at least' if zero else 'more than'} 0, not {value!r}"
            )

    return check


_seconds = _check(0.0)
_delay = _check(0.0, zero=True)
_count = _check(1)
_retries = _check(0, zero=True)


@attrs.frozen(kw_only=True)
class Settings:
    """How often, how long, how many times. Durations are seconds.

    Raises `ValueError` for a value that is no number or out of range.
    """

    heartbeat_interval: float = attrs.field(default=1.0, validator=_seconds)
    """Between two looks at a run that is in progress."""
    webhook_heartbeat_interval: float = attrs.field(default=30.0, validator=_seconds)
    """The same while webhooks arrive about the end of runs: a safety net for one that gets lost."""
    idle_timeout: float = attrs.field(default=120.0, validator=_seconds)
    """Without activity for this long an idle agent shuts down; one that waits for tools looks at its run.
    It also bounds `receive_timeout`: a short one cuts off answers that were on their way."""
    receive_timeout: float = attrs.field(default=30.0, validator=_seconds)
    """Total time a request may take, from connecting to the last byte of its answer."""
    rate_limit_max_retries: int = attrs.field(default=10, validator=_retries)
    """How many times a run that was rate limited is started again, counted anew for each user message."""
    rate_limit_retry_delay: float = attrs.field(default=30.0, validator=_delay)
    """Before a rate limited run is started again."""
    tool_output_max_attempts: int = attrs.field(default=3, validator=_count)
    """How many times the outputs of a run's tool calls are sent before they are given up."""
    tool_output_retry_delay: float = attrs.field(default=1.0, validator=_delay)
    """Between two attempts to send tool outputs."""
    request_max_attempts: int = attrs.field(default=8, validator=_count)
    """How many times any other request is tried. Polls of an active run have no limit."""
    request_retry_delay: float = attrs.field(default=0.5, validator=_delay)
    """Before the second attempt of a request; doubled for each further one, up to half of it taken off at random."""
    request_retry_max_delay: float = attrs.field(default=30.0, validator=_delay)
    """The longest of these delays, unless the server asks for a longer one."""
    run_timeout: float | None = attrs.field(default=None, validator=attrs.validators.optional(_seconds))
    """A run that takes longer is cancelled and fails with code `timeout`; None: no limit. Counted from when this
    process first saw it in progress."""
    tool_timeout: float | None = attrs.field(default=None, validator=attrs.validators.optional(_seconds))
    """A run that waits longer for tool outputs is cancelled and fails with code `timeout`; None: no limit."""
    workers: int = attrs.field(default=8, validator=_count)
    """Threads that make requests and call handlers."""

    @property
    def outcome_grace(self) -> float:
        """Seconds to wait before a request whose answer was lost is sent again: no request travels for longer."""
        return self.receive_timeout

    @property
    def request_timeout(self) -> float:
        """Seconds one request may take: the smaller of `receive_timeout` and `idle_timeout`."""
        return min(self.receive_timeout, self.idle_timeout)

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row, before any of it is taken off at random."""
        doublings = min(failures - 1, _MAX_DOUBLINGS)
        return min(self.request_retry_delay * 2.0**doublings, self.request_retry_max_delay)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read `GPT_AGENT_HEARTBEAT_INTERVAL` and the like; what is not set keeps its default.

        Raises `ValueError` for a value that is no number and for a `GPT_AGENT_` name that is no setting.
        """
        environ = os.environ if environ is None else environ
        fields = {PREFIX + field.name.upper(): field for field in attrs.fields(cls)}
        values: dict[str, Any] = {}
        for name, text in environ.items():
            if not name.startswith(PREFIX):
                continue
            if name not in fields:
                raise ValueError(f"{name} is no setting; known are {', '.join(sorted(fields))}")
            field = fields[name]
            try:
                values[field.name] = (int if field.type in ("int", int) else float)(text)
            except ValueError:
                raise ValueError(f"{name} must be a number, not {text!r}") from None
        return cls(**values)
