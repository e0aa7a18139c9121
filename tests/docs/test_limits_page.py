"""The numbers on the page of limits are those of the code and of the pages that they were taken from."""

import re

import pytest

from gpt_agent_fsm import Settings
from tests.docs.pages import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [^|]+ \| [^|]+ \| [^|]+ \|$", line) and " default " not in line and " source " not in line
]
DEFAULTS = {row[1].strip("`"): row[2] for row in ROWS if row[1].startswith("`")}
MEASURED = [(row[0], row[1], row[2]) for row in ROWS if "benchmarks" in row[2] or "evidence" in row[2]]


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_that_of_the_setting(name):
    number = float(DEFAULTS[name].split()[0])
    assert number == getattr(Settings(), name)


@pytest.mark.parametrize(("what", "number", "source"), MEASURED)
def test_a_measurement_is_in_its_source(what, number, source):
    path = ROOT / "docs" / "decisions" / "evidence.md" if "evidence" in source else ROOT / "benchmarks" / "README.md"
    assert re.search(rf"(?<![\d,.]){re.escape(number)}(?![\d,.]*\d)", path.read_text(encoding="utf-8")), what


def test_the_tables_were_found():
    assert len(DEFAULTS) >= 10
    assert len(MEASURED) >= 15
