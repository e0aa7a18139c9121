"""The code that all APIs share besides HTTP: functions that read values and pages, fields to send, outcomes of runs.

A field that only one API has belongs in the folder of that API.
"""
