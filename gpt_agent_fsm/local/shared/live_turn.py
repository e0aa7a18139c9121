"""One turn of a run or response, as those see it who follow it while it is made."""

import threading
from collections.abc import Generator, Iterator

from gpt_agent_fsm.local import ids


class LiveTurn:
    """What a model says in one turn, from the request that asks for it until it is stored; for use by any thread.

    `streamed` tells whether somebody wants it piece by piece. `message_id` and `step_id` are the ids its message and
    its step will have when they are stored: who follows the turn is told of them before.
    """

    def __init__(self, *, streamed: bool = False) -> None:
        self.streamed = streamed
        self.message_id = ids.new_id("msg")
        self.step_id = ids.new_id("step")
        self.chunks: list[str] = []
        """The pieces of the answer so far; a turn that is not streamed has none."""
        self.first_chunk_at: int | None = None
        """When the first piece came, in seconds since 1970."""
        self._changed = threading.Condition()
        self._begun = False
        self._over = False

    def begin(self) -> None:
        """Tell those who follow that the model is being asked."""
        with self._changed:
            self._begun = True
            self._changed.notify_all()

    def add_chunk(self, chunk: str) -> None:
        """Hand a piece of the answer to those who follow."""
        with self._changed:
            self.first_chunk_at = self.first_chunk_at or ids.now()
            self.chunks.append(chunk)
            self._changed.notify_all()

    def end(self) -> None:
        """Tell those who follow that what came of the turn is stored, or that nothing will come of it. Idempotent."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until the turn has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._over)

    def follow(self, patience: float) -> Iterator[str | None]:
        """Yield `""` when the turn has begun, then each piece of the answer; ends with the turn.

        `None` is yielded whenever nothing has come for `patience` seconds.
        """
        if (yield from self._await_begin(patience)):
            yield ""
        heard, over = 0, False
        while not over:
            fresh, over = self._news(heard, patience)
            heard += len(fresh)
            yield from fresh
            if not fresh and not over:
                yield None

    def _news(self, heard: int, patience: float) -> tuple[list[str], bool]:
        """Return the pieces beyond those that were heard, and whether the turn has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or len(self.chunks) > heard, patience)
            return self.chunks[heard:], self._over

    def _await_begin(self, patience: float) -> Generator[None, None, bool]:
        """Yield as `follow` does until the turn has begun or ended; return whether it has begun."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._begun or self._over, patience):
                    return self._begun
            yield None
