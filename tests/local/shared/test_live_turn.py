"""A live turn and its followers."""

import threading

from gpt_agent_fsm.local.shared.live_turn import LiveTurn
from tests.local.stand_ins import PATIENCE


def heard(turn):
    return list(turn.follow(PATIENCE))


def test_a_late_follower_hears_everything_from_the_beginning():
    turn = LiveTurn()
    turn.begin()
    turn.add_chunk("Hel")
    turn.add_chunk("lo")
    turn.end()
    assert heard(turn) == heard(turn) == ["", "Hel", "lo"]


def test_a_turn_that_ended_before_it_began_is_heard_as_nothing():
    turn = LiveTurn()
    turn.end()
    turn.end()
    assert heard(turn) == []


def test_a_pause_is_heard_before_and_after_the_beginning():
    turn = LiveTurn()
    following = turn.follow(0.0)
    assert [next(following), next(following)] == [None, None]
    turn.begin()
    assert [next(following), next(following)] == ["", None]
    turn.add_chunk("Hel")
    assert [next(following), next(following)] == ["Hel", None]
    turn.end()
    assert list(following) == []


def test_all_followers_hear_the_same_from_other_os_threads():
    turn = LiveTurn()
    results = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda result=result: result.extend(heard(turn))) for result in results]
    for thread in threads:
        thread.start()
    turn.begin()
    for number in range(100):
        turn.add_chunk(str(number))
    turn.end()
    turn.wait()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [["", *map(str, range(100))]] * 4


def test_the_first_piece_has_the_time_at_which_it_was_made(monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.local.ids.now", iter((7, 8)).__next__)
    turn = LiveTurn()
    assert turn.first_chunk_at is None
    turn.add_chunk("a")
    turn.add_chunk("b")
    assert turn.first_chunk_at == 7
