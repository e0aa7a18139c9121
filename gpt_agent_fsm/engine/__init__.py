"""The engine drives the machine: it decides which driver has which thread, ticks the drivers, and makes requests.

`protocols` has the interfaces that the engine needs. `gpt_agent_fsm.ports` exports these for people who implement a
backend, a store, a scheduler or a clock.
"""
