"""Servers of conversations and responses that others have written, each in front of the scripted model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import frozen

from tests.interop.programs import free_port, running
from tests.interop.upstream import MODEL, Upstream

BACKGROUND, FOREGROUND = "background", "foreground"
"""The ids of two assistants: one that answers in the background, as all other tests do, and one that does not."""


@frozen
class Server:
    """A server that may be installed.

    Attributes:
        program: what it is started by.
        install: how to get it.
        start: runs the program in a folder, in front of a model, while the context lasts; gives its base URL.
        api_key: what it wants to be told, or None.
        model: what it calls the model.
        assistant_id: `BACKGROUND` or `FOREGROUND`, whichever it gets along with.
    """

    name: str
    program: str
    install: str
    start: Callable[[Path, Path, Upstream], contextlib.AbstractContextManager[str]]
    api_key: str | None
    model: str
    assistant_id: str = BACKGROUND


@contextlib.contextmanager
def _agentic_api(program: Path, home: Path, upstream: Upstream) -> Iterator[str]:
    port = free_port()
    options = {
        "--llm-api-base": upstream.address,
        "--openai-api-key": "none",
        "--gateway-host": "127.0.0.1",
        "--gateway-port": str(port),
        "--db-url": f"sqlite://{home}/data.db?mode=rwc",
    }
    command = [program, "--skip-llm-ready-check", *(word for option in options.items() for word in option)]
    with running(command, home=home, port=port, ready="/health"):
        yield f"http://127.0.0.1:{port}/v1"


@contextlib.contextmanager
def _ogx(program: Path, home: Path, upstream: Upstream) -> Iterator[str]:
    port, config = free_port(), home / "config.yaml"
    # JSON is YAML.
    config.write_text(json.dumps(_ogx_config(home, port, upstream)))
    with running([program, "run", config, "--insecure", "--port", str(port)], home=home, port=port, ready="/v1/health"):
        yield f"http://127.0.0.1:{port}/v1"


def _ogx_config(home: Path, port: int, upstream: Upstream) -> dict[str, object]:
    def table(name: str) -> dict[str, str]:
        return {"backend": "sql", "table_name": name}

    return {
        "version": 2,
        "distro_name": "interop",
        "apis": ["responses", "inference", "tool_runtime", "vector_io", "files"],
        "providers": {
            "inference": [
                {
                    "provider_id": "scripted",
                    "provider_type": "remote::openai",
                    "config": {"api_key": "none", "base_url": upstream.base_url},
                }
            ],
            "responses": [
                {
                    "provider_id": "builtin",
                    "provider_type": "inline::builtin",
                    "config": {"persistence": {"responses": table("responses")}},
                }
            ],
            "files": [
                {
                    "provider_id": "localfs",
                    "provider_type": "inline::localfs",
                    "config": {"storage_dir": str(home / "files"), "metadata_store": table("files")},
                }
            ],
            "tool_runtime": [],
            "vector_io": [],
        },
        "storage": {
            "backends": {
                "kv": {"type": "kv_sqlite", "db_path": str(home / "kv.db")},
                "sql": {"type": "sql_sqlite", "db_path": str(home / "sql.db")},
            },
            "stores": {
                "metadata": {"backend": "kv", "namespace": "registry"},
                "inference": table("inference"),
                "conversations": table("conversations"),
                "prompts": table("prompts"),
                "connectors": table("connectors"),
            },
        },
        "registered_resources": {
            "models": [{"model_id": MODEL, "provider_id": "scripted", "provider_model_id": MODEL, "model_type": "llm"}],
            "vector_stores": [],
        },
        "server": {"host": "127.0.0.1", "port": port},
    }


AGENTIC_API = Server(
    name="agentic-api",
    program="agentic-server",
    install="pip install agentic-api==0.9.0",
    start=_agentic_api,
    api_key="none",
    model=MODEL,
)

OGX = Server(
    name="ogx",
    program="ogx",
    install="pip install ogx==1.5.0, with Python 3.12 or later",
    start=_ogx,
    api_key=None,
    model=f"scripted/{MODEL}",
    # It calls a response in the background completed before it has written it down, and may then miss its own calls.
    assistant_id=FOREGROUND,
)
