"""A set of texts of which only digests are kept, so that a million of them cost some 9 MiB.

Knows digests. Does not know what the texts are, and cannot tell them.
"""

from __future__ import annotations

import os
import zlib
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable
from hashlib import blake2b
from mmap import mmap
from typing import Final

_DIGEST: Final = 8  # octets
_KEY: Final = 16
_CHECKSUM: Final = 4
# Sorted arrays of some hundred digests: adding one moves a few kilobytes.
_BUCKET_BITS: Final = 12
_SHIFT: Final = 8 * _DIGEST - _BUCKET_BITS


class Digests:
    """The digests of a set of texts.

    A text that is in the set is always found. Of others one in 2^64 is taken for a given one of
    them: with a million in the set, one in 18 million million.
    """

    def __init__(self) -> None:
        # Of our own making, so that nobody can find texts that are taken for others.
        self._key = os.urandom(_KEY)
        self._buckets = [array("Q") for _ in range(1 << _BUCKET_BITS)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, text: str) -> bool:
        """Whether the text may be in the set; never False for one that is."""
        if not self._count:
            return False
        digest = self._digest(text.encode())
        bucket = self._buckets[digest >> _SHIFT]
        at = bisect_left(bucket, digest)
        return at < len(bucket) and bucket[at] == digest

    def fill(self, texts: Iterable[bytes]) -> None:
        """Add many texts that are not in the set, as UTF-8."""
        buckets, digest_of = self._buckets, self._digest
        for text in texts:
            digest = digest_of(text)
            buckets[digest >> _SHIFT].append(digest)
        for bucket in buckets:
            # In its place: else as much again is left of the heap, in pieces.
            bucket[:] = array("Q", sorted(bucket))
        self._count = sum(map(len, buckets))

    def add(self, text: str) -> None:
        """Add a text that is not in the set; one whose digest is there already counts apart."""
        digest = self._digest(text.encode())
        insort(self._buckets[digest >> _SHIFT], digest)
        self._count += 1

    def remove(self, text: str) -> None:
        """Remove a text, if it is in the set."""
        digest = self._digest(text.encode())
        bucket = self._buckets[digest >> _SHIFT]
        at = bisect_left(bucket, digest)
        if bucket[at : at + 1] == array("Q", (digest,)):
            del bucket[at]
            self._count -= 1

    def dump(self) -> mmap:
        """Return the set as octets that say themselves whether they are whole."""
        # Not of the heap, which would keep that much for good: of a large set it is as large again.
        octets = mmap(-1, _CHECKSUM + _KEY + _DIGEST * self._count)
        at = _CHECKSUM + _KEY
        octets[_CHECKSUM:at] = self._key
        for bucket in self._buckets:
            end = at + _DIGEST * len(bucket)
            octets[at:end] = memoryview(bucket).cast("B")
            at = end
        with memoryview(octets) as whole, whole[_CHECKSUM:] as rest:
            checksum = zlib.crc32(rest)
        octets[:_CHECKSUM] = checksum.to_bytes(_CHECKSUM, "big")
        return octets

    @classmethod
    def loaded(cls, octets: bytes) -> Digests:
        """Return the set that was dumped on this machine; raise ValueError if it is not whole."""
        checksum, rest = octets[:_CHECKSUM], octets[_CHECKSUM:]
        if len(rest) % _DIGEST or checksum != zlib.crc32(rest).to_bytes(_CHECKSUM, "big"):
            raise ValueError("it is not whole")
        digests = cls()
        digests._key = rest[:_KEY]
        for digest in array("Q", rest[_KEY:]):
            digests._buckets[digest >> _SHIFT].append(digest)
        digests._count = sum(map(len, digests._buckets))
        return digests

    def _digest(self, text: bytes) -> int:
        return int.from_bytes(blake2b(text, digest_size=_DIGEST, key=self._key).digest(), "big")
