"""The interface of a backend that sends the text of a run while the model writes it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import attrs

from gpt_agent_fsm.engine.protocols.backend import RunRequest, Timeout, ToolOutputsRequest
from gpt_agent_fsm.machine.objects import Run

__all__ = ["Piece", "RunStream", "StreamingBackend"]


@attrs.frozen(kw_only=True)
class Piece:
    """A piece of the text of a message. All pieces of a message, joined, are its `content`.

    Attributes:
        position: the number with which the server continues the stream after this piece; None if the server cannot do
            this.
    """

    message_id: str
    text: str
    position: int | None = None


class RunStream(Protocol):
    """The text of one run, as the model writes it. One OS thread reads it. Any OS thread may close it."""

    @property
    def position(self) -> int | None:
        """The position after the server's last event, even if the event had no text.

        None if the stream cannot be continued.
        """
        ...

    def next_piece(self, *, silence: float) -> Piece | None:
        """Block until there is a piece, and return it. Return None at the end of the stream, and after `close`.

        Raises an `ApiError` if the connection fails, or if the server has sent nothing for `silence` seconds.
        """
        ...

    def resume(self, *, timeout: Timeout) -> bool:
        """Continue the stream after the last piece, when the connection has failed.

        Return False if the API cannot do this.

        Raises an `ApiError` as a method of `Backend` does.
        """
        ...

    def close(self) -> None:
        """Stop reading the stream. The run itself continues. Idempotent."""
        ...


@runtime_checkable
class StreamingBackend(Protocol):
    """An API that sends the text of a run while the model writes it. A backend need not implement this interface.

    If the server answers without a stream, each method returns None in place of the stream.
    """

    def create_run_streamed(self, request: RunRequest, *, timeout: Timeout) -> tuple[Run, RunStream | None]:
        """Start a run, as `Backend.create_run` does, and return it with its stream.

        The deadline of `timeout` applies only until the server's first event.
        """
        ...

    def submit_tool_outputs_streamed(
        self, request: ToolOutputsRequest, *, timeout: Timeout
    ) -> tuple[Run, RunStream | None]:
        """Answer a run's tool calls, as `Backend.submit_tool_outputs` does, and return the run with its stream.

        See `create_run_streamed`.
        """
        ...

    def open_stream(
        self, thread_id: str, run_id: str, *, handle: str | None, after: int | None, timeout: Timeout
    ) -> RunStream | None:
        """Return the stream of a run that was created as a stream. The stream begins after the position `after`.

        If `after` is None, the stream begins at its start. Return None if the API cannot open the stream of such
        a run. Raises an `ApiError` as a method of `Backend` does.
        """
        ...
