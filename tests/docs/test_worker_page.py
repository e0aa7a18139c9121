"""The worker of the page about workers ends when it is asked to, and loses no job."""

import os
import runpy
import signal
import subprocess
import sys
import threading

import pytest

from gpt_agent_fsm.local import LocalServer
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "worker.md"
SCRIPT = next(block.body for block in blocks(PAGE) if block.file == "worker.py")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
@pytest.mark.usefixtures("environment")
def test_a_stopped_worker_leaves_a_job_that_the_next_one_finishes(number, status, tmp_path, monkeypatch):
    asked, may_answer, questions = threading.Event(), threading.Event(), []

    def model(request):
        questions.append(request.user_message)
        asked.set()
        assert may_answer.wait(timeout=60)
        return "Yes."

    (tmp_path / "worker.py").write_text(SCRIPT, encoding="utf-8")
    inbox, outbox = tmp_path / "inbox", tmp_path / "outbox"
    inbox.mkdir()
    outbox.mkdir()
    (inbox / "1.txt").write_text("Is it late?", encoding="utf-8")
    with LocalServer(model, api_key="any-key") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        worker = subprocess.Popen([sys.executable, "worker.py"], env=os.environ)
        assert asked.wait(timeout=60)
        worker.send_signal(number)
        assert worker.wait(timeout=60) == status
        assert (inbox / "1.txt").exists()
        may_answer.set()
        page = runpy.run_path("worker.py")
        with page["open_runtime"]() as runtime:
            page["work"](runtime, page["INBOX"] / "1.txt")
    assert (outbox / "1.txt").read_text(encoding="utf-8") == "Yes."
    assert list(inbox.iterdir()) == []
    assert questions == ["Is it late?"]
