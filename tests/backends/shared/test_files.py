"""Files of a server, with both APIs."""

import pytest

from gpt_agent_fsm import Assistant, Runtime, Settings, errors
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from tests.backends.conftest import BASE_URL, KEY

BACKENDS = {
    "assistants": lambda: AssistantsBackend(BASE_URL, KEY),
    "responses": lambda: ResponsesBackend(BASE_URL, KEY, assistants={"a": Assistant("m")}),
}
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


def test_a_backend_without_files_is_named():
    with (
        Runtime(SimulatedServer(), scheduler=VirtualScheduler()) as runtime,
        pytest.raises(TypeError, match="SimulatedServer has no files: it must have the method download"),
    ):
        runtime.download("file_1")
