"""The code that all wires share besides HTTP: lenient readers of values and pages, fields to send, outcomes of runs.

A field that only one wire has belongs in the folder of that wire.
"""
