"""Converts JSON values into the objects and pages of an API, leniently."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from cattrs.gen import make_dict_structure_fn
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter

from gpt_agent_fsm.backends.shared.values import lenient_id, lenient_mapping

__all__ = ["Page", "learn_page", "make_wire_converter"]


@attrs.frozen(kw_only=True)
class Page:
    """One page of a list.

    Attributes:
        has_more: True if there is a next page; None if the server does not say.
    """

    data: list[Any]
    has_more: bool | None = None

    @property
    def next_after(self) -> str | None:
        """The id after which the next page begins, if there may be a next page; otherwise None."""
        return self.data[-1].id if self.data and self.has_more is not False else None


def make_wire_converter(singles: tuple[type, ...], pages: Mapping[type, type]) -> MsgspecJsonConverter:
    """Return a converter for these classes. `pages` maps each class of pages to the class of its items.

    The converter raises `ValueError` for a value that is not an object or page, or that lacks a required id. A page's
    items without an id are left out, because they can be neither requested nor distinguished.
    """
    made = make_converter(detailed_validation=False)
    for single in singles:
        made.register_structure_hook(single, _object_reader(made, single))
    for page, item in pages.items():
        learn_page(made, page, item)
    return made


def learn_page(converter: MsgspecJsonConverter, page: type, item: type, *, whole: bool = False) -> None:
    """Teach a converter to read a page of items. If `whole` is True, an item without an id makes the page malformed."""
    read = _object_reader(converter, item)

    def read_page(value: Any, _: object) -> Any:
        data = value if isinstance(value, list) else lenient_mapping(value).get("data")
        if not isinstance(data, list):
            raise ValueError("it has no list of data")
        more = lenient_mapping(value).get("has_more")
        entries = [lenient_mapping(entry) for entry in data]
        items = [read(entry, item) for entry in entries if whole or lenient_id(entry.get("id"))]
        return page(data=items, has_more=more if isinstance(more, bool) else None)

    converter.register_structure_hook(page, read_page)


def _object_reader(converter: MsgspecJsonConverter, cls: type) -> Callable[[Any, Any], Any]:
    @functools.cache
    def structure() -> Callable[[Any, Any], Any]:
        """Return the function that cattrs writes for the class. It takes a while, and many classes are never read."""
        return make_dict_structure_fn(cls, converter, _cattrs_prefer_attrib_converters=True)

    def read(value: Any, _: object) -> Any:
        if not isinstance(value, dict):
            raise ValueError("it is not an object")
        return structure()(value, cls)

    return read
