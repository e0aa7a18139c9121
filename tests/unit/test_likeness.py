"""A message in doubt is recognised by its parts as far as the server shows them."""

import pytest

from gpt_agent_fsm import File, Image, Text
from gpt_agent_fsm.events.media import digest_of
from gpt_agent_fsm.machine.likeness import may_be, without_data
from gpt_agent_fsm.machine.queue import QueuedMessage
from tests.story import question

A, B = Image(url="https://e.com/a.png"), Image(url="https://e.com/b.png")
ONE, TWO = Image(file_id="file_1"), Image(file_id="file_2")
DATA, OTHER_DATA = Image(data=b"one"), Image(data=b"two")
DOC, PAPER = File(file_id="file_3"), File(file_id="file_4")
LINK = File(url="https://e.com/t.csv")
CSV = File(data=b"a,b", name="t.csv")


@pytest.mark.parametrize(
    ("sent", "listed", "expected"),
    [
        # the same source
        ([A], [A], True),
        ([ONE], [ONE], True),
        ([DATA], [DATA], True),
        ([A, ONE, DOC], [A, ONE, DOC], True),
        # another source
        ([A], [B], False),
        ([ONE], [TWO], False),
        ([A], [ONE], False),
        ([ONE], [A], False),
        ([DATA], [OTHER_DATA], False),
        ([A], [DATA], False),
        ([A, B], [B, A], False),
        ([DOC], [PAPER], False),
        # only the kind is shown
        ([A], [Image()], True),
        ([DATA], [Image()], True),
        ([CSV], [File(name="t.csv")], True),
        # the server has made a file of the data
        ([DATA], [ONE], True),
        ([DATA], [A], True),
        ([CSV], [DOC], True),
        ([LINK], [DOC], True),
        ([LINK], [File(digest=digest_of(b"a,b"))], True),
        ([DOC], [LINK], False),
        # another number of images, or another kind
        ([A], [], False),
        ([], [A], False),
        ([A], [A, A], False),
        ([A], [Image(), Image()], False),
        ([A], [DOC], False),
        # attached files are not shown by every server, but images are
        ([DOC], [], True),
        ([], [DOC], False),
        ([A, DOC], [A], True),
        ([DOC, PAPER], [DOC], False),
    ],
)
def test_a_listed_message_may_be_ours_if_it_shows_nothing_else_than_we_sent(sent, listed, expected):
    message = QueuedMessage(key="k", content="Look", parts=(Text("Look"), *sent))
    assert may_be(message, question("msg_1", "Look", parts=(Text("Look"), *listed))) is expected


def test_a_message_of_text_is_not_a_message_with_an_image():
    listed = question("msg_1", "Look", parts=(Text("Look"), Image()))
    assert not may_be(QueuedMessage(key="k", content="Look"), listed)


def test_another_text_is_another_message():
    listed = question("msg_1", "See", parts=(Text("See"), A))
    assert not may_be(QueuedMessage(key="k", content="Look", parts=(Text("Look"), A)), listed)


def test_a_part_without_its_data_keeps_everything_else():
    assert without_data(CSV) == File(name="t.csv", digest=digest_of(b"a,b"))
    assert [without_data(part) for part in (A, DOC, Text("Look"))] == [A, DOC, Text("Look")]
