"""The project's words: patterns that its sentences do not use."""

import words


def test_nothing_is_said_in_words_that_the_project_does_not_use():
    assert list(words.everywhere()) == []


def test_comments_docstrings_and_texts_of_the_source_are_read_and_names_are_not():
    source = '"""It can not."""\nfor_ever = 1  # as a rule\nsay("seldom")\n'
    found = [(line, said, instead) for line, said, instead in words.findings(source, python=True)]
    assert found == [(1, "can not", "cannot"), (2, "as a rule", "usually"), (3, "seldom", "rarely")]


def test_pages_are_read_but_not_their_code():
    page = "Tell whether it holds.\n\n```python\n# can not\n```\nIt failed for rate.\n"
    assert [line for line, _, _ in words.findings(page, python=False)] == [1, 6]
