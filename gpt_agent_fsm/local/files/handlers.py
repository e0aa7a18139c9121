"""Carries out the requests of the Files API on the stored files. The module `routes` lists the requests."""

import io
from collections.abc import Iterable

import flask

from gpt_agent_fsm.local.files import stored, upload
from gpt_agent_fsm.local.http.error_responses import unknown
from gpt_agent_fsm.local.http.routes import Route, mount
from gpt_agent_fsm.local.shared import validation
from gpt_agent_fsm.local.shared.objects import deleted, page
from gpt_agent_fsm.local.shared.storage import Doc, Storage, Transaction
from gpt_agent_fsm.local.shared.wire import PATIENCE

_MAX_PAGE = 10_000


class FilesApi:
    """The handlers of the API's requests. Each request has one transaction."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def blueprint(self, name: str, routes: Iterable[Route]) -> flask.Blueprint:
        """Return a blueprint of the routes, which must be mounted under `/v1`."""
        return mount(name, routes, self._answer)

    def _answer(self, route: Route, **ids: str) -> Doc | flask.Response:
        # The form is read before the transaction begins, because a transaction must never wait for a client.
        given = upload.read() if route.method == "POST" else ()
        with self._storage.transaction(PATIENCE) as tx:
            answer: Doc | flask.Response = route.handler(self, tx, *given, **ids)
        return answer

    def create_file(self, tx: Transaction, name: str, purpose: str, content: bytes) -> Doc:
        return stored.add(tx, name, purpose, content)

    def list_files(self, tx: Transaction) -> Doc:
        query = validation.page_query(flask.request.args, maximum=_MAX_PAGE, default=_MAX_PAGE)
        return page(*tx.page("file", "", query, run=flask.request.args.get("purpose") or None))

    def get_file(self, tx: Transaction, file_id: str) -> Doc:
        return _found(tx, file_id)

    def get_content(self, tx: Transaction, file_id: str) -> flask.Response:
        name, content = _found(tx, file_id)["filename"], io.BytesIO(stored.content_of(tx, file_id))
        # `send_file` also encodes names that an HTTP header cannot contain unchanged.
        return flask.send_file(content, "application/octet-stream", as_attachment=True, download_name=name)

    def delete_file(self, tx: Transaction, file_id: str) -> Doc:
        _found(tx, file_id)
        tx.erase_tree(file_id)
        return deleted(file_id, "file")


def _found(tx: Transaction, file_id: str) -> Doc:
    found = tx.find("file", file_id)
    if found is None:
        raise unknown("File", file_id)
    return found
