"""The code that all APIs share, besides HTTP. It reads values and pages, builds fields to send, and judges runs.

A field that only one API has belongs in the folder of that API.
"""
