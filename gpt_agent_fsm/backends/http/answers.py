"""The parts of an HTTP answer that decide its meaning."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["HttpAnswer"]


@attrs.frozen(kw_only=True)
class HttpAnswer:
    """An HTTP answer with any status.

    Attributes:
        url: the URL without its query, for a person to read.
        proxy: the address of the proxy that the answer came through, without credentials; "" if there was no proxy.
        resource: the first part of the path below the base URL, such as `/threads`.
        credentials: the name of the argument that the request's credentials come from.
    """

    method: str
    url: str
    proxy: str = ""
    resource: str = "/threads"
    credentials: str = "api_key (or OPENAI_API_KEY)"
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The id by which the server's own logs name the request."""
        return self.headers.get("x-request-id") or self.headers.get("apim-request-id")

    @property
    def hint(self) -> str:
        """The advice for the user if the base URL may be wrong."""
        return f"; the base URL may be wrong: base_url must be the part of the address before {self.resource}"

    @property
    def is_html(self) -> bool:
        """True for an HTML page, which no API sends."""
        return b"<html" in self.body[:2000].lower() or b"<!doctype html" in self.body[:200].lower()
