"""The Files API: uploads, lists, contents and deletions."""

import threading

import pytest
import requests

from gpt_agent_fsm.local.files import upload
from tests.local.stand_ins import PATIENCE

SECRET = b"secret-4711 " * 700  # longer than a page of the file


def add(api, content=b"Hello", name="a.txt", purpose="user_data", **kwargs):
    return api.call("POST", "/files", files={"file": (name, content)}, data={"purpose": purpose}, **kwargs)


def content_of(api, file_id):
    answer = api.session.get(f"{api.server.base_url}/files/{file_id}/content", timeout=PATIENCE)
    assert answer.status_code == 200
    return answer


def left_in(folder):
    return [path.name for path in folder.iterdir() if b"secret-4711" in path.read_bytes()]


def test_an_uploaded_file_is_an_object_with_its_name_size_and_purpose(api):
    file = add(api, b"\x00\xff" * 5, "notes.bin", "assistants")
    assert file["id"].startswith("file-")
    assert (file["object"], file["bytes"], file["filename"]) == ("file", 10, "notes.bin")
    assert (file["purpose"], file["status"]) == ("assistants", "processed")
    assert api.get(f"/files/{file['id']}") == file


def test_a_file_is_downloaded_whatever_characters_its_name_has(api):
    file = add(api, b"Hello", "table — 表.csv")
    answer = content_of(api, file["id"])
    assert answer.content == b"Hello"
    assert "filename*=UTF-8''table%20%E2%80%94%20%E8%A1%A8.csv" in answer.headers["content-disposition"]


@pytest.mark.parametrize("content", [b"", b"Hello\r\n", bytes(range(256)) * 9000])
def test_the_content_is_downloaded_byte_for_byte(api, content):
    file = add(api, content)
    answer = content_of(api, file["id"])
    assert answer.content == content
    assert answer.headers["content-disposition"] == "attachment; filename=a.txt"
    assert file["bytes"] == len(content)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("../../etc/passwd", "passwd"), ("notes/", "upload"), ("räksmörgås.txt", "räksmörgås.txt")],
)
def test_only_the_last_part_of_a_file_name_is_kept(api, sent, kept):
    file = add(api, name=sent)
    assert file["filename"] == kept
    assert content_of(api, file["id"]).content == b"Hello"


def test_files_are_listed_in_pages_by_order_and_by_purpose(api):
    ids = [add(api, purpose=purpose)["id"] for purpose in ("user_data", "vision", "user_data")]
    listed = api.get("/files")
    assert [file["id"] for file in listed["data"]] == ids[::-1]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (ids[2], ids[0], False)
    first = api.get("/files", params={"limit": 2, "order": "asc"})
    assert ([file["id"] for file in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = api.get("/files", params={"order": "asc", "after": ids[1]})
    assert [file["id"] for file in rest["data"]] == ids[2:]
    chosen = api.get("/files", params={"purpose": "user_data", "order": "asc"})
    assert [file["id"] for file in chosen["data"]] == [ids[0], ids[2]]
    assert api.get("/files", params={"purpose": "evals"})["data"] == []
    assert api.get("/files", params={"limit": 10_000})["data"] == listed["data"]


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 10_001}, {"order": "up"}, {"after": "file-x"}])
def test_a_wrong_parameter_of_a_list_is_a_400_that_names_it(api, params):
    assert api.error("GET", "/files", 400, params=params)["param"] == next(iter(params))


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"data": {"purpose": "user_data"}, "files": {"other": ("a.txt", b"x")}}, "file"),
        ({"files": {"file": (None, b"x"), "purpose": (None, "user_data")}}, "file"),
        ({"files": {"file": ("a.txt", b"x")}}, "purpose"),
        ({"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "fun"}}, "purpose"),
        ({"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "batch", "expires_after[seconds]": "60"}}, None),
        ({"json": {"purpose": "user_data", "file": "x"}}, None),
        ({"data": b"--x--", "headers": {"Content-Type": "multipart/form-data"}}, "file"),
        ({}, None),
    ],
)
def test_a_form_that_is_no_upload_is_a_400_that_names_the_field(api, form, param):
    error = api.error("POST", "/files", 400, **form)
    assert error["param"] == ("expires_after[seconds]" if "expires" in str(form) else param)
    assert api.get("/files")["data"] == []


def test_a_file_that_is_too_large_is_a_413_that_says_the_limit(api, monkeypatch):
    monkeypatch.setattr(upload, "MAX_UPLOAD", 1000)
    error = api.error("POST", "/files", 413, files={"file": ("a", b"x" * 1001)}, data={"purpose": "user_data"})
    assert "at most 1000 bytes" in error["message"]
    assert api.get("/files")["data"] == []
    assert add(api, b"x" * 500)["bytes"] == 500


def test_a_file_may_be_larger_than_another_request(api):
    content = b"x" * (9 * 1024 * 1024)
    assert content_of(api, add(api, content)["id"]).content == content


def test_files_survive_a_restart_of_the_server(serve, tmp_path):
    first = serve(database=tmp_path / "a.db")
    file = add(first, b"\x00\xffHello")
    first.server.close()
    second = serve(database=tmp_path / "a.db")
    assert second.get("/files")["data"] == [file]
    assert content_of(second, file["id"]).content == b"\x00\xffHello"


def test_nothing_of_a_deleted_file_remains_in_the_database(serve, tmp_path):
    api = serve(database=tmp_path / "a.db")
    file = add(api, SECRET)
    assert left_in(tmp_path) != []
    assert api.delete(f"/files/{file['id']}") == {"id": file["id"], "object": "file", "deleted": True}
    assert left_in(tmp_path) == []
    assert api.get("/files")["data"] == []
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert file["id"] in api.error(method, f"/files/{file['id']}{path}", 404)["message"]


def test_a_slow_upload_keeps_no_other_request_waiting(api):
    begun, go = threading.Event(), threading.Event()

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        begun.set()
        assert go.wait(PATIENCE)
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nHello\r\n--x--\r\n'

    answers = []
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    def send():
        url = f"{api.server.base_url}/files"
        answers.append(requests.post(url, data=body(), headers=headers, timeout=PATIENCE))

    sender = threading.Thread(target=send)
    sender.start()
    assert begun.wait(PATIENCE)
    assert api.get("/files")["data"] == []
    go.set()
    sender.join(PATIENCE)
    assert answers[0].json()["bytes"] == 5
