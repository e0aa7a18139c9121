"""The code besides HTTP that all APIs share: it reads values and pages, makes fields to send, and judges runs.

A field that only one API has belongs in the folder of that API.
"""
