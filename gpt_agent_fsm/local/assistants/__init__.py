"""The Assistants API, version 2: assistants, threads, messages, runs and steps.

`routes` lists the requests, and `handlers` answers them. `objects` has the fields of the API's objects, and `options`
has the options that clients may send. `lifecycle` changes the status of runs, and `events` has the events of streams.
"""
