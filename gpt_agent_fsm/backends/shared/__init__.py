"""The code that all APIs share, besides HTTP. It reads values, pages and outcomes of runs, and builds fields to send.

A field that only one API has belongs in the folder of that API.
"""
