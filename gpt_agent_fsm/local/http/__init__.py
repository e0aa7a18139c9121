"""The HTTP edge: the socket, the application, rows of routes, error responses, event streams, faults and recording.

What belongs here speaks HTTP and knows no thread, run or response. It imports no other room.
"""
