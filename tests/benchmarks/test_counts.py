"""The counts of a turn are those on record. `python -m benchmarks counts --write` renews the record."""

import json
import os

import pytest

from benchmarks.counts import RECORD, counted, versions

KNOWN = json.loads(RECORD.read_text(encoding="utf-8"))
TOLERANCE = 0.05


def named(*beginnings):
    return [name for name in KNOWN["counts"] if name.startswith(beginnings)]


@pytest.fixture(scope="module")
def counts():
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "GPT_AGENT_")):
                patch.delenv(name)
        return counted()


def test_the_same_things_are_counted_as_on_record(counts):
    assert list(counts) == list(KNOWN["counts"])


@pytest.mark.parametrize("name", named("requests", "commits"))
def test_a_turn_makes_as_many_requests_and_commits_as_on_record(counts, name):
    assert counts[name] == KNOWN["counts"][name]


@pytest.mark.parametrize("name", named("own", "bytes"))
def test_a_turn_calls_and_writes_as_much_as_on_record(counts, name):
    assert counts[name] == pytest.approx(KNOWN["counts"][name], rel=TOLERANCE)


@pytest.mark.skipif(versions() != KNOWN["versions"], reason="the record was made with other versions of the packages")
@pytest.mark.parametrize("name", named("all"))
def test_a_turn_calls_as_many_functions_of_all_packages_as_on_record(counts, name):
    assert counts[name] == pytest.approx(KNOWN["counts"][name], rel=TOLERANCE)
