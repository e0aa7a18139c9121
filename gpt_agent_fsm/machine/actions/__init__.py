"""The actions of the rows in the machine's table. They change the working copy of a snapshot.

After each action, the thread has at most one request, which is made now or at a later time. If an action returns an
input, that input is handled next.
"""
