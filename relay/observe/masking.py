"""Addresses in the log under names that only the holder of a key can tell.

The same address has the same name in every line, so that one mail, or one recipient, can be
followed; nobody can go back from the name, or try addresses without the key.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

# More than RFC 5321 allows rather than less: what stands before an @ and looks like a part of it.
_ADDRESS: Final = re.compile(r"""(?:"[^"\s]+"|[^\s<>()\[\]:;,@\\"'=/]+)@[^\s<>():;,@\\"'/|]+""")
_OCTETS: Final = 10
_KNOWN: Final = 4096


class Mask:
    """Replaces every address, in whatever field it stands, SES's answers included."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # The same few are in all the lines of a mail.
        self._known = lru_cache(_KNOWN)(self._named)

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Mask an event on its way into the log."""
        for name, value in event.items():
            event[name] = self._masked(value)
        return event

    def name_of(self, address: str) -> str:
        """Return what the log has in place of an address, whatever the case of its letters."""
        octets = address.lower().encode(errors="backslashreplace")
        return f"addr-{blake2b(octets, key=self._key, digest_size=_OCTETS).hexdigest()}"

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._in_text(value) if "@" in value else value
        if isinstance(value, dict):
            return {self._masked(name): self._masked(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(item) for item in value]
        return value

    def _in_text(self, text: str) -> str:
        # A sentence that ends with an address has a full stop that is none of it.
        return _ADDRESS.sub(lambda found: self._known(found[0]), text)

    def _named(self, found: str) -> str:
        address = found.rstrip(".!?")
        return self.name_of(address) + found[len(address) :]
