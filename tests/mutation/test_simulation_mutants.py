"""Some protections that, when switched off, are noticed by a few lives. `simulation_mutants` tries all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.simulation_mutants import MUTANTS, WIRES

ROOT = Path(__file__).parents[2]
FEW = 600

QUICK = [
    "a status above 504 says that nothing took effect",
    "a page is the answer of the API to a poll",
    "a process that has lost the store sends",
    "the deadline is not checked at the last moment",
    "a server is believed to list the newest first",
    "a run that takes too long is not ended",
    "the start of a function is not saved",
    "a function does not wait for its approval",
]


def _output(code: str) -> str:
    """Run code in a process of its own, which a mutant may spoil."""
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.mutation.simulation_mutants import *; {code}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", QUICK)
def test_a_few_lives_notice_a_protection_that_is_switched_off(name, wire):
    assert _output(f"print(noticed_by({name!r}, {wire!r}, {FEW}))").startswith("seed ")


def test_every_mutant_fits_the_source_of_its_function():
    assert _output("print(sum(mutant.fits() for mutant in MUTANTS.values()))") == str(len(MUTANTS))
