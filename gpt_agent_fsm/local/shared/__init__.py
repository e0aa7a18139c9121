"""The code that both APIs share: storage, workers and live turns, validation, and one transaction per request.

Code belongs here if both `assistants/` and `responses/` need it. It imports neither of them.
"""
