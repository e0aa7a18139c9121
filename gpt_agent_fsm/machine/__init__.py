"""The machine decides: the table of rules of a thread, `advance`, and the plain data that both use. It is pure.

It knows no clock, OS thread, random number, log or HTTP. `table` holds the rules. `advance` applies one of the `inputs`
to a `snapshot` and returns `effects` and events. `objects` are the runs, messages and tool calls in all of these.
"""
