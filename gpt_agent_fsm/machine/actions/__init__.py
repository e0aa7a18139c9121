"""The verbs that the rows of the machine's table carry out on the working copy of a snapshot.

Each leaves the thread on exactly one request (made now, or set for later) or on none. One that returns an input has it
handled next.
"""
