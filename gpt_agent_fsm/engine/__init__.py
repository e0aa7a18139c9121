"""The engine drives the machine: who drives which thread, one thread's ticks, one request, what is due when.

`protocols` says what it needs from the outside; `gpt_agent_fsm.ports` hands that on to whoever implements it.
"""
