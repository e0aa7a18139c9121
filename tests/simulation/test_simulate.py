"""Some hundred lives over a faulty network; CI simulates thousands more, and 100,000 at night."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from gpt_agent_fsm.errors import OutcomeUnknown, TransientError
from gpt_agent_fsm.machine.table import STORIES
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import kill_test, killing, lives
from gpt_agent_fsm.testing import simulate as command
from gpt_agent_fsm.testing.simulation import BREAKING, NONE, Life, Troubles, live, simulate

BLOCK = 50


@pytest.mark.unmeasured
@pytest.mark.parametrize("first", range(0, 300, BLOCK))
@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_nothing_is_lost_or_done_twice_or_stuck(first, wire):
    for seed in range(first, first + BLOCK):
        life = simulate(seed, wire=wire)
        assert not life.violations, life.report()


@pytest.mark.unmeasured
@pytest.mark.parametrize("first", range(1000, 1200, BLOCK))
@pytest.mark.parametrize(
    "how", [{"keeps_keys": True}, {"keeps_keys": False}, {"wire": "responses"}], ids=["keys", "no keys", "responses"]
)
def test_an_unknown_outcome_is_reported_as_a_failed_request(first, how):
    for seed in range(first, first + BLOCK):
        life = simulate(seed, BREAKING, **how)
        assert not life.violations, life.report()


@pytest.mark.unmeasured
@pytest.mark.parametrize("first", range(2000, 2100, BLOCK))
@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_nothing_is_lost_or_done_twice_or_stuck_in_a_cluster(first, wire):
    for seed in range(first, first + BLOCK):
        life = simulate(seed, wire=wire, cluster=True)
        assert not life.violations, life.report()


@pytest.mark.unmeasured
def test_workers_of_a_cluster_are_killed_and_frozen_in_the_lives():
    journals = [simulate(seed, cluster=True).journal for seed in range(2000, 2060)]
    lines = [line for journal in journals for line in journal]
    assert any("CRASH of worker" in line for line in lines)
    assert any("CRASH of client" in line for line in lines)
    assert any("FREEZE of worker" in line for line in lines)


@pytest.mark.unmeasured
def test_the_same_holds_over_a_database():
    stores = []

    def make_store():
        stores.append(SQLStore("sqlite://"))
        return stores[-1]

    for seed in range(40):
        life = simulate(seed, make_store=make_store, wire=["assistants", "responses"][seed % 2])
        stores.pop().close()
        assert not life.violations, life.report()


@pytest.mark.unmeasured
def test_the_breaking_network_breaks_something():
    doubled = 0
    for seed in range(100):
        life = simulate(seed, BREAKING, keeps_keys=False)
        posts = Counter(
            line.split("/messages ")[1] for line in life.journal if "/messages {" in line and "fine" in line
        )
        doubled += any(count > 1 for count in posts.values()) or any("lands" in line for line in life.journal)
    assert doubled


class Blind:
    """A backend without reconciliation: it treats an unknown outcome as no effect."""

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
def test_every_second_life_has_troubles_and_the_others_are_as_without(wire):
    troubled = [seed for seed in range(20) if simulate(seed, wire=wire).journal[0].startswith("Troubles(")]
    assert 3 < len(troubled) < 17
    seed = next(seed for seed in range(20) if seed not in troubled)
    assert simulate(seed, wire=wire).rows == simulate(seed, wire=wire, troubles=NONE).rows


def test_the_troubles_lead_to_rows_that_no_other_life_takes():
    rows = sum((simulate(seed).rows for seed in range(150)), Counter())
    assert rows["the run takes too long"]
    assert rows["the run does not end although it must"]
    assert rows["the run waits for an approval"]
    assert rows["a cancel is refused"]
    assert rows["the text of a message is refused"]
    assert rows["a run is refused because of its message"]
    assert rows["a message or run is denied"]


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_a_process_that_loses_the_store_before_each_request_loses_nothing(wire):
    for seed in range(20):
        life = simulate(seed, wire=wire, troubles=Troubles(takeover=0.5, pause=0.5))
        assert not life.violations, life.report()
        assert sum("TAKEOVER" in line for line in life.journal) > 0 or life.requests < 20


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_a_hundred_lives_without_reconciliation_have_violations(wire):
    assert any(simulate(seed, wrap=Blind, wire=wire).violations for seed in range(100))


@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_a_seed_gives_the_same_life_each_time(wire):
    def without_keys(life):
        return [re.sub(r"[0-9a-f]{32}", "key", line) for line in life.journal]

    one, two = simulate(7, wire=wire), simulate(7, wire=wire)
    assert without_keys(one) == without_keys(two)
    assert one.crashes == two.crashes


def test_a_bad_life_is_reported_with_its_seed_and_journal():
    seed = next(seed for seed in range(100) if simulate(seed, wrap=Blind).violations)
    report = simulate(seed, wrap=Blind).report()
    assert report.startswith(f"seed {seed}\n")
    assert "/messages" in report


def test_the_command_simulates_many_lives_and_prints_the_rate(capsys):
    assert command.main(["--lives", "160", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("160 lives with ")
    assert "nothing lost, nothing twice, nothing stuck" in said


def test_the_command_fails_when_there_was_no_time_for_enough_lives(capsys):
    assert command.main(["--lives", "1000", "--seconds", "0", "--at-least", "1000", "--workers", "1"]) == 1
    assert "fewer lives than required: at least 1000" in capsys.readouterr().out


def test_a_life_counts_the_rows_of_the_table_that_it_takes():
    life = simulate(7)
    assert set(life.rows) <= set(STORIES)
    assert life.rows.total() > len(life.rows) > 10
    assert simulate(7).rows == life.rows
    assert simulate(8).rows != life.rows


def test_the_command_sums_the_rows_of_all_workers_and_names_those_never_taken(capsys, tmp_path):
    file = tmp_path / "rows.json"
    assert command.main(["--lives", "30", "--workers", "2", "--rows", str(file)]) == 0
    counts = json.loads(file.read_text())
    assert list(counts) == list(STORIES)
    rows = sum((simulate(seed).rows for seed in range(30)), Counter())
    assert counts == {name: rows[name] for name in STORIES}
    said = capsys.readouterr().out
    assert f"{len(rows)} of {len(STORIES)} rows of the table were taken; never:" in said
    assert [line.strip() for line in said.splitlines() if line.startswith("    ")] == [
        name for name in STORIES if not rows[name]
    ]


def test_the_command_reports_that_every_row_was_taken(capsys):
    command._print_missing_rows({"one": 1, "two": 2})
    assert capsys.readouterr().out == "2 of 2 rows of the table were taken\n"


def test_the_command_simulates_nothing_if_the_rows_cannot_be_written(capsys, tmp_path):
    with pytest.raises(SystemExit):
        command.main(["--rows", str(tmp_path / "missing" / "rows.json")])
    assert "there is no folder" in capsys.readouterr().err


def test_a_bad_life_ends_a_batch_with_its_report(monkeypatch):
    good, bad = Life(3, crashes=1, rows=Counter(a=1)), Life(4, ["the journal"], ["something is lost"], requests=2)
    monkeypatch.setattr(command, "simulate", lambda seed, *args, **kwargs: {3: good, 4: bad}[seed])
    tally = command._simulate_batch(command._Job(3, 5, True, "assistants", False))
    assert tally == command._Tally(2, 1, 2, Counter(a=1), "seed 4\nsomething is lost\n\nthe journal")


def test_the_command_prints_a_bad_life_and_fails(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "_in_step", lambda pool, jobs, workers: iter([command._Tally(1, report="seed 3")]))
    assert command.main(["--workers", "1", "--rows", str(tmp_path / "rows.json")]) == 1
    assert capsys.readouterr().out.endswith("seed 3\n")
    assert (tmp_path / "rows.json").exists()


def test_the_former_names_still_work(capsys):
    assert live is simulate
    assert killing.main is kill_test.main
    assert lives.main(["--lives", "1", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("1 lives with ")
