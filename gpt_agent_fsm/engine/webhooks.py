"""Receives webhooks. A server sends a webhook when a response has ended.

The code here checks the sender, and finds the thread that waits for the response. Webhooks are signed by the Standard
Webhooks scheme (https://www.standardwebhooks.com). The package `standardwebhooks` checks the signature.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import attrs

from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.errors import InvalidWebhook
from gpt_agent_fsm.settings import Settings

__all__ = ["Notice", "Webhooks", "verified"]

_ENDS = {"response.completed", "response.failed", "response.cancelled", "response.incomplete"}
_MOST_REMEMBERED = 10_000
_ARRIVING = 300.0
"""For this many seconds after a webhook, more webhooks are expected."""


@attrs.frozen
class Notice:
    """The contents of a webhook.

    Attributes:
        id: the webhook's id. If the server sends the webhook again, the id is the same.
        response_id: the id of the response that has ended; None if the webhook is about something else.
    """

    id: str
    response_id: str | None


def verified(headers: Mapping[str, str], body: bytes | str, secret: str) -> Notice:
    """Return the contents of a webhook. Raises `InvalidWebhook` if its signature is wrong or older than five minutes.

    Raises `ImportError` if the extra `webhooks` is not installed, and `ValueError` for a malformed secret.
    """
    try:
        from standardwebhooks import Webhook, WebhookVerificationError  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        advice = 'pip install standardwebhooks (the extra "webhooks" of gpt-agent-fsm)'
        raise ImportError(f"handle_webhook needs standardwebhooks: {advice}", name=error.name) from error
    try:
        verifier = Webhook(secret)
    except Exception:  # noqa: BLE001 - whatever it is, the secret is wrong
        # The error is not chained, because the package's error may contain the secret.
        raise ValueError("The webhook secret must be the one from the server: whsec_ followed by base64 text") from None
    if not isinstance(headers, Mapping) and not hasattr(headers, "items"):
        raise TypeError(
            f"handle_webhook: headers must be the request's headers as a mapping, not a {type(headers).__name__}"
        )
    if not isinstance(body, bytes | str):
        raise TypeError(f"handle_webhook: body must be the unchanged bytes of the request, not a {type(body).__name__}")
    plain = {name.lower(): value for name, value in headers.items()}
    try:
        said = verifier.verify(body, plain)
    except (WebhookVerificationError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # Anybody may send any headers and any body.
        advice = "check that the secret belongs to this webhook and that the body is unchanged"
        raise InvalidWebhook(f"The webhook was not accepted: {error}; {advice}") from error
    kind, data = (said.get("type"), said.get("data")) if isinstance(said, dict) else (None, None)
    ended = isinstance(kind, str) and kind in _ENDS and isinstance(data, dict)
    response_id = data.get("id") if ended and isinstance(data, dict) else None
    return Notice(plain["webhook-id"], response_id if isinstance(response_id, str) else None)


class Webhooks:
    """The webhooks received so far, and the runs that this runtime follows. Safe to use from any OS thread.

    In this class, a run is named by its handle. With the Responses API, the handle is the id of the run's last
    response. A run without a handle is named by its id.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}
        self._ended: dict[str, None] = {}
        self._waiting: dict[str, tuple[object, str]] = {}
        """For each run, its driver and its thread."""
        self._last: float | None = None

    def follow(self, who: object, thread_id: str, before: str | None, after: str | None) -> None:
        """Note that the driver `who` of a thread now follows the run `after`, and no longer the run `before`.

        If `before` or `after` is None, there is no such run.
        """
        with self._lock:
            if before is not None and before in self._waiting and self._waiting[before][0] is who:
                del self._waiting[before]
            if after is not None:
                self._waiting[after] = (who, thread_id)

    def belongs_elsewhere(self, run: str, thread_id: str) -> bool:
        """Return whether this runtime follows the run for another thread than `thread_id`."""
        with self._lock:
            _, owner = self._waiting.get(run, (None, thread_id))
            return owner != thread_id

    def take_in(self, notice: Notice) -> str | None:
        """Remember a webhook. Return the id of the thread that waits for the response of the webhook, or None.

        The result is also None if the webhook is already known, or is not about a response.
        """
        with self._lock:
            if notice.id in self._known:
                return None
            self._remember(self._known, notice.id)
            if notice.response_id is None:
                return None
            # The thread may not know the response yet: the answer to the request that created it may still be in
            # flight.
            self._remember(self._ended, notice.response_id)
            _, thread_id = self._waiting.get(notice.response_id, (None, None))
            return thread_id

    @staticmethod
    def _remember(memory: dict[str, None], key: str) -> None:
        memory[key] = None
        while len(memory) > _MOST_REMEMBERED:
            del memory[next(iter(memory))]

    def pop_ended(self, response_id: str | None) -> bool:
        """Return whether a webhook has reported the end of this response. If so, forget the webhook."""
        with self._lock:
            if response_id not in self._ended:
                return False
            del self._ended[response_id]
            self._last = self._clock.monotonic()
            return True

    def min_pause(self, settings: Settings) -> float:
        """Return the shortest pause between two polls, in seconds. While webhooks arrive, the pause is long."""
        return min(settings.webhook_heartbeat_interval, settings.idle_seconds) if self.are_arriving else 0.0

    @property
    def are_arriving(self) -> bool:
        """True while the library can expect that a webhook will report the end of a run."""
        with self._lock:
            return self._last is not None and self._clock.monotonic() < self._last + _ARRIVING
