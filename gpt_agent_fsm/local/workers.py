"""The threads behind the API: they ask models, finish what was cancelled, and end what has expired."""

import logging
import queue
import threading
import time

from gpt_agent_fsm.local import runs
from gpt_agent_fsm.local.models import Model, ModelError, ModelRequest, Outcome, ask, estimated_usage
from gpt_agent_fsm.local.storage import Doc, Storage, StorageClosedError, Transaction

logger = logging.getLogger(__name__)

_RunKey = tuple[str, str]
"""The id of a thread and of a run on it."""

_EXPIRY_INTERVAL = 1.0
"""Seconds between two looks for expired runs; requests also look, so that no client sees a run past its time."""


class Workers:
    """A bounded pool of threads that calls the model, and one more that never does, so that it is always free.

    All are daemons: a model that hangs keeps neither the server nor the interpreter from ending.
    """

    def __init__(self, storage: Storage, model: Model, threads: int = 16) -> None:
        self._storage = storage
        self._model = model
        self._queued: queue.SimpleQueue[_RunKey | None] = queue.SimpleQueue()
        self._cancelled: queue.SimpleQueue[_RunKey | None] = queue.SimpleQueue()
        # What the models at work are told by, and for which run. Keyed by event: one turn of a run may still be leaving
        # when the next one is at work already.
        self._asking: dict[threading.Event, str] = {}
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"local-model-{number}", daemon=True) for number in range(threads)
        ]
        self._threads.append(threading.Thread(target=self._keep, name="local-keeper", daemon=True))

    def recover(self) -> None:
        """Take up the runs that an earlier server left in the storage, once the threads are started."""
        with self._storage.transaction() as tx:
            for run in runs.recover(tx):
                if run["status"] == "queued":
                    self.enqueue(run)
                elif run["status"] == "cancelling":
                    self.cancel(run)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def enqueue(self, run: Doc) -> None:
        """Have the next turn of a queued run made, as soon as a thread is free."""
        self._queued.put((run["thread_id"], run["id"]))

    def cancel(self, run: Doc) -> None:
        """Finish cancelling a run, without waiting for its model."""
        self.interrupt(run["id"])
        self._cancelled.put((run["thread_id"], run["id"]))

    def interrupt(self, run_id: str) -> None:
        """Tell the model that works for a run, if one does, that nobody waits for it."""
        for event, asking in list(self._asking.items()):
            if asking == run_id:
                event.set()

    def close(self, timeout: float) -> None:
        """Stop the threads; one whose model still hangs after `timeout` seconds is left behind, idle."""
        self._closing.set()
        for event in list(self._asking):
            event.set()
        for _ in self._threads:
            self._queued.put(None)
        self._cancelled.put(None)
        deadline = time.monotonic() + timeout
        for thread in set(self._threads) - {threading.current_thread()}:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (key := self._queued.get()) is not None and not self._closing.is_set():
            try:
                self._make_turn(*key)
            except StorageClosedError:
                return
            except Exception:
                # What was done to the run is rolled back; it expires when its time is over.
                logger.exception("A turn of run %s was lost", key[1])

    def _keep(self) -> None:
        while not self._closing.is_set():
            try:
                key = self._cancelled.get(timeout=_EXPIRY_INTERVAL)
            except queue.Empty:
                key = None
            try:
                with self._storage.transaction() as tx:
                    if key is not None:
                        runs.cancelled(tx, *key)
                    self.expire(tx)
            except StorageClosedError:
                return
            except Exception:
                logger.exception("Looking after the runs failed")

    def expire(self, tx: Transaction) -> None:
        """End the runs whose time is over, and tell their models."""
        for run_id in runs.expire(tx):
            self.interrupt(run_id)

    def _make_turn(self, thread_id: str, run_id: str) -> None:
        cancelled = threading.Event()
        self._asking[cancelled] = run_id
        try:
            with self._storage.transaction() as tx:
                self.expire(tx)
                request = runs.start(tx, thread_id, run_id, cancelled)
            if request is not None:
                # Set after `_asking` was filled: either close() saw the event, or this sees that it closes.
                if self._closing.is_set():
                    cancelled.set()
                self._settle(thread_id, run_id, request, ask(self._model, request))
        finally:
            del self._asking[cancelled]

    def _settle(self, thread_id: str, run_id: str, request: ModelRequest, outcome: Outcome) -> None:
        with self._storage.transaction() as tx:
            self.expire(tx)
            run = tx.find("run", run_id, thread_id)
            # Cancelled, expired or deleted in the meantime; or the server closes, and the next one asks again.
            if run is None or run["status"] != "in_progress" or request.cancelled.is_set():
                return
            if isinstance(outcome, ModelError):
                runs.fail(tx, run, outcome)
            elif isinstance(outcome, str):
                runs.complete(tx, run, outcome, estimated_usage(request, outcome))
            else:
                written = "".join(f"{call.name}{call.arguments}" for call in outcome)
                runs.require_action(tx, run, outcome, estimated_usage(request, written))
