"""Carries out the requests of the Assistants API on the stored objects. The module `routes` lists the requests.

A handler gets the transaction, the body and the ids of the path, and returns the JSON object of the HTTP answer. The
functions in `lifecycle` change the status of a run.
"""

from functools import partial

import flask

from gpt_agent_fsm.local.assistants import inputs, lifecycle, messages, objects
from gpt_agent_fsm.local.assistants.events import RunEvents
from gpt_agent_fsm.local.http.error_responses import bad_request, not_found
from gpt_agent_fsm.local.http.streams import Event
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from gpt_agent_fsm.local.shared.objects import deleted, page
from gpt_agent_fsm.local.shared.storage import Doc, Storage, Transaction
from gpt_agent_fsm.local.shared.wire import Wire
from gpt_agent_fsm.local.shared.workers import Workers


class AssistantsApi(Wire):
    """The handlers of the API's requests. `lifetime` is the age in seconds at which a run expires."""

    def __init__(self, storage: Storage, workers: Workers, lifetime: float) -> None:
        super().__init__(storage, workers)
        self._lifetime = lifetime

    # Streams of events

    def created_run_events(self, tx: Transaction, run: Doc, turn: LiveTurn) -> RunEvents:
        """Return the events of a run that was just created."""
        return self._run_events(tx, run, turn, [("thread.run.created", run)])

    def created_thread_and_run_events(self, tx: Transaction, run: Doc, turn: LiveTurn) -> RunEvents:
        """Return the events of a run that was just created along with its thread."""
        thread = _found(tx, "thread", run["thread_id"])
        return self._run_events(tx, run, turn, [("thread.created", thread), ("thread.run.created", run)])

    def submitted_run_events(self, tx: Transaction, run: Doc, turn: LiveTurn) -> RunEvents:
        """Return the events of a run that has just got its tool outputs."""
        return self._run_events(tx, run, turn, [("thread.run.step.completed", tx.children("step", run["id"])[-1])])

    def _run_events(self, tx: Transaction, run: Doc, turn: LiveTurn, opening: list[Event]) -> RunEvents:
        return RunEvents(tx, self._storage, run, turn, [*opening, ("thread.run.queued", run)])

    # Assistants

    def create_assistant(self, tx: Transaction, body: Doc) -> Doc:
        assistant = objects.assistant(body)
        tx.add("assistant", assistant)
        return assistant

    def list_assistants(self, tx: Transaction, _body: Doc) -> Doc:
        return _page(tx, "assistant", "")

    def get_assistant(self, tx: Transaction, _body: Doc, assistant_id: str) -> Doc:
        return _found(tx, "assistant", assistant_id)

    def modify_assistant(self, tx: Transaction, body: Doc, assistant_id: str) -> Doc:
        assistant = objects.assistant(body, _found(tx, "assistant", assistant_id))
        tx.save(assistant)
        return assistant

    def delete_assistant(self, tx: Transaction, _body: Doc, assistant_id: str) -> Doc:
        _found(tx, "assistant", assistant_id)
        tx.soft_delete(assistant_id)
        return deleted(assistant_id, "assistant.deleted")

    # Threads

    def create_thread(self, tx: Transaction, body: Doc) -> Doc:
        thread = objects.thread(body)
        tx.add("thread", thread)
        for index, message in enumerate(validation.objects(body, "messages") or ()):
            posted = messages.posted(tx, thread["id"], message, prefix=f"messages[{index}].")
            tx.add("message", posted, parent=thread["id"])
        return thread

    def get_thread(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        return _found(tx, "thread", thread_id)

    def modify_thread(self, tx: Transaction, body: Doc, thread_id: str) -> Doc:
        thread = _found(tx, "thread", thread_id)
        if "tool_resources" in body:
            thread["tool_resources"] = inputs.tool_resources(body) or {}
        return _with_metadata(tx, thread, body)

    def delete_thread(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        active = lifecycle.active_run(tx, thread_id)
        if active is not None:
            tx.on_commit(partial(self._workers.end, active))
        tx.delete_tree(thread_id)
        return deleted(thread_id, "thread.deleted")

    # Messages

    def create_message(self, tx: Transaction, body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        message = messages.posted(tx, thread_id, body)
        self._workers.expire(tx)
        active = lifecycle.active_run(tx, thread_id)
        if active is not None:
            raise bad_request(f"Can't add messages to {thread_id} while a run {active} is active.")
        tx.add("message", message, parent=thread_id)
        return message

    def list_messages(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        return _page(tx, "message", thread_id, flask.request.args.get("run_id"))

    def get_message(self, tx: Transaction, _body: Doc, thread_id: str, message_id: str) -> Doc:
        return _found(tx, "message", message_id, thread_id)

    def modify_message(self, tx: Transaction, body: Doc, thread_id: str, message_id: str) -> Doc:
        return _with_metadata(tx, _found(tx, "message", message_id, thread_id), body)

    def delete_message(self, tx: Transaction, _body: Doc, thread_id: str, message_id: str) -> Doc:
        _found(tx, "message", message_id, thread_id)
        tx.delete(message_id)
        return deleted(message_id, "thread.message.deleted")

    # Runs

    def create_run(self, tx: Transaction, body: Doc, thread_id: str, turn: LiveTurn) -> Doc:
        _found(tx, "thread", thread_id)
        self._workers.expire(tx)
        run = lifecycle.create(tx, thread_id, body, self._lifetime)
        self._begin_turn(tx, run, turn)
        return run

    def create_thread_and_run(self, tx: Transaction, body: Doc, turn: LiveTurn) -> Doc:
        # These are the resources of the run. They are only checked, because no tool of a run uses them.
        inputs.tool_resources(body)
        thread = self.create_thread(tx, validation.mapping(body, "thread") or {})
        return self.create_run(tx, body, thread["id"], turn)

    def list_runs(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        self._workers.expire(tx)
        return _page(tx, "run", thread_id)

    def get_run(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        return _found(tx, "run", run_id, thread_id)

    def modify_run(self, tx: Transaction, body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        return _with_metadata(tx, _found(tx, "run", run_id, thread_id), body)

    def cancel_run(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        run = lifecycle.cancel(tx, _found(tx, "run", run_id, thread_id))
        tx.on_commit(partial(self._workers.interrupt, run_id))
        tx.on_commit(partial(self._workers.schedule, partial(self._end_cancelled, run_id=run_id)))
        return run

    def _end_cancelled(self, tx: Transaction, run_id: str) -> None:
        lifecycle.cancelled(tx, run_id)
        tx.on_commit(partial(self._workers.end, run_id))

    def submit_tool_outputs(self, tx: Transaction, body: Doc, thread_id: str, run_id: str, turn: LiveTurn) -> Doc:
        self._workers.expire(tx)
        run = lifecycle.submit(tx, _found(tx, "run", run_id, thread_id), body)
        self._begin_turn(tx, run, turn)
        return run

    def list_steps(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        _found(tx, "run", run_id, thread_id)
        return _page(tx, "step", run_id)

    def get_step(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str, step_id: str) -> Doc:
        self._workers.expire(tx)
        _found(tx, "run", run_id, thread_id)
        return _found(tx, "step", step_id, run_id)


def _found(tx: Transaction, kind: str, object_id: str, parent: str = "") -> Doc:
    """Return the object. If it or its thread is missing, raise the 404 that names the missing object."""
    found = tx.find(kind, object_id, parent)
    if found is None:
        if kind in ("message", "run"):
            _found(tx, "thread", parent)
        raise not_found("run step" if kind == "step" else kind, object_id)
    return found


def _page(tx: Transaction, kind: str, parent: str, run_id: str | None = None) -> Doc:
    return page(*tx.page(kind, parent, validation.page_query(flask.request.args), run=run_id or None))


def _with_metadata(tx: Transaction, doc: Doc, body: Doc) -> Doc:
    if "metadata" in body:
        doc["metadata"] = validation.metadata(body)
    tx.save(doc)
    return doc
