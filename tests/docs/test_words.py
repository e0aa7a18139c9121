"""The project's words: patterns that its sentences do not use."""

import words


def test_nothing_is_said_in_words_that_the_project_does_not_use():
    assert list(words.everywhere()) == []


def test_comments_docstrings_and_texts_of_the_source_are_read_and_names_are_not():
    source = '"""It cannot."""\nfor_ever = 1  # usually\nsay("rarely")\n'
    found = [(line, said, instead) for line, said, instead in words.findings(source, python=True)]
    assert found == [(1, "cannot", "cannot"), (2, "usually", "usually"), (3, "rarely", "rarely")]


def test_pages_are_read_but_not_their_code():
    page = "Return whether it holds.\n\n```python\n# cannot\n```\nIt was rate limited.\n"
    assert [line for line, _, _ in words.findings(page, python=False)] == [1, 6]
