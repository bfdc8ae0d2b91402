"""The disk under the spool, and its lock."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest

from relay.mail.feedback import Suppression, SuppressionReason
from relay.ports import SpoolError, UnsafeSpoolError
from relay.store.disk import Room, file_system_of, make_directory, refuse_unsafe
from relay.store.lock import SpoolLock
from tests.fakes import FrozenClock
from tests.unit.store.stores import LARGE, opened

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
25 22 0:21 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
40 22 0:45 / /var/lib/mail rw,relatime shared:9 - nfs4 server:/mail rw
41 22 0:46 / /srv/with\\040space rw master:1 shared:9 - fuse.sshfs host: rw
42 41 0:47 / /srv/with\\040space/local rw - xfs /dev/sdb1 rw
43 42 0:48 / /srv/with\\040space/local rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/spool", "ext4"),
        ("/run/spool", "tmpfs"),
        ("/running", "ext4"),
        ("/var/lib/mail", "nfs4"),
        ("/var/lib/mail/deep/down", "nfs4"),
        ("/srv/with space/x", "fuse.sshfs"),
        ("/srv/with space/local/x", "tmpfs"),
    ],
)
def test_the_innermost_mount_tells_the_file_system(tmp_path: Path, path: str, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert file_system_of(Path(path), table) == kind


def test_where_there_is_no_mount_table_nothing_is_known(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "none") == ""


@pytest.mark.P1
def test_the_name_of_every_directory_that_is_made_survives_power_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr("os.fsync", fsync)
    make_directory(tmp_path / "var" / "lib" / "spool")
    assert synced == [tmp_path, tmp_path / "var", tmp_path / "var" / "lib"]
    assert (tmp_path / "var" / "lib" / "spool").stat().st_mode & 0o777 == 0o700
    make_directory(tmp_path / "var" / "lib" / "spool")
    assert len(synced) == 3, "what was there already is synced again"


@pytest.mark.P1
@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "nfs", "nfs4", "cifs", "9p", "fuse.sshfs"])
def test_memory_and_network_file_systems_are_refused(kind: str) -> None:
    with pytest.raises(UnsafeSpoolError, match=f"is on {kind}.* spool.unsafe: true"):
        refuse_unsafe(Path("/spool"), kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", ""])
def test_local_disks_are_taken(kind: str) -> None:
    must_not_raise = refuse_unsafe
    must_not_raise(Path("/spool"), kind)


async def test_a_spool_on_an_unsafe_file_system_is_opened_only_when_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.store.file_system_of", lambda _: "tmpfs")
    with pytest.raises(UnsafeSpoolError, match="lives in memory"):
        async with opened(tmp_path, unsafe=False):
            pass
    async with opened(tmp_path, unsafe=True):
        pass


def test_room_ends_at_the_floor_and_starts_in_freed_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1,000 blocks of 1 KiB, 150 of them free.
    looks = []

    def statvfs(path: Path) -> os.statvfs_result:
        looks.append(path)
        return os.statvfs_result((1024, 1024, 1000, 160, 150, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    clock = FrozenClock()
    room = Room(tmp_path, min_free=0.1, clock=clock)
    assert not room.admits(50 * 1024 + 1, reusable=0, buffered=0)
    assert not room.admits(50 * 1024, reusable=0, buffered=1)
    assert room.admits(50 * 1024 + 1, reusable=1, buffered=0)
    assert len(looks) == 1
    clock.advance(timedelta(seconds=1))
    assert room.admits(50 * 1024, reusable=0, buffered=0)
    assert len(looks) == 2


@pytest.mark.P6
def test_what_is_announced_and_never_sent_keeps_nothing_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = os.statvfs_result((1024, 1024, 1000, 160, 150, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: table)
    room = Room(tmp_path, min_free=0.1, clock=FrozenClock())
    assert all(room.admits(50 * 1024, reusable=0, buffered=0) for _ in range(100))


@pytest.mark.P6
def test_files_grow_no_further_than_the_floor_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = os.statvfs_result((1024, 1024, 1000, 160, 150, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: table)
    clock = FrozenClock()
    room = Room(tmp_path, min_free=0.1, clock=clock)
    # What was announced may be what is written now.
    assert room.admits(50 * 1024, reusable=0, buffered=0)
    taken = [room.takes(10 * 1024, reusable=0, buffered=0) for _ in range(6)]
    assert taken == [True] * 5 + [False]
    clock.advance(timedelta(seconds=1))
    assert room.takes(30 * 1024, reusable=0, buffered=0)
    # What is written now leaves so much less for what is announced.
    assert not room.admits(20 * 1024 + 1, reusable=0, buffered=0)
    # Rows may use what the databases have free; files may not.
    assert not room.takes(20 * 1024 + 1, reusable=1 << 30, buffered=0)
    assert not room.takes(20 * 1024, reusable=5, buffered=6)
    assert room.takes(20 * 1024, reusable=6, buffered=6)


def test_a_second_daemon_is_told_which_process_has_the_spool(tmp_path: Path) -> None:
    lock = SpoolLock(tmp_path)
    with pytest.raises(SpoolError, match=f"in use by process {os.getpid()}; stop that daemon"):
        SpoolLock(tmp_path)
    lock.release()
    SpoolLock(tmp_path).release()


async def test_a_store_is_opened_once_at_a_time(tmp_path: Path) -> None:
    for _ in range(2):
        async with opened(tmp_path):
            with pytest.raises(SpoolError, match="in use by process"):
                async with opened(tmp_path):
                    pass


async def test_a_directory_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpoolError, match="cannot be used: "):
        async with opened(tmp_path / "file" / "spool"):
            pass


@pytest.mark.parametrize("name", ["lock", "spool.db"])
async def test_what_we_may_not_write_is_told_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with opened(tmp_path):
        pass
    access, open_file = os.access, os.open

    def may(path: Path, mode: int) -> bool:
        return path.name != name and access(path, mode)

    def refuse(path: Path, *rest: int) -> int:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, *rest)

    monkeypatch.setattr(os, "access", may)
    monkeypatch.setattr("relay.store.lock.os.open", refuse)
    with pytest.raises(
        SpoolError, match=rf"cannot be used: Permission denied \(.*/{name}\)"
    ) as caught:
        async with opened(tmp_path):
            pass
    assert isinstance(caught.value.__cause__, PermissionError)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work on another's spool")
async def test_what_root_makes_in_a_spool_belongs_to_whoever_has_it(tmp_path: Path) -> None:
    """Else an operator's look at a stopped daemon's spool would lock the daemon out."""
    nobody = 65534
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o700)
    os.chown(spool, nobody, nobody)
    async with opened(spool) as store:
        suppressed = Suppression("x@example.net", SuppressionReason.MANUAL, "", store.clock.now())
        await store.store.record.suppress(suppressed, actor="op")
        await store.accept(content=LARGE)
        owned = {path: path.stat().st_uid for path in spool.rglob("*")}
    owned |= {path: path.stat().st_uid for path in spool.rglob("*")}
    names = {str(path.relative_to(spool)).partition("/")[0] for path in owned}
    assert names >= {"lock", "reserve", "suppressed", "content", "corrupt", "spool.db", "record.db"}
    assert [path for path, owner in owned.items() if owner != nobody] == []
    assert sum(path.parent.name == "content" for path in owned) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give what it may not")
async def test_a_root_that_may_give_nothing_away_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chown", refuse)
    async with opened(tmp_path) as spool:
        mail = await spool.accept(content=LARGE)
        assert (await spool.show(mail)).mail == mail


async def test_a_file_that_is_no_database_is_told_of_and_the_lock_given_back(
    tmp_path: Path,
) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database, but long enough to be one" * 100)
    for _ in range(2):
        with pytest.raises(SpoolError, match=r"spool\.db: file is not a database"):
            async with opened(tmp_path):
                pass
