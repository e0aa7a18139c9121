"""The Flask application of the inspector: its pages, the stream of changes, and the buttons."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import flask
import werkzeug
from werkzeug.exceptions import BadRequest, Conflict, HTTPException, NotFound

from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.errors import GptAgentError, StoreError
from gpt_agent_fsm.inspector.access import HEADERS, Access
from gpt_agent_fsm.inspector.changes import changes_of, stream
from gpt_agent_fsm.inspector.overview import PER_PAGE, overview_of, rows_of
from gpt_agent_fsm.inspector.source import AgentHost, Source
from gpt_agent_fsm.inspector.styles import colours
from gpt_agent_fsm.inspector.thread import thread_page
from gpt_agent_fsm.logs import Log, get_logger
from gpt_agent_fsm.ports import Store

__all__ = ["Inspector", "inspector"]

log: Log = get_logger(__name__)

_MAX_BODY = 64 * 1024
_SHARE = 0.01
"""The part of the time that one live page may cost. A page waits after an update, the longer the more it has cost."""
_DONE = {
    "cancel": "The run is being cancelled.",
    "discard": "The messages that were not sent are being dropped.",
    "approve": "The call was approved.",
    "deny": "The call was denied.",
}
"""The buttons of a thread, and the sentence after each."""


def inspector(
    runtime_or_store: AgentHost | Store, token: str | None = None, *, hosts: Iterable[str] | None = None
) -> Inspector:
    """Return a WSGI application with pages that show the threads, live.

    With a `Runtime`, a person who knows the token can also cancel a run, drop the queue, and approve or deny tool
    calls. With a store alone, the pages only show the threads, for example of a `SQLStore(url, read_only=True)` whose
    threads another process drives.

    Args:
        runtime_or_store: a `Runtime`, or any `Store`.
        token: the token that the buttons ask for. By default, a token is made. It is `Inspector.token`: print it where
            you start the server.
        hosts: names that the `Host` of a request may have, in addition to those of this machine.

    Raises `ValueError` for a blank token, and if `hosts` is one string. Raises `TypeError` for another object than a
    runtime or a store.
    """
    return Inspector(Source(runtime_or_store), Access(token, hosts))


class Inspector(flask.Flask):
    """The application that `inspector` returns. It may be mounted below any prefix of another application.

    Attributes:
        token: the token that the buttons ask for.
        closing: if it is set, all streams of changes end.
    """

    def __init__(self, source: Source, access: Access) -> None:
        super().__init__("gpt_agent_fsm.inspector")
        self.token: str = access.token
        self.closing: threading.Event = threading.Event()
        self.config["MAX_CONTENT_LENGTH"] = _MAX_BODY
        self.jinja_env.trim_blocks = self.jinja_env.lstrip_blocks = True
        self._source, self._access = source, access
        self.before_request(self._begin)
        self.after_request(_finish)
        self.register_error_handler(HTTPException, _problem)
        self.register_error_handler(StoreError, _store_problem)
        self.register_error_handler(Exception, _defect)
        self.context_processor(lambda: {"can_act": source.runtime is not None})
        for path, view in (
            ("/", self._list),
            ("/rows", self._rows),
            ("/thread", self._thread),
            ("/events", self._events),
            ("/colours.css", _colours),
        ):
            self.add_url_rule(path, view.__name__.strip("_"), view)
        self.add_url_rule("/thread/<any(cancel, discard, approve, deny):action>", "act", self._act, methods=["POST"])

    def _begin(self) -> None:
        flask.g.began = time.thread_time()
        self._access.check_site()

    # --- pages --------------------------------------------------------------------------------------------

    def _list(self) -> flask.Response:
        given = flask.request.args
        state, words, page = given.get("state", ""), given.get("q", "").strip(), given.get("page", 1, type=int)
        shown = overview_of(self._source, state, words, page)
        return _page("list.html", shown=shown, state=state, words=words, lists_all=self._source.lists_all)

    def _rows(self) -> flask.Response:
        wanted = list(dict.fromkeys(flask.request.args.getlist("id")))[:PER_PAGE]
        found = (row for row in map(self._source.row, wanted) if row is not None)
        return _page("rows.html", rows=rows_of(found, halted=bool(self._source.halt())))

    def _thread(self) -> flask.Response:
        thread_id = flask.request.args.get("id", "")
        shown = thread_page(self._source, thread_id, flask.request.args.get("before", type=int))
        if shown is None:
            raise NotFound(f"There is no thread {thread_id[:100]!r} in this store.")
        return _page("thread.html", shown=shown, message=_DONE.get(flask.request.args.get("done", "")))

    def _events(self) -> flask.Response:
        # Changes are watched only from the moment at which the server begins to send the answer.
        body = stream(lambda: changes_of(self._source), flask.request.args.get("thread"), self.closing)
        return flask.Response(body, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})

    # --- buttons ------------------------------------------------------------------------------------------

    def _act(self, action: str) -> werkzeug.Response:
        if self._source.runtime is None:
            raise Conflict("These pages show a store alone, so they change nothing. Use the program that drives it.")
        self._access.check_token()
        form = flask.request.form
        thread_id = form.get("id", "")
        try:
            with self._source.commander(thread_id) as agent:
                if agent is None:
                    raise Conflict(f"No agent of this inspector drives the thread {thread_id[:100]!r}.")
                _carry_out(action, agent, form.get)
        except GptAgentError as error:
            raise Conflict(str(error)) from error
        except ValueError as error:
            raise BadRequest(str(error)) from error
        log.info("%s: %s, by the inspector", thread_id, action)
        return flask.redirect(flask.url_for("thread", id=thread_id, done=action), 303)


def _carry_out(action: str, agent: Agent, field: Callable[[str], str | None]) -> None:
    """Give the command of a button to the agent."""
    if action == "cancel":
        agent.cancel_run()
        return
    if action == "discard":
        agent.discard_queue()
        return
    call_id, by, note = field("call") or "", field("by") or None, field("note") or None
    if call_id not in [call.id for call in agent.open_approvals]:
        raise Conflict(f"The call {call_id[:100]!r} does not wait for a decision.")
    if action == "approve":
        agent.approve(call_id, by=by, note=note)
    else:
        agent.deny(call_id, note or "", by=by)


# --- answers ----------------------------------------------------------------------------------------------


def _page(template: str, status: int = 200, **values: object) -> flask.Response:
    html = flask.render_template(template, **values)
    # The id of a thread may contain an unpaired surrogate.
    return flask.Response(html.encode(errors="replace"), status, mimetype="text/html")


def _colours() -> flask.Response:
    return flask.Response(colours(), mimetype="text/css")


def _problem(error: HTTPException) -> flask.Response | HTTPException:
    if error.code is None or error.code < 400:
        return error  # a redirect
    return _page("problem.html", error.code, title=error.name, sentence=error.description or error.name)


def _store_problem(error: StoreError) -> flask.Response:
    return _page("problem.html", 503, title="The store cannot be read", sentence=str(error))


def _defect(error: Exception) -> flask.Response:
    log.error("A request failed", exc_info=error)
    return _page("problem.html", 500, title="Internal Server Error", sentence="The log of the program says why.")


def _finish(response: flask.Response) -> flask.Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    pause = (time.thread_time() - flask.g.get("began", time.thread_time())) / _SHARE
    response.headers["Inspector-Pause"] = f"{max(pause, 1.0):.1f}"
    return response
