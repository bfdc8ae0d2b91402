"""The form body of an AWS query call, read field by field.

Knows the encoding and nothing about what the fields mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

# The only bytes of base64 that a form escapes. Ten megabytes of it go through here, and replacing
# whole patterns is many times faster than taking the text apart at each escape. None of the three
# can be part of another escape, so the order does not matter.
_BASE64_ESCAPES: Final = ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="))


class Form:
    """The fields of one call. A field given twice keeps its first value."""

    def __init__(self, body: bytes) -> None:
        self._fields: dict[str, bytes] = {}
        for field in body.split(b"&"):
            name, _, value = field.partition(b"=")
            if name:
                self._fields.setdefault(
                    _unescape(name).decode("utf-8", "replace"), _unescape(value)
                )

    def octets(self, name: str) -> bytes | None:
        """The value as it came, or None when the field is absent."""
        return self._fields.get(name)

    def text(self, name: str) -> str | None:
        """The value as text, or None when the field is absent."""
        value = self._fields.get(name)
        return None if value is None else value.decode("utf-8", "replace")

    def members(self, name: str) -> Iterator[str]:
        """The values of a list, in order: `Name.member.1`, `Name.member.2`, ..."""
        position = 1
        while (value := self.text(f"{name}.member.{position}")) is not None:
            yield value
            position += 1

    def pairs(self, name: str) -> Iterator[tuple[str, str]]:
        """The members of a list of `Name` and `Value`; a missing half is empty."""
        position = 1
        while True:
            key = self.text(f"{name}.member.{position}.Name")
            value = self.text(f"{name}.member.{position}.Value")
            if key is None and value is None:
                return
            yield key or "", value or ""
            position += 1


def _unescape(value: bytes) -> bytes:
    value = value.replace(b"+", b" ")
    if b"%" not in value:
        return value
    for escape, octet in _BASE64_ESCAPES:
        value = value.replace(escape, octet)
    return unquote_to_bytes(value) if b"%" in value else value
