"""The keys that the package `local.http` adds to the WSGI environment of a request."""

WAITING = "gpt_agent_fsm.waiting"
"""The key of a function that returns a context manager. A request that waits for a long time must wait inside this
context manager, so that other requests still have enough OS threads."""

ITEM_LAG = "gpt_agent_fsm.item_lag"
"""The key of a number of seconds, set by the fault `late-items`. A list of items leaves out the items of responses that
ended less than this number of seconds ago."""
