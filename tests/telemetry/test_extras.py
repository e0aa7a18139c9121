"""The package of telemetry without the libraries that its modules need."""

import subprocess
import sys

import pytest

WITHOUT = (
    "import sys; sys.modules[{0!r}] = None; import gpt_agent_fsm.telemetry; from gpt_agent_fsm.telemetry import {1}"
)


@pytest.mark.parametrize(
    ("library", "module", "package"),
    [("opentelemetry", "otel", "opentelemetry-api"), ("prometheus_client", "prometheus", "prometheus-client")],
)
def test_a_module_whose_library_is_missing_names_its_extra(library, module, package):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(library, module)], capture_output=True, text=True, check=False
    )
    needs = f"ImportError: gpt_agent_fsm.telemetry.{module} needs {package}: pip install {package}"
    assert done.stderr.splitlines()[-1] == f'{needs} (the extra "{module}" of gpt-agent-fsm)'


def test_the_package_imports_neither_library():
    code = "import sys, gpt_agent_fsm.telemetry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"opentelemetry", "prometheus_client"} & set(loaded) == set()
