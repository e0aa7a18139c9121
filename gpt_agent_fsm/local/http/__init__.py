"""The HTTP edge: the socket, the application, rows of routes, error responses, event streams, faults and recording.

This package handles HTTP only, and does not know threads, runs or responses. It imports no other package of `local`.
"""
