"""The machine decides what happens to a thread next.

It is pure: it knows no clock, OS thread, random number, log or HTTP.

`table` holds the rules. `advance` applies one of the `inputs` to a `snapshot`, and returns a new snapshot, `effects`
and events. `objects` defines the runs, messages and tool calls that snapshots and inputs contain.
"""
