"""The command line `gpt-agent-fsm`, with commands such as `demo`, `chat` and `import-thread`.

It needs the extra `cli`. The demo and `serve` also need the extra `local`.
"""

from __future__ import annotations

import sys

from gpt_agent_fsm.cli.exits import HINT, INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with 0 for success, 1 for failure, 2 for a wrong command, or 130 for Ctrl-C."""
    try:
        from gpt_agent_fsm.cli.commands import cli  # noqa: PLC0415 - click may not be installed
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("click"):
            raise
        sys.exit(f"gpt-agent-fsm: {error.name} is not installed; {HINT}")
    except KeyboardInterrupt:
        # click is not loaded yet, so nothing else handles Ctrl-C here.
        sys.exit(INTERRUPTED)
    try:
        cli(prog_name="gpt-agent-fsm")
    except OSError as error:
        # For example a full disk behind a redirected output.
        where = "" if error.filename is None else f": {error.filename}"
        sys.exit(f"gpt-agent-fsm: {error.strerror or error}{where}")
