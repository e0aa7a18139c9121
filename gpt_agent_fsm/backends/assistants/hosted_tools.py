"""Reads the uses of the server's own tools. The API keeps these uses in the steps of a run."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator

import attrs

from gpt_agent_fsm.backends.assistants import wire
from gpt_agent_fsm.backends.http import HttpClient
from gpt_agent_fsm.errors import ApiError, TransientError
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.ports import CallLimits, HostedTool, Run

__all__ = ["HostedTools"]

log: Log = get_logger(__name__)

_MAX_ATTEMPTS = 3


class HostedTools:
    """Reads the steps of ended runs whose assistants have tools of the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()

    def added_to(self, run: Run, answer: wire.Run, http: HttpClient, path: str, limits: CallLimits) -> Run:
        """Return the run. If the run has ended, its uses of the server's tools are added.

        `path` is the path of the run. Raises `TransientError` if the steps cannot be read now, so that the run is
        polled again. After three such failures, the run is returned without the uses, because missing steps must not
        hold up the run's answer.
        """
        if run.status.locks_thread or not answer.has_hosted_tools:
            return run
        try:
            used = tuple(_used(http, f"{path}/steps", limits))
        except TransientError:
            if self._fails_again(run.id):
                raise
            log.warning("%s: its steps cannot be read, so the uses of the server's tools are not known", run.id)
            return run
        except ApiError as error:
            log.debug("%s: the server does not show its steps: %s", run.id, error)
            return run
        with self._lock:
            self._failures.pop(run.id, None)
        return attrs.evolve(run, hosted_tools=used)

    def _fails_again(self, run_id: str) -> bool:
        """Note a failure, and return whether to try again."""
        with self._lock:
            self._failures[run_id] += 1
            if self._failures[run_id] < _MAX_ATTEMPTS:
                return True
            del self._failures[run_id]
            return False


def _used(http: HttpClient, path: str, limits: CallLimits) -> Iterator[HostedTool]:
    params, seen = {"limit": "100", "order": "asc"}, set[str]()
    while True:
        page = http.get(path, wire.StepPage, params=params, timeout=limits)
        new = [step for step in page.data if step.id not in seen]
        for step in new:
            for kind, call_id, details in step.hosted_calls:
                yield HostedTool(kind=kind, id=call_id, details=json.dumps(details))
        # A page without any new step is the last page, whatever the server says.
        if page.next_after is None or not new:
            return
        seen.update(step.id for step in new)
        params["after"] = page.next_after
