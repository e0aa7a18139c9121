"""The keys that this package adds to the WSGI environment of a request."""

WAITING = "gpt_agent_fsm.waiting"
"""A context manager to be called: who waits within it keeps no other request from an OS thread."""

ITEM_LAG = "gpt_agent_fsm.item_lag"
"""How many seconds late the items of responses are listed, if a fault delays them."""
