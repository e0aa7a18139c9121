"""The built pages: signatures that people can read, and a search that finds the words that people use."""

import html
import json
import re
import subprocess
import sys

import pytest

from gpt_agent_fsm import __all__ as public
from tests.docs.pages import ROOT

pytest.importorskip("sphinx", reason="the extra docs is not installed")

from sphinx.search.en import SearchEnglish

SEARCHED = {
    "web": "web",
    "flask": "web",
    "gunicorn": "web",
    "cluster": "cluster",
    "pgbouncer": "cluster",
    "temporal": "cluster",
    "tenant": "cluster",
    "fork": "web",
    "batch": "batch",
    "worker": "worker",
    "notebook": "notebook",
    "jupyter": "notebook",
    "approval": "approvals",
    "inspector": "inspector",
    "dashboard": "inspector",
    "deployment": "deployment",
    "systemd": "deployment",
    "docker": "deployment",
    "backup": "deployment",
    "sigterm": "deployment",
    "logging": "logging",
    "opentelemetry": "telemetry",
    "prometheus": "telemetry",
    "metrics": "telemetry",
    "asyncio": "faq",
    "timeout": "faq",
    "retry": "faq",
    "stuck": "faq",
    "delete": "faq",
    "polling": "faq",
    "image": "parts",
    "stream": "streams",
    "langgraph": "comparison",
    "limits": "limits",
    "pytest": "test-your-bot",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built pages. A warning is an error, as in CI."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", ROOT / "docs", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page):
    return html.unescape(re.sub("<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_no_signature_shows_how_attrs_keeps_its_defaults(site):
    reference = text_of(site / "api.html")
    assert "heartbeat_interval: float = 1.0" in reference
    assert re.findall(r"attr_dict|NOTHING|\w+ at 0x[0-9a-f]+", reference) == []


def test_every_public_name_is_in_the_reference(site):
    reference = (site / "api.html").read_text(encoding="utf-8")
    described = set(re.findall(r'id="gpt_agent_fsm\.(?:\w+\.)*(\w+)"', reference))
    modules = {"errors", "events", "ports", "signals"}
    assert set(public) - modules <= described


def test_code_has_copy_buttons_and_the_reference_links_to_its_source(site):
    assert "copybutton.js" in (site / "index.html").read_text(encoding="utf-8")
    assert "_modules/gpt_agent_fsm/runtime.html#Runtime.start" in (site / "api.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", SEARCHED)
def test_the_search_finds_the_page_for_a_word(site, word):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    stem = SearchEnglish({}).stem(word)
    found = [index[terms].get(stem, []) for terms in ("terms", "titleterms")]
    pages = {index["docnames"][number] for each in found for number in ([each] if isinstance(each, int) else each)}
    assert SEARCHED[word] in pages
