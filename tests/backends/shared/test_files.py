"""Files of a server, with both APIs."""

from email import message_from_bytes
from email.policy import HTTP

import pytest
import requests

from gpt_agent_fsm import Assistant, Runtime, Settings, errors, signals
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from tests.backends.conftest import BASE_URL, KEY

BACKENDS = {
    "assistants": lambda: AssistantsBackend(BASE_URL, KEY),
    "responses": lambda: ResponsesBackend(BASE_URL, KEY, assistants={"a": Assistant("m")}),
}
OVERLOADED = {"error": {"message": "Busy", "code": "server_is_overloaded"}}
CONTENT = b"\x00\xffany bytes"


@pytest.fixture(params=BACKENDS)
def runtime(request):
    settings = Settings(request_max_attempts=3)
    with Runtime(BACKENDS[request.param](), settings, scheduler=VirtualScheduler()) as made:
        yield made


def test_the_content_of_a_file_is_downloaded(runtime, requests_mock):
    requests_mock.get(f"{BASE_URL}/files/file_1/content", content=CONTENT)
    assert runtime.download("file_1") == CONTENT
    assert requests_mock.last_request.headers["Accept"] == "*/*"


def test_a_file_in_a_container_is_downloaded_from_there(runtime, requests_mock):
    requests_mock.get(f"{BASE_URL}/containers/cntr_1/files/cfile_1/content", content=CONTENT)
    assert runtime.download("cntr_1/cfile_1") == CONTENT


def test_a_download_that_fails_for_a_moment_is_tried_again(runtime, requests_mock):
    requests_mock.get(f"{BASE_URL}/files/file_1/content", [{"status_code": 503}, {"content": CONTENT}])
    assert runtime.download("file_1") == CONTENT


def test_an_unknown_file_is_refused(runtime, requests_mock):
    requests_mock.get(f"{BASE_URL}/files/file_1/content", status_code=404, json={"error": {"message": "No such file"}})
    with pytest.raises(errors.RequestRefused, match="No such file"):
        runtime.download("file_1")


@pytest.mark.parametrize("file_id", ["", " ", None])
def test_a_blank_file_id_is_refused(runtime, file_id):
    with pytest.raises(ValueError, match="file_id"):
        runtime.download(file_id)


class NoFiles(SimulatedServer):
    download = None
    upload = None


def test_a_backend_without_files_is_named():
    with Runtime(NoFiles(), scheduler=VirtualScheduler()) as runtime:
        with pytest.raises(TypeError, match="NoFiles does not support files: it needs the method `download`"):
            runtime.download("file_1")
        with pytest.raises(TypeError, match="NoFiles takes no files: it needs the method `upload`"):
            runtime.upload(CONTENT)


# --- uploads --------------------------------------------------------------------------------------------------


FILES = f"{BASE_URL}/files"


def the_form(requests_mock):
    """Return the fields of the form that was sent: their contents, by name, and the file's own name and type."""
    request = requests_mock.last_request
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = list(message_from_bytes(head + request.body, policy=HTTP).iter_parts())
    fields = {part.get_param("name", header="content-disposition"): part for part in parts}
    file = fields["file"]
    return {
        "fields": {name: part.get_payload(decode=True) for name, part in fields.items()},
        "name": file.get_filename(),
        "type": file.get_content_type(),
    }


def test_a_file_is_uploaded_as_a_form(runtime, requests_mock, tmp_path):
    requests_mock.post(FILES, json={"id": "file_1", "object": "file"})
    path = tmp_path / "table.csv"
    path.write_bytes(CONTENT)
    for source in (path, str(path)):
        assert runtime.upload(source) == "file_1"
        expected = {"purpose": b"assistants", "file": CONTENT}
        assert the_form(requests_mock) == {"fields": expected, "name": "table.csv", "type": "text/csv"}


@pytest.mark.parametrize(
    ("data", "name", "sent", "kind"),
    [
        (CONTENT, "a.json", "a.json", "application/json"),
        (bytearray(b"%PDF-1.7"), None, "file.pdf", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n.", None, "file.png", "image/png"),
    ],
)
def test_bytes_are_uploaded_under_a_name_that_shows_their_type(runtime, requests_mock, data, name, sent, kind):
    requests_mock.post(FILES, json={"id": "file_1"})
    runtime.upload(data, name=name, purpose="vision")
    form = the_form(requests_mock)
    assert form["fields"] == {"purpose": b"vision", "file": bytes(data)}
    assert (form["name"], form["type"]) == (sent, kind)


@pytest.mark.parametrize(
    "first", [{"status_code": 429}, {"exc": requests.ConnectTimeout}, {"status_code": 503, "json": OVERLOADED}]
)
def test_an_upload_that_took_no_effect_is_tried_again(runtime, requests_mock, first):
    requests_mock.post(FILES, [first, {"json": {"id": "file_1"}}])
    assert runtime.upload(CONTENT) == "file_1"


@pytest.mark.parametrize(
    "first", [{"status_code": 500}, {"exc": requests.ReadTimeout}, {"text": "<html>"}, {"json": {"object": "file"}}]
)
def test_an_upload_whose_outcome_is_unknown_is_not_tried_again(runtime, requests_mock, first):
    requests_mock.post(FILES, [first, {"json": {"id": "file_1"}}])
    failures = []
    with (
        signals.request_failed.connected_to(lambda _, event: failures.append(event)),
        pytest.raises(errors.OutcomeUnknown, match="The file may be on the server"),
    ):
        runtime.upload(CONTENT)
    assert requests_mock.call_count == 1
    assert [(event.operation, event.will_retry) for event in failures] == [("upload_file", False)]


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"path_or_bytes": "/no/such/file"}, ValueError, "the file cannot be read: .*No such file"),
        ({"path_or_bytes": b""}, ValueError, "the file is empty"),
        ({"path_or_bytes": 7}, TypeError, "the file must be a path or bytes, not int"),
        ({"path_or_bytes": CONTENT, "name": " "}, ValueError, "name must not be blank"),
        ({"path_or_bytes": CONTENT, "purpose": ""}, ValueError, "purpose must not be blank"),
    ],
)
def test_a_wrong_upload_is_refused_before_a_request(runtime, requests_mock, arguments, error, reason):
    with pytest.raises(error, match=reason):
        runtime.upload(**arguments)
    assert requests_mock.call_count == 0
