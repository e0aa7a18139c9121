"""What all wires share beside HTTP: lenient readers of values and pages, what is sent, and what a run's end means.

A field that only one wire has belongs into the folder of that wire.
"""
