"""A file system as POSIX has it, and no better: what is not synced may be there, or not.

    A write is durable once a sync of its file has returned that began after it had returned.
    Of writes that are not, any part may be durable, in pieces of 4 KiB that come in any order.
    A name (new, gone or changed) is durable once its directory was synced; until then it may be.

That a file was synced says nothing of its name. Real file systems promise more, each something
else. Knows calls; does not know what is in the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from tests.power.trace import Call, Kind, Untold

BLOCK: Final = 4096
"""Octets that are written whole or not at all, but for the very last."""
# The index of the write-ahead log is in shared memory, and made anew by whoever comes first.
_IN_MEMORY: Final = "-shm"


@dataclass
class Content:
    """What is in a file: octets, and zeros behind them up to its length."""

    octets: bytearray = field(default_factory=bytearray)
    length: int = 0

    def copy(self) -> Content:
        """Return another that is the same."""
        return Content(bytearray(self.octets), self.length)


@dataclass(eq=False)
class Change:
    """Something that was done to a file and may be durable: octets written, or another length."""

    offset: int
    """Where; or how long it is to be."""
    octets: bytes = b""
    grows_only: bool = False
    """Whether a file that is longer stays as it is."""
    is_done: bool = False
    """Whether the call has returned."""

    def apply(self, content: Content, torn: int | None = None) -> None:
        """Do it, or only the first octets of it."""
        if not self.octets:
            if self.offset > content.length or not self.grows_only:
                del content.octets[self.offset :]
                content.length = self.offset
            return
        octets = self.octets[:torn]
        content.octets += bytes(max(0, self.offset - len(content.octets)))
        content.octets[self.offset : self.offset + len(octets)] = octets
        content.length = max(content.length, len(content.octets))


@dataclass(eq=False)
class File:
    """A file: what of it is durable, and what may be."""

    durable: Content = field(default_factory=Content)
    pending: list[Change] = field(default_factory=list)

    def make_durable(self, changes: Sequence[Change]) -> None:
        """Have these changes durable, in the order in which they were made."""
        for change in changes:
            change.apply(self.durable)
        self.pending = [one for one in self.pending if one not in changes]


@dataclass(eq=False)
class Directory:
    """A directory, and the changes of names in it that may be durable."""

    durable: dict[str, Node] = field(default_factory=dict)
    pending: list[Naming] = field(default_factory=list)

    def make_durable(self, namings: Sequence[Naming]) -> None:
        """Have these changes of names durable, in the order in which they were made."""
        for naming in namings:
            naming.apply(self.durable)
        self.pending = [one for one in self.pending if one not in namings]

    def names(self, *, is_present: bool = True) -> dict[str, Node]:
        """Return what is in it, with pending changes or without."""
        names = dict(self.durable)
        for naming in self.pending if is_present else ():
            naming.apply(names)
        return names


Node = File | Directory


@dataclass(eq=False)
class Naming:
    """A change of names in one directory: something appears, or goes."""

    name: str
    node: Node | None
    """None: the name is gone."""
    is_done: bool = False

    def apply(self, names: dict[str, Node]) -> None:
        """Do it."""
        if self.node is None:
            names.pop(self.name, None)
        else:
            names[self.name] = self.node


@dataclass(frozen=True)
class Moment:
    """A moment at which the power may go."""

    line: int
    """Calls that began in this line or before have begun; in it, one has just begun or ended."""
    at: float
    """The time of it, as far as the trace tells."""
    kind: str
    """What is going on."""
    path: str = ""
    """With which file, where it is about one."""

    def __str__(self) -> str:
        return f"line {self.line} of the trace, {self.kind} {self.path}".rstrip()


class Disk:
    """The tree below one directory, which is there and durable when the trace begins."""

    def __init__(self, root: str) -> None:
        self.root = Directory()
        self._path = PurePath(root)
        self._positions: dict[int, int] = {}
        self._covered: dict[Call, Sequence[Any]] = {}
        self._changes: dict[Call, Sequence[Change | Naming]] = {}

    def play(self, calls: Iterable[Call], is_moment: Callable[[Call], str]) -> Iterator[Moment]:
        """Do the calls; yield each moment worth a power cut, while the disk is as it was then.

        Those are the begin and the end of each sync, and the begin of each call for which
        `is_moment` has a word.
        """
        events = []
        for call in calls:
            events.append((call.begun, 0, call))
            if call.ended is not None:
                events.append((call.ended, 1, call))
        for line, is_end, call in sorted(events, key=lambda event: event[:2]):
            if is_end:
                self._end(call)
            else:
                self._begin(call)
            if call.kind is Kind.SYNC and self._has(call.path):
                path = str(PurePath(call.path).relative_to(self._path))
                if is_end:
                    yield Moment(line, call.ended_at, "a sync ends", path)
                else:
                    yield Moment(line, call.at, "a sync begins", path)
            elif not is_end and (kind := is_moment(call)):
                yield Moment(line, call.at, kind)

    def _has(self, path: str) -> bool:
        return PurePath(path).is_relative_to(self._path)

    def _begin(self, call: Call) -> None:
        """From now on it may be durable."""
        if call.kind is Kind.SAY or not self._has(call.path) or call.path.endswith(_IN_MEMORY):
            return
        if call.kind is Kind.SYNC:
            pending = self._find(call.path).pending
            self._covered[call] = [one for one in pending if one.is_done]
        else:
            self._changes[call] = self._changes_of(call)

    def _changes_of(self, call: Call) -> Sequence[Change | Naming]:
        match call.kind:
            case Kind.WRITE:
                return self._write(call)
            case Kind.RESIZE | Kind.ALLOCATE:
                return self._resize(call, grows_only=call.kind is Kind.ALLOCATE)
            case Kind.OPEN:
                directory, name = self._place(call.path)
                if name not in directory.names():
                    return self._name(directory, name, File())
                return [] if call.offset is None else self._resize(call)
            case Kind.MAKE_DIRECTORY:
                return self._name(*self._place(call.path), Directory())
            case Kind.UNLINK:
                return self._name(*self._place(call.path), None)
            case Kind.RENAME:
                node = self._find(call.path)
                come = self._name(*self._place(call.target), node)
                return [*come, *self._name(*self._place(call.path), None)]
            case _:
                raise Untold(f"{call.name} of {call.path}: what that does is not modelled")

    def _end(self, call: Call) -> None:
        """It is done; a sync has made durable what was done when it began."""
        if call.kind is Kind.OPEN:
            # Not before: until then the descriptor may be another file's.
            self._positions[call.descriptor] = 0
        for change in self._changes.pop(call, ()):
            change.is_done = True
        if covered := self._covered.pop(call, None):
            self._find(call.path).make_durable(covered)

    def _write(self, call: Call) -> list[Change]:
        offset = call.offset
        if offset is None:
            offset = self._positions[call.descriptor]
            self._positions[call.descriptor] = offset + len(call.octets)
        changes, at = [], 0
        while at < len(call.octets):
            upto = min(len(call.octets), at + BLOCK - (offset + at) % BLOCK)
            changes.append(Change(offset + at, call.octets[at:upto]))
            at = upto
        return self._change(call, changes)

    def _resize(self, call: Call, *, grows_only: bool = False) -> list[Change]:
        assert call.offset is not None
        return self._change(call, [Change(call.offset, grows_only=grows_only)])

    def _change(self, call: Call, changes: list[Change]) -> list[Change]:
        node = self._find(call.path)
        assert isinstance(node, File), call.path
        node.pending += changes
        return changes

    @staticmethod
    def _name(directory: Directory, name: str, node: Node | None) -> list[Naming]:
        naming = Naming(name, node)
        directory.pending.append(naming)
        return [naming]

    def _place(self, path: str) -> tuple[Directory, str]:
        """Return the directory of a path, and the name in it."""
        place = PurePath(path)
        directory = self._find(str(place.parent))
        assert isinstance(directory, Directory), path
        return directory, place.name

    def _find(self, path: str) -> Node:
        """Return what a path leads to, for those who are not cut off."""
        node: Node = self.root
        for name in PurePath(path).relative_to(self._path).parts:
            assert isinstance(node, Directory), path
            names = node.names()
            if name not in names:
                raise Untold(f"{path}: nobody has made that")
            node = names[name]
        return node
