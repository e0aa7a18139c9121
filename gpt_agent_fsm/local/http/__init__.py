"""The HTTP part of the server: socket, application, table of routes, error responses, streams, faults and recording.

This package handles HTTP only, and does not know threads, runs or responses. It imports no other package of `local`.
"""
