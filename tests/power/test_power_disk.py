"""The model of the disk: what is durable, what may be, and what never is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.power.disk import BLOCK, Content, Disk, Moment
from tests.power.images import Image, images
from tests.power.trace import Call, Kind, Untold, read

ROOT = "/spool"


class Tape:
    """Calls one after the other, each over before the next begins unless it is left open."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._line = 0

    def call(
        self,
        kind: Kind,
        path: str,
        octets: bytes = b"",
        *,
        offset: int | None = None,
        target: str = "",
        descriptor: int = -1,
        is_over: bool = True,
    ) -> None:
        begun = self._line
        self._line += 2
        self.calls.append(
            Call(
                kind,
                kind.name.lower(),
                f"{ROOT}/{path}".rstrip("/"),
                float(begun),
                begun,
                begun + 1 if is_over else None,
                float(begun + 1),
                octets=octets,
                offset=offset,
                target=f"{ROOT}/{target}",
                descriptor=descriptor,
            )
        )

    def look(self, seed: str = "seed") -> list[Image]:
        """Return the images of the disk once all calls were made."""
        disk = Disk(ROOT)
        for _ in disk.play(self.calls, lambda _: ""):
            pass
        return list(images(disk, seed))

    def files(self) -> set[tuple[tuple[str, bytes], ...]]:
        """Return what may be on the disk."""
        return {
            tuple(sorted((path, _whole(content)) for path, content in image.files.items()))
            for image in self.look()
        }


def _whole(content: Content) -> bytes:
    return bytes(content.octets) + bytes(content.length - len(content.octets))


@pytest.fixture(name="tape")
def _tape() -> Tape:
    return Tape()


@pytest.fixture(name="file")
def _file(tape: Tape) -> str:
    """A file whose name is durable."""
    tape.call(Kind.OPEN, "a", descriptor=3)
    tape.call(Kind.SYNC, "")
    return "a"


def test_what_is_not_synced_may_be_there_or_not(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    assert tape.files() == {(("a", b""),), (("a", b"he"),), (("a", b"hello"),)}


def test_what_is_synced_is_there(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.SYNC, file)
    assert tape.files() == {(("a", b"hello"),)}


def test_a_sync_says_nothing_of_a_write_that_was_not_over_when_it_began(
    tape: Tape, file: str
) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3, is_over=False)
    tape.call(Kind.SYNC, file)
    assert (("a", b""),) in tape.files()


def test_a_sync_that_has_not_returned_promises_nothing(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.SYNC, file, is_over=False)
    assert (("a", b""),) in tape.files()


def test_a_name_that_is_not_synced_may_be_missing_whatever_was_written(tape: Tape) -> None:
    tape.call(Kind.OPEN, "a", descriptor=3)
    tape.call(Kind.WRITE, "a", b"hello", descriptor=3)
    tape.call(Kind.SYNC, "a")
    assert tape.files() == {(), (("a", b"hello"),)}
    tape.call(Kind.SYNC, "")
    assert tape.files() == {(("a", b"hello"),)}


def test_a_directory_that_is_not_synced_takes_all_that_is_in_it_along(tape: Tape) -> None:
    tape.call(Kind.MAKE_DIRECTORY, "d")
    tape.call(Kind.OPEN, "d/a", descriptor=3)
    tape.call(Kind.SYNC, "d")
    assert () in tape.files()
    tape.call(Kind.SYNC, "")
    assert tape.files() == {(("d/a", b""),)}


def test_a_name_that_is_gone_may_come_back(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.SYNC, file)
    tape.call(Kind.UNLINK, file)
    assert tape.files() == {(), (("a", b"hello"),)}


def test_a_file_that_was_renamed_is_under_one_name_or_the_other(tape: Tape, file: str) -> None:
    tape.call(Kind.RENAME, file, target="b")
    assert tape.files() == {(("a", b""),), (("b", b""),)}


def test_a_file_made_shorter_may_be_as_long_as_it_was(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.SYNC, file)
    tape.call(Kind.RESIZE, file, offset=1)
    assert tape.files() == {(("a", b"h"),), (("a", b"hello"),)}


def test_space_that_is_allocated_is_zeros_and_makes_no_file_shorter(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.ALLOCATE, file, offset=2)
    tape.call(Kind.ALLOCATE, file, offset=7)
    tape.call(Kind.WRITE, file, b"!", offset=6)
    tape.call(Kind.SYNC, file)
    assert tape.files() == {(("a", b"hello\0!"),)}


def test_an_image_is_put_on_a_disk_as_it_is(tape: Tape, file: str, tmp_path: Path) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.ALLOCATE, file, offset=7)
    tape.call(Kind.SYNC, file)
    (image,) = tape.look()
    image.write(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"hello\0\0"


def test_a_file_that_is_emptied_as_it_is_opened_may_be_as_it_was(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.SYNC, file)
    tape.call(Kind.OPEN, file, descriptor=4, offset=0)
    assert tape.files() == {(("a", b""),), (("a", b"hello"),)}


def test_blocks_get_there_in_any_order(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"x" * BLOCK + b"y" * BLOCK, descriptor=3)
    found = {content for ((_, content),) in tape.files()}
    assert {b"", b"x" * BLOCK, b"\0" * BLOCK + b"y" * BLOCK, b"x" * BLOCK + b"y" * BLOCK} <= found
    torn = [c for c in found if BLOCK < len(c) < 2 * BLOCK]
    assert torn, "no image has a torn last block"
    assert all(c == b"x" * BLOCK + b"y" * (len(c) - BLOCK) for c in torn)


def test_writes_go_where_the_descriptor_is_or_where_they_say(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, b"hello", descriptor=3)
    tape.call(Kind.WRITE, file, b" you", descriptor=3)
    tape.call(Kind.WRITE, file, b"J", offset=0)
    tape.call(Kind.SYNC, file)
    assert tape.files() == {(("a", b"Jello you"),)}


def test_the_same_seed_draws_the_same_images(tape: Tape, file: str) -> None:
    tape.call(Kind.WRITE, file, bytes(100 * BLOCK), descriptor=3)
    assert [i.digest for i in tape.look("1")] == [i.digest for i in tape.look("1")]
    assert [i.digest for i in tape.look("1")] != [i.digest for i in tape.look("2")]


def test_syncs_have_two_moments_and_what_is_asked_for_has_one(tape: Tape, file: str) -> None:
    tape.call(Kind.SAY, "../socket", b"250")
    moments = list(Disk(ROOT).play(tape.calls, lambda call: "said" * (call.kind is Kind.SAY)))
    assert [moment.kind for moment in moments] == ["a sync begins", "a sync ends", "said"]


def test_what_is_not_modelled_is_not_passed_over(tape: Tape, file: str) -> None:
    tape.call(Kind.OTHER, file)
    with pytest.raises(Untold, match="not modelled"):
        tape.look()


def lines(*said: str) -> Iterator[Call]:
    return read(f"7 1.5 {one}\n".rstrip("\n") for one in said)


def hexed(text: str) -> str:
    return "".join(f"\\x{octet:02x}" for octet in text.encode())


A = hexed("/spool/a")


@pytest.mark.parametrize(
    ("said", "kind", "facts"),
    [
        (
            (f'pwrite64(3<{A}>, "{hexed("hi")}", 2, 4096) = 2',),
            Kind.WRITE,
            {"path": "/spool/a", "octets": b"hi", "offset": 4096},
        ),
        (
            (f'write(3<{A}>, "{hexed("hello")}", 5) = 2',),
            Kind.WRITE,
            {"octets": b"he", "offset": None, "descriptor": 3},
        ),
        (
            (f"fdatasync(3<{A}> <unfinished ...>", "<... fdatasync resumed>) = 0"),
            Kind.SYNC,
            {"begun": 0, "ended": 1},
        ),
        ((f"fsync(3<{A}> <unfinished ...>",), Kind.SYNC, {"begun": 0, "ended": None}),
        ((f"fsync(3<{A}> <detached ...>",), Kind.SYNC, {"begun": 0, "ended": None}),
        (
            (f"fsync(3<{A}> <unfinished ...>", "<... fsync resumed> <unfinished ...>) = ?"),
            Kind.SYNC,
            {"begun": 0, "ended": None},
        ),
        (
            (f'pwrite64(3<{A}>, "{hexed("he")}", 2, 4) = ?',),
            Kind.WRITE,
            {"octets": b"he", "offset": 4, "begun": 0, "ended": 0},
        ),
        ((f"ftruncate(3<{A}>, 12) = 0",), Kind.RESIZE, {"offset": 12}),
        (
            (
                f'openat(AT_FDCWD<{hexed("/spool")}>, "{hexed("a")}", O_RDWR|O_CREAT, 0600) = 3<{A}>',
            ),
            Kind.OPEN,
            {"path": "/spool/a", "descriptor": 3},
        ),
        (
            (f'openat(AT_FDCWD<{hexed("/")}>, "{A}", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3<{A}>',),
            Kind.OPEN,
            {"offset": 0},
        ),
        ((f'rename("{A}", "{hexed("/spool/b")}") = 0',), Kind.RENAME, {"target": "/spool/b"}),
        ((f'unlink("{A}") = 0',), Kind.UNLINK, {"path": "/spool/a"}),
        ((f'mkdir("{A}", 0700) = 0',), Kind.MAKE_DIRECTORY, {"path": "/spool/a"}),
        (
            (f'write(5<{hexed("socket:[9]")}>, "{hexed("250")}", 3) = 3',),
            Kind.SAY,
            {"octets": b"250", "descriptor": 5},
        ),
        ((f'sendto(5<{hexed("socket:[9]")}>, "{hexed("x")}", 1, 0, NULL, 0) = 1',), Kind.SAY, {}),
        (
            (f"mmap(NULL, 9, PROT_READ|PROT_WRITE, MAP_SHARED, 3<{A}>, 0) = 0x7f00",),
            Kind.OTHER,
            {"path": "/spool/a"},
        ),
        ((f"fallocate(3<{A}>, 0, 0, 4096) = 0",), Kind.ALLOCATE, {"offset": 4096}),
        ((f"fallocate(3<{A}>, FALLOC_FL_PUNCH_HOLE, 0, 4096) = 0",), Kind.OTHER, {}),
        ((f"sync_file_range(3<{A}>, 0, 0, 0) = 0",), Kind.OTHER, {"path": "/spool/a"}),
    ],
)
def test_a_line_of_strace_is_understood(
    said: Sequence[str], kind: Kind, facts: dict[str, object]
) -> None:
    (call,) = lines(*said)
    assert call.kind is kind
    assert {name: getattr(call, name) for name in facts} == facts


@pytest.mark.parametrize(
    "said",
    [
        f'openat(AT_FDCWD<{hexed("/")}>, "{A}", O_RDONLY) = 3<{A}>',
        f'unlink("{A}") = -1 ENOENT (No such file or directory)',
        f"mmap(NULL, 9, PROT_READ, MAP_PRIVATE, 3<{A}>, 0) = 0x7f00",
        "+++ exited with 0 +++",
        "???()                = ?",
    ],
)
def test_what_changes_nothing_is_no_call(said: str) -> None:
    assert list(lines(said)) == []


def test_what_is_written_after_a_kill_comes_on_top_of_what_the_kill_cut_off() -> None:
    calls = lines(
        f'openat(AT_FDCWD<{hexed("/spool")}>, "{hexed("a")}", O_RDWR|O_CREAT, 0600) = 3<{A}>',
        f"fsync(4<{hexed('/spool')}>) = 0",
        f'pwrite64(3<{A}>, "{hexed("old")}", 3, 0) = ?',
        f'pwrite64(5<{A}>, "{hexed("new")}", 3, 0) = 3',
        f"fdatasync(5<{A}>) = 0",
    )
    disk = Disk(ROOT)
    for _ in disk.play(calls, lambda _: ""):
        pass
    assert {_whole(image.files["a"]) for image in images(disk, "seed")} == {b"new"}


@pytest.mark.parametrize(
    "said",
    [
        f'write(3<{A}>, "{hexed("he")}"..., 5) = 5',
        "io_uring_setup(64, {flags=IORING_SETUP_SQPOLL}) = 9",
        "no system call",
    ],
)
def test_a_trace_that_does_not_tell_all_is_not_believed(said: str) -> None:
    with pytest.raises(Untold):
        list(lines(said))


def test_moments_read_well() -> None:
    assert str(Moment(3, 0.0, "a sync begins", "a")) == "line 3 of the trace, a sync begins a"
