"""Which of very many files and rows may not belong together, without asking for each by itself.

Names are sorted into groups, and each group has a sum on either side, of hashes that nobody outside
can foresee. Where the sums are the same, so are the names: a mistake comes once in 2^64 groups.
Knows names. Does not know files or rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

# With a million names some 120 of them share a group.
_GROUPS: Final = 1 << 13
_MASK: Final = _GROUPS - 1


def sums_of(pages: Iterable[Sequence[bytes]]) -> list[int]:
    """Return the sum of each group."""
    sums = [0] * _GROUPS
    for page in pages:
        for number in map(hash, page):
            sums[number & _MASK] += number
    return sums


class Suspects:
    """The names in whose groups two sides differ."""

    def __init__(self, one: list[int], other: list[int]) -> None:
        self._groups = {at for at in range(_GROUPS) if one[at] != other[at]}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __contains__(self, name: bytes) -> bool:
        return hash(name) & _MASK in self._groups

    def among(self, page: Iterable[tuple[bytes, int]]) -> list[int]:
        """Return the numbers of those of a page that are suspect."""
        groups = self._groups
        return [number for name, number in page if hash(name) & _MASK in groups]
