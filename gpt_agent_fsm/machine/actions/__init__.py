"""The actions of the rows in the machine's table. They change the working copy of a snapshot.

Each action leaves the thread with at most one request (made now, or set for later). If an action returns an input, that
input is handled next.
"""
