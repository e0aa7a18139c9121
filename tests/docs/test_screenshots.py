"""The pictures of the terminal and of pages."""

import os
import re

import chromium
import pytest
import screenshots
from terminal_screen import TerminalScreen, svg_of

from tests.docs.pages import ROOT, name_of

PICTURES = ROOT / "docs" / "_static"
PAGE = "<!doctype html><article><p style='width:{width}px'>Hello</p></article>"


def shown(written, columns=10):
    return TerminalScreen(written, columns).text.plain


def texts_of(picture):
    """Return the texts of a picture. The rest depends on the version of rich."""
    return re.findall("<text[^>]*>([^<]*)</text>", picture)


def test_a_program_may_write_over_what_it_wrote():
    assert shown("waiting\r\x1b[2Kdone\r\n\x1b[1A\x1b[4C!") == "done!"
    assert shown("one\r\ntwo\r\n\x1b[2A\x1b[Jthree") == "three"


def test_a_long_line_is_wrapped_as_on_a_terminal():
    assert shown("abcdefghijkl") == "abcdefghij\nkl"


def test_an_unknown_control_sequence_is_an_error():
    with pytest.raises(ValueError, match="3S is unknown"):
        shown("\x1b[3S")


def test_a_picture_has_the_colours_and_fetches_nothing():
    picture = svg_of(TerminalScreen("\x1b[31mred\x1b[0m", 10).text, 10, "title")
    assert "#f58680" in picture
    assert "url(" not in re.sub(r"url\(#", "", picture)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
def test_the_picture_of_the_chat_shows_what_the_chat_prints_now():
    if texts_of(screenshots.draw("chat")) != texts_of((PICTURES / "chat.svg").read_text(encoding="utf-8")):
        pytest.fail("docs/_static/chat.svg differs from the chat; draw it again: python docs/screenshots.py")


@pytest.mark.parametrize("name", sorted(path.name for path in PICTURES.glob("*.[sp][vn]g")))
def test_each_picture_is_on_a_page_with_words_for_those_who_cannot_see_it(name):
    texts = {name_of(page): page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")}
    found = [words for text in texts.values() for words in re.findall(rf"!\[([^\]]*)\]\(_static/{name}\)", text)]
    assert len(found) == 1
    assert len(found[0]) > 30


needs_browser = pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing())


@needs_browser
@pytest.mark.parametrize(("width", "too_wide"), [(100, []), (800, ["page-phone-light", "page-phone-dark"])])
def test_a_page_is_photographed_in_each_size_and_scheme(tmp_path, width, too_wide):
    (tmp_path / "page.html").write_text(PAGE.format(width=width), encoding="utf-8")
    assert screenshots.photograph(tmp_path, ["page"], tmp_path / "pictures") == too_wide
    sizes = ["desktop-dark", "desktop-light", "phone-dark", "phone-light"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [f"page-{size}.png" for size in sizes]
