"""The application of the page about web applications works in a process that was forked from the one that loaded it."""

import os
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, blocks

APPLICATION = next(block.body for block in blocks(ROOT / "docs" / "web.md") if block.kind == "python")
FORKED = """
import os

if not os.fork():
    print(app.test_client().post("/users/ann/messages", json={"text": "Hello"}).status_code, flush=True)
    made and made[0].close()
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize(
    ("before", "status"),
    [pytest.param("", "200", id="made at the first request"), pytest.param("runtime()", "500", id="before the fork")],
)
@pytest.mark.usefixtures("environment")
def test_the_runtime_works_in_a_forked_process_only_if_it_was_created_there(before, status, tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", APPLICATION + before + FORKED]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env={**os.environ}
    )
    assert done.stdout == f"{status}\n", done.stderr
    assert ("UsedAfterFork" in done.stderr) == (status == "500")
