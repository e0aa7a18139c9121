"""The queue: numbers, and what changed between two moments."""

import hypothesis.strategies as st
from hypothesis import given

from gpt_agent_fsm.machine.queue import EMPTY, NO_CHANGE, Doubt, Queue, QueueChange, QueuedMessage

DOUBT = Doubt(searches_left=1)


def message(key, doubt=None):
    return QueuedMessage(key=key, content=key, doubt=doubt)


def test_a_new_message_is_written_with_the_next_number():
    one = EMPTY.add(message("a"))
    assert one.add(message("b")).change_since(one) == QueueChange(written=((2, message("b")),))


def test_the_head_that_is_taken_is_removed_by_its_number():
    two = EMPTY.add(message("a")).add(message("b"))
    assert two.take().change_since(two) == QueueChange(removed=(1,))


def test_a_message_that_comes_first_is_before_all_others_or_behind_the_head():
    two = EMPTY.add(message("a")).add(message("b"))
    for behind_head, keys in ((False, ["c", "a", "b"]), (True, ["a", "c", "b"])):
        queue = two.add_first(message("c"), behind_head=behind_head)
        assert [each.key for each in queue] == keys
        change = queue.change_since(two)
        assert change.removed == (1, 2)
        assert [(number, each.key) for number, each in change.written] == list(enumerate(keys, 3))


def test_a_message_after_a_drop_does_not_get_the_number_of_a_dropped_message():
    two = EMPTY.add(message("a")).add(message("b"))
    change = two.keep_head().add(message("c")).change_since(two)
    assert change == QueueChange(removed=(1, 2), written=((3, message("a")), (4, message("c"))))


def test_a_doubt_about_the_head_is_written_in_place():
    two = EMPTY.add(message("a")).add(message("b"))
    assert two.with_doubt(DOUBT).change_since(two) == QueueChange(written=((1, message("a", DOUBT)),))


def test_the_same_queue_has_not_changed():
    queue = EMPTY.add(message("a"))
    assert queue.change_since(queue) is NO_CHANGE
    assert Queue((message("a"),)).change_since(queue) == NO_CHANGE


def test_an_emptied_queue_uses_no_number_again_and_equals_an_empty_one():
    emptied = EMPTY.add(message("a")).take()
    assert emptied == EMPTY
    assert hash(emptied) == hash(EMPTY)
    assert emptied.add(message("b")).first == 2
    assert emptied.add(message("b")) != EMPTY.add(message("b"))
    assert emptied != ()


def test_a_long_queue_is_not_compared_message_by_message():
    """Only the ends and the heads of two queues are compared."""

    class Unequal(QueuedMessage):
        def __eq__(self, other):
            raise AssertionError("compared")

        def __hash__(self):
            return 0

    long = Queue((message("head"), *(Unequal(key="x", content="x") for _ in range(10))))
    assert long.add(message("new")).change_since(long) == QueueChange(written=((12, message("new")),))


DEEDS = st.lists(
    st.sampled_from(["add", "first", "second", "take", "doubt", "clear", "head", "without", "drop"]), max_size=12
)


def lived(queue, deeds, name):
    for number, deed in enumerate(deeds):
        if deed == "add":
            queue = queue.add(message(f"{name}{number}"))
        elif deed in ("first", "second"):
            queue = queue.add_first(message(f"{name}{number}"), behind_head=deed == "second")
        elif queue and deed == "take":
            queue = queue.take()
        elif queue and deed == "without":
            queue = queue.without(queue[len(queue) // 2].key)
        elif deed == "head":
            queue = queue.keep_head()
        elif deed == "drop":
            queue = queue.drop_all()
        elif queue:
            queue = queue.with_doubt(DOUBT if deed == "doubt" else None)
    return queue


@given(DEEDS, DEEDS)
def test_rows_that_follow_the_changes_are_the_queue(before, after):
    old = lived(EMPTY, before, "old")
    new = lived(old, after, "new")
    rows = {old.first + index: each for index, each in enumerate(old)}
    change = new.change_since(old)
    for number in change.removed:
        del rows[number]
    rows.update(change.written)
    assert Queue.of(sorted(rows.items())) == new
