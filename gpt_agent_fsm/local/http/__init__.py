"""The HTTP edge: the socket, the application, rows of routes, error responses, event streams, faults and recording.

This room speaks HTTP and knows no thread, run or response. It imports no other room.
"""
