"""What both wires share: storage, workers and live turns, validation of bodies, and one transaction per request.

What belongs here is needed by `assistants/` and by `responses/` alike. It imports neither of them.
"""
