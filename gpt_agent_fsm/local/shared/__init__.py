"""The code that both APIs share: storage, workers, live turns, validation, and the handling of HTTP requests.

Code belongs here if both `assistants/` and `responses/` need it. This package imports neither of them.
"""
