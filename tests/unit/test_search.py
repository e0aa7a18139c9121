"""Searching for a request in doubt: the four results, and how each is recognised."""

import pytest

from gpt_agent_fsm.machine.queue import Doubt, QueuedMessage
from gpt_agent_fsm.machine.search import Absent, Ambiguous, Found, MorePages, search_message, search_run
from tests.story import answer, question, run

OURS = QueuedMessage(key="k1", content="Hello")
KEYED, ALIKE, OTHER = question("msg_4", key="k1"), question("msg_4"), question("msg_5", "Else")
NOTHING_KNOWN, EMPTY = Doubt(searches_left=1), Doubt(searches_left=1, nothing_before=True)
KNOWN = Doubt(searches_left=1, known=("msg_1",))
OLD = answer("msg_1")
TURNED = (question("msg_1", "x", created_at=1.0), question("msg_2", "y", created_at=2.0))


def message(*page, doubt=NOTHING_KNOWN, after=None, keys_kept=False):
    return search_message(OURS, page, doubt, after, keys_kept=keys_kept)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        # the key decides, wherever the message is
        (message(OTHER, KEYED), Found(KEYED)),
        (message(OLD, KEYED, doubt=KNOWN), Found(KEYED)),
        # without keys: a single message of the same text, newer than all known ones
        (message(ALIKE, OLD, doubt=KNOWN), Found(ALIKE)),
        (message(ALIKE, doubt=EMPTY), Found(ALIKE)),
        (message(ALIKE), Ambiguous()),
        (message(ALIKE, doubt=EMPTY, after="msg_4"), Ambiguous()),
        (message(ALIKE, question("msg_3"), OLD, doubt=KNOWN), Ambiguous()),
        # without our key on a server that keeps keys, or of somebody else: not ours
        (message(ALIKE, OLD, doubt=KNOWN, keys_kept=True), Absent()),
        (message(ALIKE, question("msg_3", key="k0"), OLD, doubt=KNOWN), Absent()),
        # a server that shows keys in its answers to a POST, but not in lists
        (message(ALIKE, question("msg_1"), doubt=KNOWN, keys_kept=True), Found(ALIKE)),
        (message(ALIKE, question("msg_1", key="k0"), doubt=KNOWN, keys_kept=True), Absent()),
        (message(answer("msg_4", "Hello"), OLD, doubt=KNOWN), Absent()),
        (message(OLD, ALIKE, doubt=KNOWN), Absent()),
        # the search ends at a known message, or at the last page
        (message(OTHER, after="msg_5"), MorePages("msg_5")),
        (message(OTHER), Absent()),
        (message(OTHER, OLD, doubt=KNOWN, after="msg_1"), Absent()),
        # a message of the same second may be on the next page
        (message(answer("msg_1", created_at=7.0), doubt=KNOWN, after="msg_1"), MorePages("msg_1")),
        (message(answer("msg_1", created_at=7.0), doubt=KNOWN), Absent()),
        # a page in the wrong order says nothing about its end
        (message(*TURNED, doubt=KNOWN, after="msg_2"), MorePages("msg_2")),
    ],
)
def test_a_message_is_found_absent_ambiguous_or_maybe_on_the_next_page(result, expected):
    assert result == expected


MINE, STRANGE, PAST = run(run_id="run_2", key="k1.1"), run(run_id="run_3"), run(run_id="run_1")
RUN_KNOWN = Doubt(searches_left=1, known=("run_1",))
INFERRED = run(run_id="run_2", key="k1.1", inferred=True, messages=(answer("msg_2"),))


def a_run(*listed, doubt=RUN_KNOWN, published=(), keys_kept=False):
    return search_run("k1.1", listed, doubt, published, keys_kept=keys_kept)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (a_run(STRANGE, MINE), Found(MINE)),
        (a_run(MINE, doubt=None), Found(MINE)),
        (a_run(STRANGE, PAST), Found(STRANGE)),
        (a_run(STRANGE, doubt=EMPTY), Found(STRANGE)),
        (a_run(STRANGE, doubt=NOTHING_KNOWN), Absent()),
        (a_run(STRANGE, PAST, doubt=None), Absent()),
        (a_run(STRANGE, PAST, keys_kept=True), Absent()),
        (a_run(STRANGE, run(run_id="run_4"), PAST), Absent()),
        (a_run(STRANGE, run(run_id="run_1", key="k0.1")), Absent()),
        (a_run(PAST), Absent()),
        (a_run(), Absent()),
        (a_run(INFERRED), Found(INFERRED)),
        (a_run(INFERRED, published=("msg_2",)), Absent()),
    ],
)
def test_a_run_is_found_or_absent(result, expected):
    assert result == expected
