"""The project's words: patterns that its sentences do not use."""

import words


def test_the_project_uses_none_of_the_listed_words():
    assert list(words.everywhere()) == []


def test_the_name_of_a_test_is_read_as_a_sentence():
    source = "def test_what_came_of_it():\n    pass\n\ndef test_it_is_asked_for_ever():\n    pass\n"
    found = [(line, said, instead) for line, said, instead in words.findings(source, python=True)]
    assert found == [(1, "test what", "a noun"), (4, "for ever", "forever")]


def test_comments_docstrings_and_texts_of_the_source_are_read_and_other_names_are_not():
    source = '"""It can not."""\nfor_ever = 1  # as a rule\nsay("seldom")\n'
    found = [(line, said, instead) for line, said, instead in words.findings(source, python=True)]
    assert found == [(1, "can not", "cannot"), (2, "as a rule", "usually"), (3, "seldom", "rarely")]


def test_pages_are_read_but_not_their_code():
    page = "Tell whether it holds.\n\n```python\n# can not\n```\nIt failed for rate.\n"
    assert [line for line, _, _ in words.findings(page, python=False)] == [1, 6]


def test_words_are_found_across_the_end_of_a_line_and_reported_where_they_begin():
    page = "It works.\n\nThe two are told\napart.\n\n```\ntold apart\n```\n"
    assert list(words.findings(page, python=False)) == [(3, "told\napart", "distinguished")]
    source = '"""It works.\n\n    The run is under\n    way.\n    """\n'
    assert [(line, instead) for line, _, instead in words.findings(source, python=True)] == [
        (3, "in flight or in progress")
    ]


def test_the_end_of_a_paragraph_and_the_start_of_the_next_are_not_one_phrase():
    page = "They were told\n\nApart from that, it works.\n"
    assert list(words.findings(page, python=False)) == []
