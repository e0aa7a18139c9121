"""The Assistants API, version 2: assistants, threads, messages, runs and steps.

`routes` lists the requests and `handlers` answers them. A field of an answer belongs in `objects`, an option that is
only checked and returned in `options`, a step of a run's life in `lifecycle`, and an event of a stream in `events`.
"""
