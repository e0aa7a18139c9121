"""The Assistants v2 wire: which requests there are, and what each does to the stored objects.

One row of `_ROUTES` per request; its handler gets the transaction of the request and the ids of the path, and returns
the JSON object of the answer. How a run lives is told in `runs`.
"""

from functools import partial

import flask

from gpt_agent_fsm.local.assistants import lifecycle, objects
from gpt_agent_fsm.local.assistants.events import RunEvents
from gpt_agent_fsm.local.http.error_responses import bad_request, not_found
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.objects import deleted, page
from gpt_agent_fsm.local.shared.storage import Doc, Storage, Transaction
from gpt_agent_fsm.local.shared.wire import Handler, Wire, wants_stream
from gpt_agent_fsm.local.shared.workers import Workers


class AssistantsApi(Wire):
    """The handlers of the wire, over one storage; `lifetime` is the age in seconds at which a run expires."""

    def __init__(self, storage: Storage, workers: Workers, lifetime: float) -> None:
        super().__init__(storage, workers)
        self._lifetime = lifetime

    def blueprint(self) -> flask.Blueprint:
        """Return the routes, to be mounted under `/v1`."""
        blueprint = self._mount("assistants", _ROUTES)
        blueprint.before_request(_require_beta_header)
        return blueprint

    def _is_streamed(self, handler: Handler, body: Doc) -> bool:
        return wants_stream(body, offered=handler in _STREAMED)

    def _events(self, tx: Transaction, handler: Handler, answer: Doc) -> RunEvents:
        queued = ("thread.run.queued", answer)
        if handler is AssistantsApi._submit_tool_outputs:
            opening = [("thread.run.step.completed", tx.children("step", answer["id"])[-1]), queued]
        else:
            opening = [("thread.run.created", answer), queued]
        if handler is AssistantsApi._create_thread_and_run:
            opening.insert(0, ("thread.created", _found(tx, "thread", answer["thread_id"])))
        return RunEvents(tx, self._storage, answer, self._turn(), opening)

    # Assistants

    def _create_assistant(self, tx: Transaction, body: Doc) -> Doc:
        assistant = objects.assistant(body)
        tx.add("assistant", assistant)
        return assistant

    def _list_assistants(self, tx: Transaction, _body: Doc) -> Doc:
        return _page(tx, "assistant", "")

    def _get_assistant(self, tx: Transaction, _body: Doc, assistant_id: str) -> Doc:
        return _found(tx, "assistant", assistant_id)

    def _modify_assistant(self, tx: Transaction, body: Doc, assistant_id: str) -> Doc:
        assistant = objects.assistant(body, _found(tx, "assistant", assistant_id))
        tx.save(assistant)
        return assistant

    def _delete_assistant(self, tx: Transaction, _body: Doc, assistant_id: str) -> Doc:
        _found(tx, "assistant", assistant_id)
        tx.entomb(assistant_id)
        return deleted(assistant_id, "assistant.deleted")

    # Threads

    def _create_thread(self, tx: Transaction, body: Doc) -> Doc:
        thread = objects.thread(body)
        tx.add("thread", thread)
        for index, message in enumerate(validation.objects(body, "messages") or ()):
            posted = objects.message(thread["id"], message, prefix=f"messages[{index}].")
            tx.add("message", posted, parent=thread["id"])
        return thread

    def _get_thread(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        return _found(tx, "thread", thread_id)

    def _modify_thread(self, tx: Transaction, body: Doc, thread_id: str) -> Doc:
        thread = _found(tx, "thread", thread_id)
        if "tool_resources" in body:
            thread["tool_resources"] = validation.tool_resources(body) or {}
        return _with_metadata(tx, thread, body)

    def _delete_thread(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        active = lifecycle.active_run(tx, thread_id)
        if active is not None:
            tx.afterwards(partial(self._workers.end, active))
        tx.delete_tree(thread_id)
        return deleted(thread_id, "thread.deleted")

    # Messages

    def _create_message(self, tx: Transaction, body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        message = objects.message(thread_id, body)
        self._workers.expire(tx)
        active = lifecycle.active_run(tx, thread_id)
        if active is not None:
            raise bad_request(f"Can't add messages to {thread_id} while a run {active} is active.")
        tx.add("message", message, parent=thread_id)
        return message

    def _list_messages(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        return _page(tx, "message", thread_id, flask.request.args.get("run_id"))

    def _get_message(self, tx: Transaction, _body: Doc, thread_id: str, message_id: str) -> Doc:
        return _found(tx, "message", message_id, thread_id)

    def _modify_message(self, tx: Transaction, body: Doc, thread_id: str, message_id: str) -> Doc:
        return _with_metadata(tx, _found(tx, "message", message_id, thread_id), body)

    def _delete_message(self, tx: Transaction, _body: Doc, thread_id: str, message_id: str) -> Doc:
        _found(tx, "message", message_id, thread_id)
        tx.delete(message_id)
        return deleted(message_id, "thread.message.deleted")

    # Runs

    def _create_run(self, tx: Transaction, body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        self._workers.expire(tx)
        run = lifecycle.create(tx, thread_id, body, self._lifetime)
        self._begin_turn(tx, run, body)
        return run

    def _create_thread_and_run(self, tx: Transaction, body: Doc) -> Doc:
        thread = self._create_thread(tx, validation.mapping(body, "thread") or {})
        return self._create_run(tx, body, thread["id"])

    def _list_runs(self, tx: Transaction, _body: Doc, thread_id: str) -> Doc:
        _found(tx, "thread", thread_id)
        self._workers.expire(tx)
        return _page(tx, "run", thread_id)

    def _get_run(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        return _found(tx, "run", run_id, thread_id)

    def _modify_run(self, tx: Transaction, body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        return _with_metadata(tx, _found(tx, "run", run_id, thread_id), body)

    def _cancel_run(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        run = lifecycle.cancel(tx, _found(tx, "run", run_id, thread_id))
        tx.afterwards(partial(self._workers.interrupt, run_id))
        tx.afterwards(partial(self._workers.later, partial(self._end_cancelled, run_id=run_id)))
        return run

    def _end_cancelled(self, tx: Transaction, run_id: str) -> None:
        lifecycle.cancelled(tx, run_id)
        tx.afterwards(partial(self._workers.end, run_id))

    def _submit_tool_outputs(self, tx: Transaction, body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        run = lifecycle.submit(tx, _found(tx, "run", run_id, thread_id), body)
        self._begin_turn(tx, run, body)
        return run

    def _list_steps(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str) -> Doc:
        self._workers.expire(tx)
        _found(tx, "run", run_id, thread_id)
        return _page(tx, "step", run_id)

    def _get_step(self, tx: Transaction, _body: Doc, thread_id: str, run_id: str, step_id: str) -> Doc:
        self._workers.expire(tx)
        _found(tx, "run", run_id, thread_id)
        return _found(tx, "step", step_id, run_id)


_THREAD = "/threads/<thread_id>"
_MESSAGE = "/threads/<thread_id>/messages/<message_id>"
_RUN = "/threads/<thread_id>/runs/<run_id>"

# fmt: off
_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST",   "/assistants",                AssistantsApi._create_assistant),
    ("GET",    "/assistants",                AssistantsApi._list_assistants),
    ("GET",    "/assistants/<assistant_id>", AssistantsApi._get_assistant),
    ("POST",   "/assistants/<assistant_id>", AssistantsApi._modify_assistant),
    ("DELETE", "/assistants/<assistant_id>", AssistantsApi._delete_assistant),
    ("POST",   "/threads",                   AssistantsApi._create_thread),
    ("POST",   "/threads/runs",              AssistantsApi._create_thread_and_run),
    ("GET",    _THREAD,                      AssistantsApi._get_thread),
    ("POST",   _THREAD,                      AssistantsApi._modify_thread),
    ("DELETE", _THREAD,                      AssistantsApi._delete_thread),
    ("POST",   _THREAD + "/messages",        AssistantsApi._create_message),
    ("GET",    _THREAD + "/messages",        AssistantsApi._list_messages),
    ("GET",    _MESSAGE,                     AssistantsApi._get_message),
    ("POST",   _MESSAGE,                     AssistantsApi._modify_message),
    ("DELETE", _MESSAGE,                     AssistantsApi._delete_message),
    ("POST",   _THREAD + "/runs",            AssistantsApi._create_run),
    ("GET",    _THREAD + "/runs",            AssistantsApi._list_runs),
    ("GET",    _RUN,                         AssistantsApi._get_run),
    ("POST",   _RUN,                         AssistantsApi._modify_run),
    ("POST",   _RUN + "/cancel",             AssistantsApi._cancel_run),
    ("POST",   _RUN + "/submit_tool_outputs", AssistantsApi._submit_tool_outputs),
    ("GET",    _RUN + "/steps",              AssistantsApi._list_steps),
    ("GET",    _RUN + "/steps/<step_id>",    AssistantsApi._get_step),
)
# fmt: on


_STREAMED = (
    AssistantsApi._create_run,
    AssistantsApi._create_thread_and_run,
    AssistantsApi._submit_tool_outputs,
)
"""What is answered by a stream of events, if the client asks for that."""


def _require_beta_header() -> None:
    given = flask.request.headers.get("OpenAI-Beta", "")
    if "assistants=v2" not in (value.strip() for value in given.split(",")):
        raise bad_request(
            "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
            "Please try again by setting the header 'OpenAI-Beta: assistants=v2'.",
            code="invalid_beta",
        )


def _found(tx: Transaction, kind: str, object_id: str, parent: str = "") -> Doc:
    """Return the object, or raise the 404 that says what is missing: it, or the thread it should be in."""
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
