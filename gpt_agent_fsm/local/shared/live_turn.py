"""One turn of a run or response (one call of the model), for clients that follow it while it is in progress."""

import threading
from collections.abc import Generator, Iterator

from gpt_agent_fsm.local import ids
from gpt_agent_fsm.local.shared.storage import Doc


class LiveTurn:
    """The model's text of one turn, from the client's request until the text is stored. May be used by any OS thread.

    `streamed` is True if a client wants the text chunk by chunk. `message_id` and `step_id` are the ids with which the
    turn's message and step will be stored; a client that follows the turn sees these ids earlier.
    """

    def __init__(self, *, streamed: bool = False) -> None:
        self.streamed = streamed
        self.message_id: str = ids.new_id("msg")
        self.step_id: str = ids.new_id("step")
        self.chunks: list[str] = []
        """The chunks of the answer so far; a turn that is not streamed has none."""
        self.result: Doc | None = None
        """The run or response as it is at the end of the turn; `None` if it must be read from the storage."""
        self.first_chunk_at: int | None = None
        """The time of the first chunk, in whole seconds since 1970; `None` if there is none."""
        self._changed = threading.Condition()
        self._begun = False
        self._over = False

    def begin(self) -> None:
        """Wake the followers (the clients' streams), because the model is being asked now."""
        with self._changed:
            self._begun = True
            self._changed.notify_all()

    def add_chunk(self, chunk: str) -> None:
        """Pass a chunk of the answer to the followers, which are the clients' streams."""
        with self._changed:
            self.first_chunk_at = self.first_chunk_at or ids.now()
            self.chunks.append(chunk)
            self._changed.notify_all()

    def end(self) -> None:
        """Wake the followers (the clients' streams), because the turn has ended, with or without a result.

        Idempotent.
        """
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until the turn has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._over)

    def follow(self, patience: float) -> Iterator[str | None]:
        """Yield "" when the turn has begun, and then each chunk of the answer. Return when the turn has ended.

        If no chunk comes for `patience` seconds, yield None.
        """
        if (yield from self._await_begin(patience)):
            yield ""
        received, over = 0, False
        while not over:
            new, over = self._news(received, patience)
            received += len(new)
            yield from new
            if not new and not over:
                yield None

    def _news(self, received: int, patience: float) -> tuple[list[str], bool]:
        """Return the chunks after the first `received` ones, and whether the turn has ended.

        Waits up to `patience` seconds for a chunk or the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or len(self.chunks) > received, patience)
            return self.chunks[received:], self._over

    def _await_begin(self, patience: float) -> Generator[None, None, bool]:
        """Yield None, as `follow` does, until the turn has begun or ended. Return whether it has begun."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._begun or self._over, patience):
                    return self._begun
            yield None
