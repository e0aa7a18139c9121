"""Whether an object has the methods of an interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = ["offers"]

T = TypeVar("T")


def offers(thing: object, port: type[T]) -> TypeIs[T]:
    """Return whether an object has the methods of a runtime-checkable protocol. They may come from `__getattr__`.

    An object that wraps another one often passes calls on in `__getattr__`. Since Python 3.12, `isinstance` ignores
    such methods.
    """
    if isinstance(thing, port):
        return True
    names: frozenset[str] | None = getattr(port, "__protocol_attrs__", None)
    return names is not None and all(getattr(thing, name, None) is not None for name in names)
