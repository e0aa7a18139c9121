"""The keys that this package adds to the WSGI environment of a request."""

WAITING = "gpt_agent_fsm.waiting"
"""A function that returns a context manager: a wait within it does not block an OS thread that other requests need."""

ITEM_LAG = "gpt_agent_fsm.item_lag"
"""The delay in seconds of listed items of responses, if a fault delays them."""
