"""How the command line ends: its exit code after Ctrl-C, and the advice when an extra is missing."""

__all__ = ["HINT", "INTERRUPTED"]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
HINT = 'install what the command line needs with: pip install "gpt-agent-fsm[cli,local]"'
