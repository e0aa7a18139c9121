"""Servers that list in an order of their own, whatever they are asked for."""

from types import SimpleNamespace

import pytest

from gpt_agent_fsm.backends.assistants import wire as assistants
from gpt_agent_fsm.backends.responses import wire as responses
from gpt_agent_fsm.backends.shared.converter import Page
from gpt_agent_fsm.backends.shared.order import ListOrder

IDS = [f"id_{number}" for number in range(7)]


class Server:
    """Lists `ids`, which are in the order of their creation, in pages of three."""

    def __init__(self, ids, keeps):
        self.ids, self.keeps, self.asked = ids, keeps, []

    def get(self, order, after=None):
        self.asked.append((order, after))
        ids = (
            self.ids[::-1] if self.keeps == "newest first" or (self.keeps == "order" and order == "desc") else self.ids
        )
        start = ids.index(after) + 1 if after else 0
        data = [SimpleNamespace(id=id_) for id_ in ids[start : start + 3]]
        return Page(data=data, has_more=start + 3 < len(ids))

    def newest(self, order):
        page = order.newest_first(
            self.get("desc"), oldest=lambda: self.get("asc"), after=lambda last: self.get("desc", last)
        )
        return [entry.id for entry in page.data]


@pytest.mark.parametrize("ids", [IDS, IDS[:2], IDS[:4]])
def test_a_server_that_keeps_the_order_is_asked_about_it_once(ids):
    server, order = Server(ids, "order"), ListOrder(lambda entries: True)
    for _ in range(3):
        assert server.newest(order) == ids[::-1][:3]
    assert [asked[0] for asked in server.asked] == ["desc", "asc", "desc", "desc"]


def test_a_list_that_does_not_look_wrong_costs_no_further_request():
    server, order = Server(IDS, "order"), ListOrder(lambda entries: False)
    assert server.newest(order) == IDS[::-1][:3]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("keeps", "newest", "questions"), [("order", IDS[::-1][:3], 1), ("oldest first", IDS[::-1], 2)]
)
def test_if_the_entries_show_no_order_the_server_is_asked_about_it_until_it_has_kept_it(keeps, newest, questions):
    server, order = Server(IDS, keeps), ListOrder(lambda entries: None)
    for _ in range(2):
        assert server.newest(order) == newest
    assert server.asked.count(("asc", None)) == questions


class SortsByTime(Server):
    """Keeps the order, but sorts by time: the entries of one second are always listed in the same order."""

    def __init__(self, times):
        super().__init__([f"id_{number}" for number in range(len(times))], "order")
        self.times = dict(zip(self.ids, times, strict=True))

    def get(self, order, after=None):
        self.asked.append((order, after))
        ids = sorted(self.ids, key=self.times.get, reverse=order == "desc")
        start = ids.index(after) + 1 if after else 0
        data = [SimpleNamespace(id=id_, created_at=self.times[id_]) for id_ in ids[start : start + 3]]
        return Page(data=data, has_more=start + 3 < len(ids))


def by_times(entries):
    first, last = entries[0].created_at, entries[-1].created_at
    return None if first == last else first < last


@pytest.mark.parametrize("shows", [by_times, lambda entries: None], ids=["with times", "without times"])
def test_entries_of_one_second_prove_nothing_about_other_lists(shows):
    order = ListOrder(shows)
    assert SortsByTime([7, 7]).newest(order) == ["id_1", "id_0"]
    assert SortsByTime([1, 2, 3, 4, 5]).newest(order) == ["id_4", "id_3", "id_2"]
    assert SortsByTime([1, 2]).newest(order) == ["id_1", "id_0"]


def always(*entries):
    """Return a server that always lists these entries, each an id and a time."""
    server = SortsByTime([0])
    data = [SimpleNamespace(id=id_, created_at=at) for id_, at in entries]
    server.get = lambda order, after=None: Page(data=data, has_more=False)
    return server


def test_a_list_that_shows_the_newest_first_does_not_disprove_what_another_list_has_proved():
    order = ListOrder(by_times)
    assert always(("a", 1), ("b", 2)).newest(order) == ["b", "a"]
    assert always(("c", 4), ("d", 3)).newest(order) == ["c", "d"]  # somebody has set the clock back
    assert always(("e", 5), ("f", 5)).newest(order) == ["f", "e"]


def test_a_list_that_shows_the_oldest_first_is_looked_at_again_although_the_order_seemed_to_be_kept():
    order = ListOrder(by_times)
    assert always(("c", 4), ("d", 3)).newest(order) == ["c", "d"]
    assert always(("a", 1), ("b", 2)).newest(order) == ["b", "a"]


def test_items_with_an_id_that_several_calls_have_show_no_order():
    again = item("function_call", "g", call_id="c")
    assert responses.are_items_oldest_first([USER, CALL, OUTPUT, again]) is None
    assert responses.are_items_oldest_first([again, OUTPUT, CALL]) is None


@pytest.mark.parametrize("ids", [IDS, IDS[:2], IDS[:4]])
def test_a_server_that_always_lists_the_oldest_first_is_read_to_the_end(ids):
    server, order = Server(ids, "oldest first"), ListOrder(lambda entries: True)
    for _ in range(2):
        assert server.newest(order) == ids[::-1]


def test_a_server_that_always_lists_the_newest_first_is_believed():
    server, order = Server(IDS, "newest first"), ListOrder(lambda entries: False)
    assert server.newest(order) == IDS[::-1][:3]


def test_a_single_entry_shows_nothing_and_costs_nothing():
    server, order = Server(IDS[:1], "oldest first"), ListOrder(lambda entries: True)
    assert server.newest(order) == IDS[:1]
    assert len(server.asked) == 1
    server.ids = IDS[:3]
    assert server.newest(order) == IDS[:3][::-1]


def item(kind, id_, **fields):
    return responses.converter.structure({"type": kind, "id": id_, **fields}, responses.Item)


USER = item("message", "m1", role="user")
ASSISTANT = item("message", "m2", role="assistant")
CALL, OUTPUT = item("function_call", "f", call_id="c"), item("function_call_output", "o", call_id="c")


@pytest.mark.parametrize(
    "oldest_first", [(CALL, OUTPUT), (USER, CALL, OUTPUT, USER), (CALL, USER, OUTPUT), (ASSISTANT, CALL, OUTPUT)]
)
def test_items_show_their_order_by_an_output_and_its_call(oldest_first):
    assert responses.are_items_oldest_first(oldest_first) is True
    assert responses.are_items_oldest_first(oldest_first[::-1]) is False


@pytest.mark.parametrize("items", [(USER, ASSISTANT), (ASSISTANT, USER), (USER, CALL), (CALL, USER), (OUTPUT, USER)])
def test_a_conversation_may_begin_with_anything_so_that_other_items_show_no_order(items):
    assert responses.are_items_oldest_first(items) is None


def message(role="user", at=None):
    return assistants.Message(id="m", role=role, created_at=at)


def run(status="completed", at=None):
    return assistants.Run(id="r", status=status, created_at=at)


@pytest.mark.parametrize(
    ("shows", "older", "newer"),
    [
        (assistants.are_messages_oldest_first, message(at=1), message(at=2)),
        (assistants.are_messages_oldest_first, message("assistant", 1), message("user", 2)),
        (assistants.are_runs_oldest_first, run(at=1), run(at=2)),
        (assistants.are_runs_oldest_first, run("in_progress", 1), run("completed", 2)),
        (assistants.are_runs_oldest_first, run("completed"), run("queued")),
    ],
)
def test_runs_and_messages_show_their_order_by_times_or_else_by_what_they_are(shows, older, newer):
    assert shows([older, newer]) is True
    assert shows([newer, older]) is False
    assert shows([older, older]) is None


@pytest.mark.parametrize("roles", [("user", "assistant"), ("assistant", "user"), ("user", "user")])
def test_a_thread_may_begin_with_any_message_so_that_roles_show_no_order(roles):
    assert assistants.are_messages_oldest_first([message(role) for role in roles]) is None


def test_an_entry_that_is_listed_late_at_the_front_does_not_hide_the_order():
    server, order = Server(IDS[1:3], "oldest first"), ListOrder(lambda entries: None)
    page = server.get("desc")
    server.ids = IDS[:3]
    newest = order.newest_first(page, oldest=lambda: server.get("asc"), after=lambda last: server.get("desc", last))
    assert [entry.id for entry in newest.data] == IDS[1:3][::-1]
    assert server.newest(order) == IDS[:3][::-1]


def test_lists_with_one_entry_in_common_show_nothing_and_the_server_is_asked_again():
    server, order = Server(IDS[:2], "order"), ListOrder(lambda entries: None)
    page = server.get("desc")
    server.ids = [IDS[0], IDS[5]]
    order.newest_first(page, oldest=lambda: server.get("asc"), after=lambda last: server.get("desc", last))
    server.ids = IDS[:3]
    assert server.newest(order) == IDS[:3][::-1]
