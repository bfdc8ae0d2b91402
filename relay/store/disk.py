"""The disk under the spool: which file system, how much room, and directories made durable.

Knows the operating system. Does not know what is stored.
"""

from __future__ import annotations

import contextlib
import os
import re
from mmap import mmap
from pathlib import Path
from typing import Final

from relay.ports import Clock, UnsafeSpoolError

_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "glusterfs"}
    | {f"fuse.{name}" for name in ("sshfs", "s3fs", "goofys", "gcsfuse", "rclone", "davfs")}
    | {f"fuse.{name}" for name in ("glusterfs", "ceph", "ceph-fuse", "cifs", "nfs", "juicefs")}
)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_ROOM_AGE: Final = 1.0  # seconds


def sync_directory(directory: Path) -> None:
    """Make names created in, renamed into or removed from the directory survive power loss."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_to_write(path: Path, flags: int) -> int:
    """Open a file of the spool, made if there is none; nobody but its owner may read it.

    What root makes belongs to whoever has the directory, as SQLite's logs do: an operator who looks
    into the spool of a stopped daemon must not lock the daemon out.
    """
    fd = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        _hand_over(fd, path.parent)
    return fd


def make_part(directory: Path) -> None:
    """Make a directory inside the spool, unless it is there; whoever has the spool has it."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            _hand_over(directory, directory.parent)


def _hand_over(what: int | Path, directory: Path) -> None:
    owner = directory.stat()
    # A root that may not (capabilities(7)) is likely the only user there is.
    with contextlib.suppress(PermissionError):
        os.chown(what, owner.st_uid, owner.st_gid)


def replace_file(path: Path, octets: bytes | mmap) -> None:
    """Make the file hold these octets, whole or not at all, and keep them after power loss."""
    draft = path.with_name(f".{path.name}")
    fd = open_to_write(draft, os.O_WRONLY | os.O_TRUNC)
    try:
        with memoryview(octets) as whole:
            written = 0
            while written < len(whole):
                with whole[written:] as rest:
                    written += os.write(fd, rest)
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(path)
    sync_directory(path.parent)


def make_directory(directory: Path) -> None:
    """Make a directory, ours alone, and those above it; the names of all survive power loss."""
    missing = [one for one in (directory, *directory.parents) if not one.is_dir()]
    for one in reversed(missing):
        one.mkdir(mode=0o700 if one == directory else 0o777)
        sync_directory(one.parent)


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the file system that holds the path, as mount(8) calls it; "" if unknown.

    Of FUSE file systems the kernel's statfs only tells that they are FUSE; the mount table names
    them.
    """
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    target = os.path.realpath(path)
    longest, kind = -1, ""
    for line in lines:
        # proc(5): id, parent, device, root, mount point, options, optional fields, "-", type, ...
        before, _, after = line.partition(" - ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point the later one hides the earlier.
        if inside and len(point) >= longest:
            longest, kind = len(point), after.split(" ")[0]
    return kind


def refuse_unsafe(path: Path, kind: str) -> None:
    """Raise UnsafeSpoolError for a file system on which accepted mail would not be safe."""
    if kind in _MEMORY:
        why = f"{path} is on {kind}, which lives in memory: accepted mail would not survive"
    elif kind in _NETWORK:
        why = f"{path} is on {kind}: locks and fsync cannot be relied upon over a network"
    else:
        return
    raise UnsafeSpoolError(
        f"{why}; use a local disk, or set spool.unsafe: true if losing mail is fine"
    )


class Room:
    """Whether the disk has room, asked again and again and so answered from a recent look."""

    def __init__(self, path: Path, *, min_free: float, clock: Clock) -> None:
        self._path = path
        self._min_free = min_free
        self._clock = clock
        self._looked_at = float("-inf")
        self._spare = 0
        self.floor = 0
        """Octets that stay free, as of the last look."""
        self._taken = 0  # by files, since that look

    def admits(self, octets: int, *, reusable: int, buffered: int) -> bool:
        """Whether so many octets leave the floor of free space untouched.

        `reusable` are octets the databases have allocated and will use again, `buffered` those in
        memory that are still to be written. Keeps nothing free for what was announced: a client
        that announces and never sends would keep it from the others. The floor is held when
        content is written.
        """
        self._look()
        return octets <= self._spare + reusable - buffered - self._taken

    def spare(self, *, reusable: int, buffered: int) -> int:
        """Return the octets that mail can still take without touching the floor; at least 0."""
        self._look()
        return max(0, self._spare + reusable - buffered - self._taken)

    def takes(self, octets: int, *, reusable: int, buffered: int) -> bool:
        """Whether a file may grow by so many octets; if so they count as written.

        `buffered` are other octets in memory; a file cannot use what the databases have free, but
        those octets can.
        """
        self._look()
        if octets > self._spare - max(0, buffered - reusable) - self._taken:
            return False
        self._taken += octets
        return True

    def free(self, *, reusable: int) -> int:
        """Return the octets that mail could take if there were no floor; at least 0."""
        self._look()
        return max(0, self._spare + self.floor + reusable - self._taken)

    def _look(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked_at >= _ROOM_AGE:
            disk = os.statvfs(self._path)
            floor = int(disk.f_blocks * self._min_free)
            self.floor = floor * disk.f_frsize
            self._spare = (disk.f_bavail - floor) * disk.f_frsize
            self._looked_at = now
            self._taken = 0
