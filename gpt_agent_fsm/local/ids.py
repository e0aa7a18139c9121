"""Ids and timestamps, as all rooms of the server write them."""

import os
import random
import string
import time

_ALPHABET = string.ascii_letters + string.digits
# Ids must differ, but are not secret. Seeded by the operating system, so that a restart on the same file repeats
# none; asking it for every letter would cost more than the rest of a request.
_random = random.Random()  # noqa: S311
if hasattr(os, "register_at_fork"):
    # Otherwise a child would continue with the numbers of its parent.
    os.register_at_fork(after_in_child=_random.seed)


def new_id(prefix: str) -> str:
    """Return a new id, such as `thread_` and 24 letters and digits."""
    return f"{prefix}_{''.join(_random.choices(_ALPHABET, k=24))}"


def now() -> int:
    """Return the time as the API writes it: whole seconds since 1970."""
    return int(time.time())
