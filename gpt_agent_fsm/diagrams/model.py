"""What a diagram of the machine shows, apart from its format: states, arrows, and where a thread is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from gpt_agent_fsm.diagrams.arrows import FRAME, Arrow, arrows
from gpt_agent_fsm.events import Event, StateChanged
from gpt_agent_fsm.machine.states import LIVE, RESTING, State

__all__ = ["Diagram", "diagram_of"]


@attrs.frozen
class Diagram:
    """The machine or a part of it, and the state of a thread if there is one. Every renderer draws such a diagram.

    Attributes:
        states: the states, in the order of the machine.
        arrows: the arrows between these states, and from the frame around the states with a run on the server.
        lit: the state of the thread; None if the diagram shows no thread.
        taken: the arrows that the thread has taken since it last left `idle` or `failed`.
        moves: the pairs of states between which the thread has moved since it last left `idle` or `failed`, in order.
            Each pair occurs once.
    """

    states: tuple[State, ...]
    arrows: tuple[Arrow, ...]
    lit: State | None = None
    taken: tuple[Arrow, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()

    @property
    def is_framed(self) -> bool:
        """True if the frame is drawn, because all states within it are drawn."""
        return set(LIVE) <= set(self.states)

    @property
    def title(self) -> str:
        """A sentence for people who cannot see the picture."""
        if self.lit is None:
            return "The states of a thread and the transitions between them"
        ways = ", ".join(f"{_words(source)} to {_words(dest)}" for source, dest in self.moves)
        return f"The thread is {_words(self.lit)}" + (f"; it moved from {ways}" if ways else "")


def diagram_of(lit: str | None = None, events: Iterable[Event] = (), states: Sequence[str] | None = None) -> Diagram:
    """Return the diagram of the machine.

    `lit` is the state of a thread, and `events` are the thread's events. With `states`, the diagram has only the arrows
    between these states. If one of these arrows starts at the frame, all states within the frame are in the diagram.
    Raises `ValueError` for a name that is not the name of a state, and if `states` is empty.
    """
    drawn = set(State if states is None else map(_state, states))
    if not drawn:
        raise ValueError(f"a part of the machine needs at least one of the states {', '.join(State)}")
    inner = {*drawn, FRAME} if drawn & set(LIVE) else drawn
    found = tuple(arrow for arrow in arrows() if arrow.source in inner and arrow.dest in inner)
    if any(arrow.source == FRAME for arrow in found):
        drawn |= set(LIVE)
    moves = _last_moves(events)
    taken = {_arrow_of(move, found) for move in moves}
    order = tuple(arrow for arrow in found if arrow in taken)
    here = None if lit is None else _state(lit)
    pairs = tuple(dict.fromkeys((move.source, move.dest) for move in moves))
    return Diagram(tuple(state for state in State if state in drawn), found, here, order, pairs)


def _state(name: str) -> State:
    if name not in list(State):
        raise ValueError(f"{name!r} is not a state; the states are {', '.join(State)}")
    return State(name)


def _last_moves(events: Iterable[Event]) -> list[StateChanged]:
    """Return the changes of state since the thread last left `idle` or `failed`."""
    moves: list[StateChanged] = []
    for event in events:
        if isinstance(event, StateChanged):
            moves = [] if event.source in RESTING else moves
            moves.append(event)
    return moves


def _arrow_of(move: StateChanged, found: Sequence[Arrow]) -> Arrow | None:
    """Return the arrow for a change of state. An arrow from the state itself is preferred to one from the frame."""
    # The arrows from the frame are the last ones.
    sources = {move.source, FRAME} if move.source in LIVE else {move.source}
    fitting = (arrow for arrow in found if arrow.source in sources and arrow.dest == move.dest)
    return next((arrow for arrow in fitting if any(move.trigger in cause.inputs for cause in arrow.causes)), None)


def _words(name: str) -> str:
    return name.replace("_", " ")
