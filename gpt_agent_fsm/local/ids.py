"""Ids and timestamps, in the form that all parts of the server use."""

import os
import random
import string
import time

_ALPHABET = string.ascii_letters + string.digits
# Ids must differ, but are not secret. The operating system seeds the generator, so that a restarted server repeats no
# id of its database. Asking the operating system for every letter would cost more than the rest of a request.
_random = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    # Otherwise a forked process would generate the same ids as its parent.
    os.register_at_fork(after_in_child=_random.seed)


def new_id(prefix: str, joint: str = "_") -> str:
    """Return a new id, such as `thread_` and 24 letters and digits. The ids of files have the `joint` "-"."""
    return f"{prefix}{joint}{''.join(_random.choices(_ALPHABET, k=24))}"


def now() -> int:
    """Return the current time in whole seconds since 1970, as the API writes it."""
    return int(time.time())
