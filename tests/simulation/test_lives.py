"""Some hundred lives over a faulty network; thousands more are lived by CI, and 100,000 by night."""

from __future__ import annotations

import re

import pytest

from gpt_agent_fsm.errors import OutcomeUnknown, TransientError
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import lives
from gpt_agent_fsm.testing.simulation import BREAKING, live

BLOCK = 50


@pytest.mark.parametrize("first", range(0, 300, BLOCK))
@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_nothing_is_lost_or_done_twice_or_stuck(first, wire):
    for seed in range(first, first + BLOCK):
        life = live(seed, wire=wire)
        assert not life.violations, life.report()


@pytest.mark.parametrize("first", range(1000, 1200, BLOCK))
@pytest.mark.parametrize(
    "how", [{"keeps_keys": True}, {"keeps_keys": False}, {"wire": "responses"}], ids=["keys", "no keys", "responses"]
)
def test_what_can_not_be_known_is_seen_as_a_failed_request(first, how):
    for seed in range(first, first + BLOCK):
        life = live(seed, BREAKING, **how)
        assert not life.violations, life.report()


def test_the_same_holds_over_a_database():
    stores = []

    def make_store():
        stores.append(SQLStore("sqlite://"))
        return stores[-1]

    for seed in range(40):
        life = live(seed, make_store=make_store, wire=["assistants", "responses"][seed % 2])
        stores.pop().close()
        assert not life.violations, life.report()


def test_the_breaking_network_does_break_something():
    from collections import Counter

    doubled = 0
    for seed in range(100):
        life = live(seed, BREAKING, keeps_keys=False)
        posts = Counter(
            line.split("post_message ")[1] for line in life.journal if "post_message" in line and "fine" in line
        )
        doubled += any(count > 1 for count in posts.values()) or any("lands" in line for line in life.journal)
    assert doubled


class Blind:
    """A backend without reconciliation: an unknown outcome is taken for none."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name):
        work = getattr(self.backend, name)

        def blindly(*args, **kwargs):
            try:
                return work(*args, **kwargs)
            except OutcomeUnknown as error:
                raise TransientError(None, None, error.message) from error

        return blindly


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_without_reconciliation_a_hundred_lives_show_it(wire):
    assert any(live(seed, wrap=Blind, wire=wire).violations for seed in range(100))


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_a_seed_gives_the_same_life_each_time(wire):
    def without_keys(life):
        return [re.sub(r"[0-9a-f]{32}", "key", line) for line in life.journal]

    one, two = live(7, wire=wire), live(7, wire=wire)
    assert without_keys(one) == without_keys(two)
    assert one.crashes == two.crashes


def test_a_bad_life_is_reported_with_its_seed_and_journal():
    seed = next(seed for seed in range(100) if live(seed, wrap=Blind).violations)
    report = live(seed, wrap=Blind).report()
    assert report.startswith(f"seed {seed}\n")
    assert "post_message" in report


def test_the_command_lives_many_and_says_how_fast(capsys):
    assert lives.main(["--lives", "160", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("160 lives with ")
    assert "nothing lost, nothing twice, nothing stuck" in said


def test_the_command_fails_when_there_was_no_time_for_enough_lives(capsys):
    assert lives.main(["--lives", "1000", "--seconds", "0", "--at-least", "1000", "--workers", "1"]) == 1
    assert "1000 were to be lived at least" in capsys.readouterr().out


def test_the_command_prints_a_bad_life_and_fails(capsys, monkeypatch):
    from gpt_agent_fsm.testing.simulation import Life

    bad = Life(3, ["the journal"], ["something is lost"])
    monkeypatch.setattr(lives, "live", lambda *args, **kwargs: bad)
    assert lives._live_batch(lives._Job(3, 5, True, "assistants")) == (
        1,
        0,
        0,
        "seed 3\nsomething is lost\n\nthe journal",
    )
