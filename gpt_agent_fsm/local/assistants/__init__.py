"""The Assistants API, version 2: assistants, threads, messages, runs and steps.

`routes` lists the requests, and `handlers` answers them. `objects` builds the API's objects, and `options` defines the
options that clients may send. `lifecycle` changes the status of runs, and `events` yields the events of streams.
"""
