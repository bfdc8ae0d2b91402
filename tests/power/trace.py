"""What strace tells of a process: every system call that can change a file or say something.

Knows strace's output (strace(1), with -f -y -xx). Does not know what the files are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import Any, Final

# Whatever can change a file, its length or its name, and what is written into sockets and pipes.
# Of these, some are not understood here; they must not be met in the spool.
SYSCALLS: Final = (
    "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,"
    "ftruncate,truncate,fallocate,copy_file_range,sendfile,splice,mmap,msync,"
    "open,openat,openat2,creat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,"
    "symlink,symlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,sync_file_range,sync,syncfs,"
    "io_uring_setup"
)

_SYNCS: Final = ("fsync", "fdatasync")

_LINE: Final = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_RESUMED: Final = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
# Another process was heard meanwhile; or it was killed, and nobody knows the end.
_NOT_OVER: Final = (" <unfinished ...>", " <detached ...>")
_CALL: Final = re.compile(r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(.*)")
_CUT_OFF: Final = re.compile(r"(\w+)\((.*)")
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_DESCRIPTOR: Final = re.compile(r"(?:AT_FDCWD|-?\d+)<([^>]*)>")
_NUMBER: Final = re.compile(r", (\d+)")


class Kind(Enum):
    """What a call does, as far as files and words are concerned."""

    WRITE = auto()
    RESIZE = auto()
    ALLOCATE = auto()
    """At least so long, if it was shorter."""
    OPEN = auto()
    """To write: makes a file that is not there, or empties one that is."""
    MAKE_DIRECTORY = auto()
    UNLINK = auto()
    RENAME = auto()
    SYNC = auto()
    SAY = auto()
    """Octets into a socket or a pipe."""
    OTHER = auto()
    """Something that is not understood."""


@dataclass(frozen=True, eq=False)
class Call:
    """One system call that succeeded, or of which nobody knows because the process was killed."""

    kind: Kind
    name: str
    path: str
    """Of the file it is about; of a socket or pipe what strace says instead."""
    at: float
    """When it began, by the wall clock."""
    begun: int
    """The line in which it began, ..."""
    ended: int | None
    """... and in which it ended; None if it never did."""
    ended_at: float
    """When it ended, if it did."""
    octets: bytes = b""
    offset: int | None = None
    """Where it writes, None: where the descriptor is; or the new length."""
    target: str = ""
    """The new name in a renaming."""
    descriptor: int = -1
    """The descriptor it writes to, or that was opened."""


class Untold(Exception):  # noqa: N818 - about strace, not ours
    """The trace cannot be understood, so nothing can be concluded from it."""


def read(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls of a trace, in the order in which they ended."""
    open_calls: dict[str, tuple[int, float, str]] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            raise Untold(f"line {number} of the trace: {line[:200]!r}")
        process, at, said = found[1], float(found[2]), found[3]
        if said.startswith(("+++", "---", "???", "<... ???")):  # of a process that was killed
            continue
        if said.endswith(_NOT_OVER):
            said = said.rpartition(" <")[0]
            if not _RESUMED.match(said):
                open_calls[process] = (number, at, said)
            continue
        begun, ended_at = number, at
        if resumed := _RESUMED.match(said):
            if process not in open_calls:
                continue  # it began before these lines
            begun, at, first = open_calls.pop(process)
            said = first + resumed[2]
        whole = _CALL.fullmatch(said)
        if whole is None:
            raise Untold(f"line {number} of the trace: {said[:200]!r}")
        name, arguments, result = whole[1], whole[2], whole[3]
        if result == "?":
            # Killed meanwhile. Done or not, it is over: what others write later comes on top of it.
            # Only of a sync nothing follows.
            ended = None if name in _SYNCS else number
            yield from _understood(_Said(name, arguments, None, (at, begun, ended, ended_at)))
        elif not result.startswith("-"):
            yield from _understood(
                _Said(name, arguments, int(result, 0), (at, begun, number, ended_at))
            )
    for begun, at, said in open_calls.values():
        if cut_off := _CUT_OFF.match(said):
            yield from _understood(_Said(cut_off[1], cut_off[2], None, (at, begun, None, at)))


@dataclass(frozen=True)
class _Said:
    """One call as strace tells it."""

    name: str
    arguments: str
    result: int | None
    span: tuple[float, int, int | None, float]

    @cached_property
    def strings(self) -> list[bytes]:
        """What stands in quotes."""
        return [_decoded(one) for one in _STRING.finditer(self.arguments)]

    @cached_property
    def path(self) -> str:
        """What the first argument leads to, if that is a descriptor."""
        described = _DESCRIPTOR.match(self.arguments)
        return _text(described[1]) if described else ""

    def name_at(self, number: int) -> str:
        """Return a path that is given by name."""
        return str(Path(self.path, self.strings[number].decode(errors="replace")))

    def call(self, kind: Kind, path: str, **more: Any) -> Call:
        """Return what it comes to."""
        return Call(kind, self.name, path, *self.span, **more)


def _write(said: _Said) -> Call | None:
    """A call like `write(fd, "...", count)` or `pwrite64(fd, "...", count, offset)`."""
    octets = b"".join(said.strings)[: said.result]
    descriptor = int(said.arguments.partition("<")[0])
    if not said.path.startswith("/"):
        return said.call(Kind.SAY, said.path, octets=octets, descriptor=descriptor)
    if said.name == "write":
        return said.call(Kind.WRITE, said.path, octets=octets, descriptor=descriptor)
    if said.name == "pwrite64":
        _, *offset = _NUMBER.findall(said.arguments.rpartition('"')[2])
        return said.call(Kind.WRITE, said.path, octets=octets, offset=int(offset[0]))
    return said.call(Kind.OTHER, said.path)


def _allocate(said: _Said) -> Call | None:
    """`fallocate(fd, mode, offset, length)`: without a mode, zeros behind what is there."""
    mode, *numbers = said.arguments.split(", ")[1:]
    if mode != "0":
        return said.call(Kind.OTHER, said.path)
    return said.call(Kind.ALLOCATE, said.path, offset=sum(map(int, numbers)))


def _open(said: _Said) -> Call | None:
    # O_TRUNC empties what is there.
    offset = 0 if "O_TRUNC" in said.arguments or said.name == "creat" else None
    if "O_CREAT" not in said.arguments and offset is None:
        return None
    descriptor = -1 if said.result is None else said.result
    return said.call(Kind.OPEN, said.name_at(0), descriptor=descriptor, offset=offset)


def _map(said: _Said) -> Call | None:
    """Reading, and private memory, change no file."""
    mapped = _DESCRIPTOR.search(said.arguments)
    if mapped and "MAP_SHARED" in said.arguments and "PROT_WRITE" in said.arguments:
        return said.call(Kind.OTHER, _text(mapped[1]))
    return None


def _set_up_ring(said: _Said) -> Call | None:
    # libuv has two rings: one for epoll_ctl(2), and one with SQPOLL for files.
    if "IORING_SETUP_SQPOLL" in said.arguments:
        raise Untold("files are written by io_uring, which no trace shows")
    return None


def _other(said: _Said) -> Call | None:
    return said.call(Kind.OTHER, said.name_at(0) if said.strings else said.path)


_MEANINGS: Final[dict[str, Callable[[_Said], Call | None]]] = {
    **dict.fromkeys(("write", "pwrite64", "writev", "sendto", "sendmsg"), _write),
    **dict.fromkeys(("open", "openat", "creat"), _open),
    "ftruncate": lambda said: said.call(
        Kind.RESIZE, said.path, offset=int(_NUMBER.findall(said.arguments)[0])
    ),
    "fallocate": _allocate,
    "mkdir": lambda said: said.call(Kind.MAKE_DIRECTORY, said.name_at(0)),
    "unlink": lambda said: said.call(Kind.UNLINK, said.name_at(0)),
    "rename": lambda said: said.call(Kind.RENAME, said.name_at(0), target=said.name_at(1)),
    **dict.fromkeys(_SYNCS, lambda said: said.call(Kind.SYNC, said.path)),
    "mmap": _map,
    "io_uring_setup": _set_up_ring,
}


def _understood(said: _Said) -> Iterator[Call]:
    call = _MEANINGS.get(said.name, _other)(said)
    if call is not None:
        yield call


def _decoded(string: re.Match[str]) -> bytes:
    if string[2]:
        raise Untold("strace has cut off what was written; it needs a larger -s")
    return bytes.fromhex(string[1].replace("\\x", ""))


def _text(escaped: str) -> str:
    return bytes.fromhex(escaped.replace("\\x", "")).decode(errors="replace")
