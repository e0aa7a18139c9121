"""The workers of the server. They ask models, finish cancelled work, and end overdue work."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from gpt_agent_fsm.local.models.asking import ask
from gpt_agent_fsm.local.models.protocol import Model, ModelError, ModelRequest, Outcome
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.storage import Doc, Storage, StorageClosedError, Transaction
from gpt_agent_fsm.logs import Log, get_logger

logger: Log = get_logger(__name__)

_EXPIRY_INTERVAL = 1.0
"""Seconds between two searches for overdue work. Requests also search for it, so that no client sees an overdue run."""

_Chore = Callable[[Transaction], object]


class JobKind(Protocol):
    """The operations of the workers on one kind of work, such as runs. Each call is within one transaction."""

    def start(self, tx: Transaction, work_id: str, cancelled: threading.Event, /) -> ModelRequest | None:
        """Start queued work, and return the request for the model. Return None if the work is no longer queued."""

    def settle(self, tx: Transaction, work_id: str, turn: LiveTurn, request: ModelRequest, outcome: Outcome, /) -> bool:
        """Store the result of asking the model, and return True.

        If the work has ended, change nothing and return False.
        """

    def expire(self, tx: Transaction, /) -> list[Doc]:
        """End all overdue work, and return it."""

    def abort(self, tx: Transaction, work_id: str, error: ModelError, /) -> Doc | None:
        """End work with this error, because the server has lost the turn of this work.

        Return the work, or None if the work no longer has a turn.
        """

    def recover(self, tx: Transaction, /) -> list[tuple[Doc, LiveTurn]]:
        """Prepare the work that a stopped server left unfinished. Return all queued work, each with a new turn."""


class Workers:
    """Calls the model on at most `limit` OS threads, the workers. One more OS thread does chores that must never wait.

    Work is a stored object with an `id`. Its field `object` names one of the `kinds`. All OS threads are daemons, so
    that the server and the interpreter can end even if a model hangs.
    """

    def __init__(
        self,
        storage: Storage,
        model: Model,
        kinds: Mapping[str, JobKind],
        limit: int,
        *,
        strict_schemas: bool = False,
    ) -> None:
        self._storage = storage
        self._ask = partial(ask, model, strict_schemas=strict_schemas)
        self._kinds = kinds
        self._queued: queue.SimpleQueue[tuple[str, str, LiveTurn] | None] = queue.SimpleQueue()
        self._chores: queue.SimpleQueue[_Chore | None] = queue.SimpleQueue()
        # For each model call in progress, the event that tells the model to stop, and the id of its work. The event is
        # the key, because one turn of a run may still be ending when the run's next turn is already in progress.
        self._asking: dict[threading.Event, str] = {}
        # The turns that are queued or in progress, by the id of their work. Work has one turn at a time.
        self._turns: dict[str, LiveTurn] = {}
        self._registering = threading.Lock()
        self._closing = threading.Event()
        self._limit = limit
        # Counts the workers that wait for work.
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._keeper = threading.Thread(target=self._keep, name="local-keeper", daemon=True)

    @property
    def closing(self) -> bool:
        """True after `close` was called. Work that is queued after that call stays undone."""
        return self._closing.is_set()

    def recover(self) -> None:
        """Queue the unfinished work that an earlier server left in the storage."""
        with self._storage.transaction() as tx:
            for job_kind in self._kinds.values():
                for work, turn in job_kind.recover(tx):
                    self.enqueue(work, turn)

    def start(self) -> None:
        """Start the OS thread for chores. The workers start later, when they are needed."""
        self._keeper.start()

    def enqueue(self, work: Doc, turn: LiveTurn) -> None:
        """Queue the next turn of a queued run or response for the next free worker."""
        with self._registering:
            self._turns[work["id"]] = turn
        self._queued.put((work["object"], work["id"], turn))
        if self.closing:
            turn.end()
        else:
            self._add_worker()

    def _add_worker(self) -> None:
        """Start a worker for the newest work in the queue.

        Do nothing if a worker is idle, or if there are `limit` workers.
        """
        with self._registering:
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._limit and not self.closing:
                name = f"local-model-{len(self._threads)}"
                worker = threading.Thread(target=self._work, name=name, daemon=True)
                try:
                    worker.start()
                except RuntimeError as error:
                    # The process may not start more OS threads: the existing workers do the work later.
                    logger.warning("Requests to the model have to wait: %s", error)
                else:
                    self._threads.append(worker)

    def turn_of(self, work_id: str) -> LiveTurn | None:
        """Return the turn of this work while it is queued or in progress.

        Return None if the result of the work is stored.
        """
        return self._turns.get(work_id)

    def schedule(self, chore: _Chore) -> None:
        """Call `chore` soon, in a separate transaction."""
        self._chores.put(chore)

    def interrupt(self, work_id: str) -> None:
        """Cancel the request to the model for this work, if there is one."""
        for event, its_work in list(self._asking.items()):
            if its_work == work_id:
                event.set()

    def end(self, work_id: str, result: Doc | None = None) -> None:
        """Stop the model's work on this object, and end the turn for the clients that follow it.

        Call this method after the end of the work was committed.
        """
        self.interrupt(work_id)
        turn = self._turns.get(work_id)
        if turn is not None:
            turn.result = result
            self._end_turn(work_id, turn)

    def _end_turn(self, work_id: str, turn: LiveTurn) -> None:
        with self._registering:
            # Do not remove the next turn, which may be queued already.
            if self._turns.get(work_id) is turn:
                del self._turns[work_id]
        turn.end()

    def close(self, timeout: float) -> None:
        """Stop the workers. Do not wait longer than `timeout` seconds for a worker whose model hangs."""
        self._closing.set()
        for event in list(self._asking):
            event.set()
        # From now on, no worker is added.
        with self._registering:
            for turn in self._turns.values():
                turn.end()
        for _ in self._threads:
            self._queued.put(None)
        self._chores.put(None)
        deadline = time.monotonic() + timeout
        for thread in {*self._threads, self._keeper} - {threading.current_thread()}:
            # An OS thread that was never started cannot be joined.
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (work := self._next()) is not None and not self.closing:
            try:
                self._make_turn(*work)
            except StorageClosedError:
                return
            except BaseException:
                # Even exit() must not end this OS thread, because it is one of at most `limit` workers.
                logger.exception("A turn of %s was lost", work[1])
                self._abort(*work)

    def _abort(self, kind: str, work_id: str, turn: LiveTurn) -> None:
        """End the work of a turn that the server has lost. Otherwise clients would wait until the work expires."""
        error = ModelError("server_error", "The server could not ask the model.")
        try:
            with self._storage.transaction() as tx:
                turn.result = self._kinds[kind].abort(tx, work_id, error)
        except StorageClosedError:
            pass
        except Exception:
            logger.exception("The loss of a turn of %s cannot be stored; it expires later", work_id)
        self._end_turn(work_id, turn)

    def _next(self) -> tuple[str, str, LiveTurn] | None:
        with contextlib.suppress(queue.Empty):
            return self._queued.get_nowait()
        self._idle.release()
        return self._queued.get()

    def _keep(self) -> None:
        while not self.closing:
            try:
                chore = self._chores.get(timeout=_EXPIRY_INTERVAL)
            except queue.Empty:
                chore = None
            try:
                with self._storage.transaction() as tx:
                    if chore is not None:
                        chore(tx)
                    self.expire(tx)
            except StorageClosedError:
                return
            except Exception:
                logger.exception("Cancelling or expiring runs and responses failed")

    def expire(self, tx: Transaction) -> None:
        """End all overdue work, and interrupt the requests to models for it."""
        for job_kind in self._kinds.values():
            for work in job_kind.expire(tx):
                tx.on_commit(partial(self.end, work["id"], work))

    def _make_turn(self, kind: str, work_id: str, turn: LiveTurn) -> None:
        cancelled = threading.Event()
        self._asking[cancelled] = work_id
        try:
            with self._storage.transaction() as tx:
                self.expire(tx)
                request = self._kinds[kind].start(tx, work_id, cancelled)
            if request is not None:
                turn.begin()
                # The event was added to `_asking` before. So either close() sets it, or this check sees the closing.
                if self.closing:
                    cancelled.set()
                outcome = self._ask(request, turn.add_chunk if turn.streamed else None)
                if isinstance(outcome, ModelError) and not cancelled.is_set():
                    # The error's message is not logged, because it may repeat the conversation.
                    logger.warning("The model failed for %s: %s%s", work_id, outcome.code, _cause(outcome))
                try:
                    self._settle(kind, work_id, turn, request, outcome)
                except StorageClosedError:
                    raise
                except Exception:
                    # Clients wait for the end of the work, so end it with an error.
                    logger.exception("The outcome of %s cannot be stored", work_id)
                    failure = ModelError("server_error", "The model's answer cannot be stored.")
                    self._settle(kind, work_id, turn, request, failure)
        finally:
            del self._asking[cancelled]

    def _settle(self, kind: str, work_id: str, turn: LiveTurn, request: ModelRequest, outcome: Outcome) -> None:
        with self._storage.transaction() as tx:
            self.expire(tx)
            # The event is set in two cases. The work was cancelled, expired or deleted, which also ends the turn. Or
            # this server is being closed, and the next server on the same file asks the model again.
            if not request.cancelled.is_set() and self._kinds[kind].settle(tx, work_id, turn, request, outcome):
                tx.on_commit(partial(self._end_turn, work_id, turn))


def _cause(error: ModelError) -> str:
    """Return the type of the exception that caused the error, in brackets, with its HTTP status if it has one.

    Return `""` if no exception caused the error.
    """
    if error.__cause__ is None:
        return ""
    status = getattr(error.__cause__, "status", None)
    return f" ({type(error.__cause__).__name__}{f', HTTP {status}' if isinstance(status, int) else ''})"
