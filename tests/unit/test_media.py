"""The types, names, digests and data URLs of images and files."""

import pytest

from gpt_agent_fsm.events import media

PNG, JPEG, GIF, WEBP = b"\x89PNG\r\n\x1a\n.", b"\xff\xd8\xff\xe0", b"GIF89a.", b"RIFF....WEBPVP8 "


@pytest.mark.parametrize(
    ("data", "mime"), [(PNG, "png"), (JPEG, "jpeg"), (GIF, "gif"), (b"GIF87a", "gif"), (WEBP, "webp")]
)
def test_an_image_is_recognised_by_its_first_bytes(data, mime):
    assert media.image_type(data) == media.mime_type(data) == f"image/{mime}"


@pytest.mark.parametrize("data", [b"", b"PNG", b"BM....", b"<svg/>", b"RIFF....WAVE", b"%PDF-1.7"])
def test_other_data_are_no_image(data):
    assert media.image_type(data) is None


@pytest.mark.parametrize(
    ("data", "name", "mime"),
    [
        (b"a,b", "table.csv", "text/csv"),
        (PNG, "notes.txt", "text/plain"),
        (PNG, "picture", "image/png"),
        (b"%PDF-1.7", None, "application/pdf"),
        (b"%PDF-1.7", "report.unknown-ending", "application/pdf"),
        (b"?", None, "application/octet-stream"),
    ],
)
def test_a_file_has_the_type_of_its_name_or_else_of_its_first_bytes(data, name, mime):
    assert media.mime_type(data, name) == mime


@pytest.mark.parametrize(("data", "name"), [(b"%PDF-1.7", "file.pdf"), (PNG, "file.png"), (b"?", "file.bin")])
def test_the_name_of_a_file_without_a_name_shows_its_type(data, name):
    assert media.default_name(data) == name


def test_a_data_url_gives_back_its_data():
    assert media.data_url("image/png", PNG) == "data:image/png;base64,iVBORw0KGgou"
    assert media.data_of(media.data_url("image/png", PNG)) == PNG


@pytest.mark.parametrize(
    "url",
    ["", "data:", "https://e.com/a,b", "data:text/plain,hello", "data:image/png;base64,%%", "data:;base64,ü"],
)
def test_other_urls_give_no_data(url):
    assert media.data_of(url) is None


def test_the_digest_names_its_algorithm():
    assert media.digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
