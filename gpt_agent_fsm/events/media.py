"""Handles images and files as bytes: finds their MIME type and digest, and reads and writes data URLs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes

__all__ = ["IMAGE_REFUSALS", "data_of", "data_url", "default_name", "digest_of", "image_type", "mime_type"]

IMAGE_REFUSALS = frozenset(
    {
        "empty_image_file",
        "failed_to_download_image",
        "image_content_policy_violation",
        "image_file_not_found",
        "image_file_too_large",
        "image_parse_error",
        "image_too_large",
        "image_too_small",
        "invalid_base64_image",
        "invalid_image",
        "invalid_image_format",
        "invalid_image_url",
        "unsupported_image_media_type",
    }
)
"""The error codes with which servers refuse an image."""
_UNKNOWN = "application/octet-stream"


def image_type(data: bytes) -> str | None:
    """Return the MIME type of a PNG, JPEG, GIF or WebP image, by its first bytes. Return None for other data."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def mime_type(data: bytes, name: str | None = None) -> str:
    """Return the MIME type of a file. The name of the file decides.

    If the name does not show the type, the bytes decide.
    """
    by_name = mimetypes.guess_type(name)[0] if name else None
    return by_name or image_type(data) or ("application/pdf" if data.startswith(b"%PDF-") else _UNKNOWN)


def default_name(data: bytes) -> str:
    """Return a name for a file that has none. The name's extension shows the type of the file."""
    return "file" + (mimetypes.guess_extension(mime_type(data)) or "")


def digest_of(data: bytes) -> str:
    """Return the digest of data: `sha256:` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def data_url(mime: str, data: bytes) -> str:
    """Return a URL that contains the data."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def data_of(url: str) -> bytes | None:
    """Return the data that a data URL contains. Return None for any other URL, and for data that cannot be decoded."""
    head, comma, encoded = url.partition(",")
    if not comma or head[:5].lower() != "data:" or not head.lower().endswith(";base64"):
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
