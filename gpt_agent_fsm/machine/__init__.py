"""The machine decides: a thread's table of rules, `advance`, and the plain data both speak in. Pure.

It knows no clock, OS thread, random number, log or HTTP. `table` holds the rules, `advance` applies one input to a
`snapshot`; `inputs` go in, `effects` and events come out; `objects` are the runs, messages and tool calls of both.
"""
