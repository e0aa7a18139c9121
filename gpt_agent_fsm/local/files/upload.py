"""Reads the form with which a client uploads a file. If the form is wrong, raises an `ApiProblem` that says why."""

import flask

from gpt_agent_fsm.local.http.error_responses import bad_request, missing, wrong_type, wrong_value
from gpt_agent_fsm.local.shared.options import check_names

MAX_UPLOAD = 16 * 1024 * 1024
"""The largest upload in bytes: the file, and the few hundred bytes of the form around it."""

PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
"""The purposes that a client may give. Here they are only labels: every file may be used for every purpose."""


def read() -> tuple[str, str, bytes]:
    """Return the name, the purpose and the content of the file in the current request."""
    request = flask.request
    # A longer body is answered with a 413 as soon as the form is read.
    request.max_content_length = MAX_UPLOAD
    request.max_form_memory_size = None
    if request.mimetype != "multipart/form-data":
        raise bad_request("Files are uploaded as a form: send the file and its purpose as multipart/form-data.")
    fields, uploaded = request.form, request.files.get("file")
    check_names(fields, {"file", "purpose"}, {})
    if uploaded is None:
        # If the client sends no file name, the content is an ordinary field of the form.
        raise wrong_type("file", "a file with a name", "") if "file" in fields else missing("file")
    purpose = fields.get("purpose")
    if not purpose:
        raise missing("purpose")
    if purpose not in PURPOSES:
        raise wrong_value("purpose", purpose, ", ".join(f"'{each}'" for each in PURPOSES))
    name = (uploaded.filename or "").rpartition("/")[2]
    return name or "upload", purpose, uploaded.read()
