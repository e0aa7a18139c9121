"""Classes that tools take as arguments."""

import dataclasses
import enum
from typing import Annotated, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import msgspec

from gpt_agent_fsm import ToolContext

T = TypeVar("T")
CONTEXT = ToolContext(agent=None, thread_id="thread_1", run_id="run_1", call_id="call_1")


class Unit(enum.Enum):
    """The scale of a temperature."""

    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class Priority(enum.IntEnum):
    HIGH = 3
    LOW = 1


@attrs.frozen
class Place:
    """A place on earth.

    Attributes:
        city: the name of the city.
        country: two letters.
    """

    city: str
    country: str = "NO"


@attrs.define
class Stop:
    place: Place
    minutes: Annotated[int, msgspec.Meta(ge=0)]
    _note: str | None = None
    id: int = attrs.field(init=False, default=7)


@dataclasses.dataclass
class Range:
    start: float
    end: float = 1.0
    tags: list[str] = dataclasses.field(default_factory=list)
    size: float = dataclasses.field(init=False, default=0)


class Options(TypedDict):
    query: str
    limit: NotRequired[Annotated[int, "How many at most."]]


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square", rename="camel"):
    side_length: float


@dataclasses.dataclass
class Card:
    kind: Literal["card"]
    number: str


@dataclasses.dataclass
class Cash:
    kind: Literal["cash"]
    amount: float


@attrs.frozen
class Tree:
    name: str
    children: "list[Tree]" = attrs.field(factory=list)


@attrs.frozen
class Positive:
    value: int = attrs.field(validator=attrs.validators.gt(0))


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]
