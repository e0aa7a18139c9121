"""Models that tests can inspect and control."""

import threading

from gpt_agent_fsm.local import ModelRequest

PATIENCE = 10.0


class Recorder:
    """A model that records its requests, and plays one answer after the other."""

    def __init__(self, *answers):
        self.requests: list[ModelRequest] = []
        self._answers = list(answers)

    def __call__(self, request):
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Waiting:
    """A model that hangs until it is released, and signals when it was called."""

    def __init__(self, *, heeds_cancel=True):
        self.called = threading.Event()
        self.go = threading.Event()
        self.returned = threading.Event()
        self._heeds_cancel = heeds_cancel

    def __call__(self, request):
        self.called.set()
        # Longer than a test waits: a call that is not cancelled must not return in time by chance.
        (request.cancelled if self._heeds_cancel else self.go).wait(6 * PATIENCE)
        self.returned.set()
        return "too late"


class Speaker:
    """A model that hands out pieces of text one by one; other entries are called, raised, or the reply."""

    def __init__(self, *pieces):
        self._pieces = pieces

    def __call__(self, _request):
        return "".join(piece for piece in self._pieces if isinstance(piece, str))

    def stream(self, _request):
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            if callable(piece):
                piece()
            else:
                yield piece


class Gate:
    """A gate that a model waits for between its pieces."""

    def __init__(self):
        self.reached = threading.Event()
        self._open = threading.Event()

    def __call__(self):
        self.reached.set()
        assert self._open.wait(6 * PATIENCE)

    def open(self):
        self._open.set()
