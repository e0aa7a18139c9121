"""The parts of an HTTP answer that its meaning depends on."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["HttpAnswer"]


@attrs.frozen(kw_only=True)
class HttpAnswer:
    """An HTTP answer, whatever its status.

    Attributes:
        url: without its query, for a person to read.
        proxy: the proxy it came through, without credentials, or "".
        resource: where the API begins below the base URL, such as `/threads`.
    """

    method: str
    url: str
    proxy: str = ""
    resource: str = "/threads"
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The id of this request in the server's own logs."""
        return self.headers.get("x-request-id") or self.headers.get("apim-request-id")

    @property
    def hint(self) -> str:
        """The advice to add if the base URL may be wrong."""
        return f"; the base URL may be wrong: base_url must end where {self.resource} begins"

    @property
    def is_html(self) -> bool:
        """True for a page made for people, which no API sends."""
        return b"<html" in self.body[:2000].lower() or b"<!doctype html" in self.body[:200].lower()
