"""The code that all APIs share, besides HTTP.

It reads single values, pages of lists, and the outcomes of runs. It also builds fields of requests.

A field that only one API has belongs in the folder of that API.
"""
