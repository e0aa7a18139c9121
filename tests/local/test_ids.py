"""Ids, also in a process that was forked."""

import os

import pytest

from gpt_agent_fsm.local.ids import new_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_makes_other_ids_than_its_parent():
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, new_id("x").encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100).decode() != new_id("x")
    os.close(reading)
    os.close(writing)
