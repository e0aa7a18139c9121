"""The parts of a message's content, in the forms of both APIs."""

import base64

import pytest

from gpt_agent_fsm import Citation, File, Image, Text
from gpt_agent_fsm.backends.shared.content import image_of, parts_of

LINK = {
    "type": "output_text",
    "text": "It is cold in Oslo.",
    "annotations": [
        {"type": "url_citation", "url": "https://example.com", "title": "Weather", "start_index": 0, "end_index": 10}
    ],
}
BOOK = {
    "type": "text",
    "text": {
        "value": "See page 4【1†source】.",
        "annotations": [
            {
                "type": "file_citation",
                "text": "【1†source】",
                "start_index": 10,
                "end_index": 20,
                "file_citation": {"file_id": "file_1", "quote": "It is cold."},
            }
        ],
    },
}
TABLE = {
    "type": "text",
    "text": {
        "value": "Here: sandbox:/mnt/data/table.csv, sandbox:/mnt/data/table.csv",
        "annotations": [
            {"type": "file_path", "text": "sandbox:/mnt/data/table.csv", "file_path": {"file_id": "file_2"}},
            {"type": "file_path", "text": "sandbox:/mnt/data/table.csv", "file_path": {"file_id": "file_2"}},
        ],
    },
}
CONTAINER = {
    "type": "output_text",
    "text": "Done.",
    "annotations": [
        {
            "type": "container_file_citation",
            "container_id": "cntr_1",
            "file_id": "cfile_1",
            "filename": "plot.png",
            "start_index": 0,
            "end_index": 5,
        },
        {"type": "file_citation", "file_id": "file_3", "index": 4, "filename": "book.pdf"},
    ],
}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("Hello", (Text("Hello"),)),
        ("", ()),
        (None, ()),
        (7, ()),
        ([], ()),
        ([{"type": "output_text", "text": "Hi"}], (Text("Hi"),)),
        ([{"type": "text", "text": {"value": "Hi", "annotations": []}}], (Text("Hi"),)),
        ([{"type": "text", "text": {"value": "Same"}}] * 2, (Text("Same"), Text("Same"))),
        ([{"text": "no type"}], (Text("no type"),)),
        ([{"type": "refusal", "refusal": "No."}], ()),
        (
            [LINK],
            (
                Text(
                    "It is cold in Oslo.",
                    annotations=(Citation(start=0, end=10, url="https://example.com", title="Weather"),),
                ),
            ),
        ),
        (
            [BOOK],
            (
                Text(
                    "See page 4【1†source】.",
                    annotations=(Citation(start=10, end=20, file_id="file_1", quote="It is cold."),),
                ),
            ),
        ),
        ([TABLE], (Text(TABLE["text"]["value"]), File(file_id="file_2", name="table.csv"))),
        (
            [CONTAINER],
            (
                Text("Done.", annotations=(Citation(file_id="file_3", title="book.pdf"),)),
                File(file_id="cntr_1/cfile_1", name="plot.png"),
            ),
        ),
        ([{"type": "image_file", "image_file": {"file_id": "file_4"}}], (Image(file_id="file_4"),)),
        ([{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}], (Image(url="https://e.com/a.png"),)),
        ([{"type": "input_image", "image_url": "https://e.com/a.png"}], (Image(url="https://e.com/a.png"),)),
        ([{"type": "input_image", "file_id": "file_5", "image_url": None}], (Image(file_id="file_5"),)),
    ],
)
def test_content_is_read_part_by_part(content, parts):
    assert parts_of(content) == parts


@pytest.mark.parametrize(
    "content",
    [
        [None, 7, "x", []],
        [{"type": "video", "video": {}}],
        [{"type": "text", "text": None}, {"type": "text"}, {"type": "text", "text": 7}],
        [{"type": "image_file", "image_file": None}, {"type": "image_url", "image_url": {}}],
        [{"type": "text", "text": "", "annotations": [{"type": "file_path"}]}],
    ],
)
def test_a_part_that_makes_no_sense_is_left_out(content):
    assert parts_of(content) == ()


@pytest.mark.parametrize("annotations", [None, 7, {}, [None, 7], [{}], [{"type": "url_citation"}]])
def test_an_annotation_that_makes_no_sense_is_left_out(annotations):
    assert parts_of([{"type": "output_text", "text": "Hi", "annotations": annotations}]) == (Text("Hi"),)


def test_an_image_that_was_made_is_decoded():
    assert image_of(base64.b64encode(b"\x00png").decode()) == (Image(data=b"\x00png"),)


@pytest.mark.parametrize("encoded", [None, 7, "", "no base64!", "YQ=", "\udcff"])
def test_an_image_that_cannot_be_read_is_left_out(encoded):
    assert image_of(encoded) == ()
