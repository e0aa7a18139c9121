"""The programs of the compose file, started as it says, but without Docker."""

import configparser
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

from gpt_agent_fsm import Settings
from gpt_agent_fsm.local import LocalServer
from tests.cluster.test_gunicorn import Program, model, say, users_of
from tests.docs.pages import ROOT

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

FOLDER = ROOT / "examples" / "cluster"
GIVEN = {"POSTGRES_PASSWORD": "any-password", "OPENAI_API_KEY": "any-key"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])(.*?))?\}")


def filled(text, given):
    """Return a text with its variables replaced as Docker Compose does it."""

    def value(found):
        name, sign, words = found.groups()
        assert given.get(name) or sign == "-", f"{name}: {words}"
        return given.get(name) or words

    return _VARIABLE.sub(value, text)


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


@pytest.fixture
def image(tmp_path):
    """The folder of the image in which the programs are started: the files that the Dockerfile copies there."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    (copied,) = (line.split()[1:-1] for line in lines[lines.index("WORKDIR /app") :] if line.startswith("COPY"))
    folder = tmp_path / "app"
    folder.mkdir()
    for name in copied:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def start(services, image, url):
    """Start a program of a service as in its container, with other addresses."""
    with LocalServer(model) as server, contextlib.ExitStack() as stack:
        given = GIVEN | {"OPENAI_BASE_URL": server.base_url}

        def started(service):
            set_here = {name: filled(text, given) for name, text in services[service]["environment"].items()}
            elsewhere = {"GPT_AGENT_STORE": url, "PYTHONPATH": str(ROOT), "HOME": str(image.parent)}
            environment = {**os.environ, **set_here, **elsewhere}
            return stack.enter_context(Program(_here(services[service]["command"]), environment, image))

        yield started


def _here(command):
    """Return a command as arguments of this Python, with free ports of this computer only."""
    words = command if isinstance(command, str) else shlex.join(command)
    for there, here in (("0.0.0.0:8000", "127.0.0.1:0"), ("--host=0.0.0.0", "--host=127.0.0.1"), ("=8081", "=0")):
        words = words.replace(there, here)
    program, _, rest = words.partition(" ")
    return f"-m {program.replace('-', '_')} {rest}"


def test_the_programs_of_the_compose_file_answer_and_are_healthy(services, start):
    workers = [start("worker") for _ in range(services["worker"]["deploy"]["replicas"])]
    lines = [worker.line_with("Its health is at") for worker in workers]
    users = users_of(start("web"))
    answers = [say(users, name, "Where is my order?") for name in ("ann", "bob")]
    assert [each.json().get("answer") for each in answers] == ['It is "on its way".'] * 2
    kind, *check = services["worker"]["healthcheck"]["test"]
    assert kind == "CMD"
    for line in lines:
        at = line.partition("Its health is at ")[2].strip()
        command = [word.replace("http://127.0.0.1:8081/", at.removesuffix("healthz")) for word in check]
        assert command != check
        subprocess.run([sys.executable, *command[1:]], check=True, timeout=60)


def test_a_healthy_program_is_given_time_to_end_its_requests(services):
    """A worker waits for its requests in flight, at most for `receive_timeout`."""
    seconds = int(services["worker"]["stop_grace_period"].removesuffix("s"))
    graceful = int(re.search(r"--graceful-timeout (\d+)", services["web"]["command"])[1])
    assert Settings().receive_timeout < graceful < seconds


def test_the_image_contains_what_it_installs():
    copied = re.findall(r"^COPY (.+) /src/", (FOLDER / "Dockerfile").read_text(), re.M)
    assert all((ROOT / name).exists() for names in copied for name in names.split())
    extras = re.search(r"/src\[(.+?)\]", (FOLDER / "Dockerfile").read_text())[1].split(",")
    known = configparser.ConfigParser()
    known.read(ROOT / "setup.cfg")
    assert set(extras) <= set(known["options.extras_require"])


@pytest.mark.parametrize("name", GIVEN)
def test_a_value_that_nobody_has_set_is_asked_for(services, name):
    texts = [*services["worker"]["environment"].values(), *services["database"]["environment"].values()]
    with pytest.raises(AssertionError, match=f"{name}: set"):
        [filled(text, GIVEN | {name: ""}) for text in texts]
