"""The requests of the Files API, one row for each. The functions in `handlers` answer them."""

import flask

from gpt_agent_fsm.local.files.handlers import FilesApi
from gpt_agent_fsm.local.http.routes import Route
from gpt_agent_fsm.local.shared.storage import Storage

_FILE = "/files/<file_id>"

# fmt: off
ROUTES = (
    Route("POST",   "/files",           FilesApi.create_file),
    Route("GET",    "/files",           FilesApi.list_files),
    Route("GET",    _FILE,              FilesApi.get_file),
    Route("DELETE", _FILE,              FilesApi.delete_file),
    Route("GET",    _FILE + "/content", FilesApi.get_content),
)
# fmt: on


def blueprint(storage: Storage) -> flask.Blueprint:
    """Return the API as a blueprint, which must be mounted under `/v1`."""
    return FilesApi(storage).blueprint("files", ROUTES)
