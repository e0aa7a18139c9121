"""The functions that `--tools` names."""

import sys

import pytest

from gpt_agent_fsm.cli.chat.options import WrongOption
from gpt_agent_fsm.cli.chat.tools import importable_directory, load_tools

WEATHER = """
class Service:
    def now(self, city: str) -> str: return city

service = Service()
number = 7
described = {"type": "function", "name": "see"}
def later(city: str) -> str: return city
async def slow(): pass
"""


@pytest.fixture(autouse=True)
def modules(folder, monkeypatch):
    """Modules of the user: good ones, and some that cannot be imported."""
    texts = {
        "chat_weather": WEATHER,
        "chat_exits": "raise SystemExit(3)",
        "chat_fails": "raise RuntimeError('two\\nlines')",
        "chat_needs": "import no_such_package_at_all",
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    before = set(sys.modules)
    with importable_directory():
        yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    "values",
    [
        ["chat_weather:later", "chat_weather:service.now"],
        ["chat_weather:later,chat_weather:service.now"],
        ["chat_weather:later, service.now"],
        ["chat_weather:later,service.now", "chat_weather:later"],
    ],
)
def test_functions_are_found_by_module_and_name(values):
    assert [tool.name for tool in load_tools(values)] == ["later", "now"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("chat_weather", "write module:function, not 'chat_weather'"),
        ("chat_weather:", "write module:function, not 'chat_weather:'"),
        (":later", "write module:function, not ':later'"),
        ("chat_weather:later,", "write module:function, not ''"),
        ("no_such_module:later", "there is no module 'no_such_module' here or among the installed packages"),
        ("no_such.module:later", "there is no module 'no_such.module' here or among the installed packages"),
        ("chat_needs:x", "the module 'chat_needs' needs 'no_such_package_at_all', which is not installed"),
        ("chat_exits:x", "the module 'chat_exits' cannot be imported: SystemExit: 3"),
        ("chat_fails:x", "the module 'chat_fails' cannot be imported: RuntimeError: two lines"),
        ("chat_weather:latter", "the module 'chat_weather' has no 'latter'; is it 'later'?"),
        ("chat_weather:number", "chat_weather:number cannot be a tool: Assistant: a tool must be a function"),
        ("chat_weather:described", "chat_weather:described only describes a function; name the function itself"),
        ("chat_weather:slow", "chat_weather:slow cannot be a tool: the tool slow is asynchronous"),
    ],
)
def test_a_wrong_name_is_one_clear_line(value, sentence):
    with pytest.raises(WrongOption) as refused:
        load_tools([value])
    assert refused.value.message.startswith(f"--tools: {sentence}")
    assert "\n" not in refused.value.message


def test_two_functions_of_one_name_are_one_line(chat, folder):
    (folder / "chat_other.py").write_text("def later() -> str: return ''\n", encoding="utf-8")
    result = chat("--tools", "chat_weather:later,chat_other:later", lines=["Hello"])
    assert result.exit_code != 0
    [line] = result.stderr.splitlines()
    assert "later" in line
