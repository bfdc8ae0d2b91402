"""What a disk may look like after the power has gone: one image for each choice of what got there.

Of what is not durable: nothing, everything, everything with the last block torn, and some seeded
subsets; each with the names that are not durable, and without them (R12).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Final

from tests.power.disk import Change, Content, Directory, Disk, File

SUBSETS: Final = 30
_SECTOR: Final = 512
# How much of what is not durable gets there: little of it, half of it, most of it.
_SHARES: Final = (0.15, 0.5, 0.85)


@dataclass(frozen=True)
class Image:
    """One state of a disk: its files, by their paths, and its directories."""

    why: str
    files: dict[str, Content]
    directories: tuple[str, ...]

    @property
    def digest(self) -> bytes:
        """What tells it from any other."""
        said = blake2b(repr(self.directories).encode(), digest_size=16)
        for path, content in sorted(self.files.items()):
            said.update(f"{path} {len(content.octets)} {content.length} ".encode())
            said.update(content.octets)
        return said.digest()

    def write(self, directory: Path) -> None:
        """Put it on a real disk."""
        for path in self.directories:
            (directory / path).mkdir(mode=0o700)
        for path, content in self.files.items():
            with (directory / path).open("wb") as file:
                file.write(content.octets)
                file.truncate(content.length)


def images(disk: Disk, seed: str, subsets: int = SUBSETS) -> Iterator[Image]:
    """Yield the images of a disk as it is now, no choice twice."""
    pending = [change for file in _files(disk.root) for change in file.pending]
    names = (True, False) if _has_pending_names(disk.root) else (True,)
    seen = set()
    for why, got in _choices(pending, seed, subsets):
        if got in seen:
            continue
        seen.add(got)
        for is_present in names:
            said = why
            if len(names) > 1:
                said += f", names {'present' if is_present else 'absent'}"
            files: dict[str, Content] = {}
            directories: list[str] = []
            _build(disk.root, "", got, is_present, files, directories)
            yield Image(said, files, tuple(directories))


@dataclass(frozen=True)
class _Got:
    """What got to the disk: changes, by their identity."""

    chosen: frozenset[int]
    last: int = 0
    """The one of which not everything got there, ..."""
    torn: int = 0
    """... and how many octets of it did."""


def _choices(pending: list[Change], seed: str, subsets: int) -> Iterator[tuple[str, _Got]]:
    yield "nothing unsynced", _Got(frozenset())
    if not pending:
        return
    everything = frozenset(map(id, pending))
    yield "everything unsynced", _Got(everything)
    dice = Random(seed)  # noqa: S311 - to be drawn again
    last = pending[-1]
    size = len(last.octets)
    if torn := dice.randrange(_SECTOR, size, _SECTOR) if size > _SECTOR else size // 2:
        yield f"{torn} octets of the last block", _Got(everything, id(last), torn)
    for number in range(subsets):
        share = _SHARES[number % len(_SHARES)]
        chosen = frozenset(id(one) for one in pending if dice.random() < share)
        yield f"subset {number} of what is unsynced", _Got(chosen)


def _build(
    directory: Directory,
    path: str,
    got: _Got,
    is_present: bool,
    files: dict[str, Content],
    directories: list[str],
) -> None:
    for name, node in directory.names(is_present=is_present).items():
        here = f"{path}/{name}" if path else name
        if isinstance(node, Directory):
            directories.append(here)
            _build(node, here, got, is_present, files, directories)
        else:
            files[here] = _content(node, got)


def _content(file: File, got: _Got) -> Content:
    content = file.durable.copy()
    for change in file.pending:
        if id(change) in got.chosen:
            change.apply(content, got.torn if id(change) == got.last else None)
    return content


def _files(directory: Directory) -> Iterator[File]:
    """Yield every file that has a name, now or possibly."""
    nodes = {id(node): node for node in directory.durable.values()}
    nodes |= {id(one.node): one.node for one in directory.pending if one.node is not None}
    for node in nodes.values():
        if isinstance(node, File):
            yield node
        else:
            yield from _files(node)


def _has_pending_names(directory: Directory) -> bool:
    return bool(directory.pending) or any(
        _has_pending_names(node)
        for node in directory.names().values()
        if isinstance(node, Directory)
    )
