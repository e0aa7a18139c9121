"""The engine drives the machine. It makes a driver for each thread, ticks the drivers, and makes requests.

A tick is one step of a driver: the driver passes inputs to the machine, saves the result, and makes a request. If no
handler must be called in between, it also makes the request that follows. `protocols` contains the interfaces that the
engine needs. `gpt_agent_fsm.ports` exports them for people who implement a backend, a store, a scheduler or a clock.
"""
