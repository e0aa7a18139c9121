"""The type of the options that take a path or a URL."""

import click

__all__ = ["FILE_OR_URL"]

FILE_OR_URL = click.Path(readable=False)
"""The shell completes paths. Nothing is checked."""
