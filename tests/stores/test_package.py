"""The package works without its extras, and names the missing one."""

import subprocess
import sys

import pytest

from gpt_agent_fsm import stores
from gpt_agent_fsm.stores import SQLStore


def test_importing_the_package_does_not_import_sqlalchemy():
    code = "import sys, gpt_agent_fsm.stores; print('sqlalchemy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False"]


def test_without_sqlalchemy_the_error_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.stores.sql")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImportError, match=r"SQLStore needs SQLAlchemy: pip install SQLAlchemy"):
        _ = stores.SQLStore


def test_another_missing_module_is_not_reported_as_sqlalchemy(monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.stores.sql")
    monkeypatch.setitem(sys.modules, "gpt_agent_fsm.stores.writer", None)
    with pytest.raises(ModuleNotFoundError, match=r"gpt_agent_fsm\.stores\.writer"):
        _ = stores.SQLStore


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'RedisStore'"):
        _ = stores.RedisStore


def test_without_psycopg_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r'psycopg for PostgreSQL: pip install "psycopg\[binary\]"'):
        SQLStore("postgresql://localhost/agents")
