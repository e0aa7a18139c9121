"""The exit code after Ctrl-C, and the advice if an extra is missing."""

__all__ = ["HINT", "INTERRUPTED"]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as is usual in shells."""
HINT = (
    "install what the command line needs with: pip install click rich flask waitress pyyaml SQLAlchemy jsonschema "
    'prompt_toolkit (the extras "cli" and "local" of gpt-agent-fsm)'
)
