"""The real daemon on a disk that fails or is damaged: real sockets, real calls, a simulated SES.

strace(1) makes system calls of the running daemon fail (`-e inject`), and is taken away again: that
is the disk getting well.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relay.simulator import Hang, Simulator
from tests.fault.disks import Filler, small_disk
from tests.system.conftest import StartRelay
from tests.system.house import CLI, Relay, run

MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"
LARGE = b"From: app@example.com\r\n\r\n" + (b"x" * 70 + b"\r\n") * 4000


@asynccontextmanager
async def failing(relay: Relay, strace: str, *faults: str) -> AsyncIterator[None]:
    """Make system calls of the daemon fail for as long as the context lasts."""
    words = [word for fault in faults for word in ("-e", f"inject={fault}")]
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    tracing = await asyncio.create_subprocess_exec(
        *(strace, "-f", "-qq", "-e", f"trace={calls}", *words, "-p", str(relay.pid)),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracing.stderr is not None
    await asyncio.to_thread(wait_until_traced, relay.pid)
    reading = asyncio.create_task(tracing.stderr.read())
    try:
        yield
    finally:
        tracing.terminate()
        await tracing.wait()
        told = (await reading).decode()
    assert "INJECTED" in told, "no call ever failed"


def wait_until_traced(pid: int) -> None:
    """Return once every thread of a process is: strace(1) does not say so (proc(5))."""
    tasks = Path(f"/proc/{pid}/task")
    deadline = time.monotonic() + 20
    while any("TracerPid:\t0\n" in (task / "status").read_text() for task in tasks.iterdir()):
        assert time.monotonic() < deadline, "strace does not attach"
        time.sleep(0.01)


def submit(relay: Relay, content: bytes = MAIL, name: str = "jane") -> tuple[int, str]:
    """Submit a mail; return the reply that decided on it."""
    with smtplib.SMTP(timeout=30) as client:
        code, said = client.connect("127.0.0.1", relay.ports["legacy"])
        if code == 220:
            client.ehlo()
            code, said = client.mail("app@example.com")
        if code == 250:
            client.rcpt(f"{name}@example.net")
            code, said = client.data(content)
        return code, said.decode()


async def accepted(relay: Relay, content: bytes = MAIL, name: str = "jane") -> None:
    """Submit until it is accepted: service resumes by itself, within seconds."""
    async with asyncio.timeout(30):
        # Which client is the first to be taken again is not told anywhere.
        while (await asyncio.to_thread(submit, relay, content, name))[0] != 250:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def metric(relay: Relay, name: str) -> float:
    url = f"http://127.0.0.1:{relay.ports['metrics']}/metrics"
    text = (await asyncio.to_thread(urllib.request.urlopen, url)).read().decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


FAULTS = [
    pytest.param(("fdatasync:error=EIO", "fsync:error=EIO"), MAIL, id="fsync of the log"),
    pytest.param(("pwrite64:error=EIO",), MAIL, id="write of the log"),
    pytest.param(("pwrite64:error=ENOSPC",), MAIL, id="no space for the log"),
    pytest.param(("fsync:error=EIO",), LARGE, id="fsync of content"),
    pytest.param(("openat:error=EMFILE",), LARGE, id="no descriptor for content"),
]


@pytest.mark.P1
@pytest.mark.parametrize(("faults", "content"), FAULTS)
async def test_mail_is_refused_while_the_disk_fails_and_taken_when_it_is_well(
    start_relay: StartRelay,
    simulator: Simulator,
    needs: Callable[[str], str],
    faults: tuple[str, ...],
    content: bytes,
) -> None:
    relay = await start_relay()
    await accepted(relay, content, "first")
    await simulator.received(1)
    # Its own outcome is on disk too, and the writers are at rest.
    await relay.logged("mail.relayed")
    async with failing(relay, needs("strace"), *faults):
        for _ in range(3):
            code, said = await asyncio.to_thread(submit, relay, content, "refused")
            assert code in {421, 451, 452}, said
    assert relay.is_running
    await accepted(relay, content, "last")
    messages = await simulator.received(2)
    assert [str(one.recipients[0]) for one in messages] == [
        "first@example.net",
        "last@example.net",
    ]
    assert await relay.stop() == 0
    await relay.start()
    opened = await relay.logged("spool.opened")
    assert (opened["entries"], opened["ambiguous"], opened["corrupt"]) == (0, 0, 0)
    assert simulator.taken == 2, "what was refused was sent, or what was sent was sent again"


@pytest.mark.P3
@pytest.mark.parametrize("fault", ["fdatasync:error=EIO", "pwrite64:error=EIO"])
async def test_an_answer_of_ses_is_recorded_once_the_disk_is_well_and_never_asked_for_again(
    start_relay: StartRelay, simulator: Simulator, needs: Callable[[str], str], fault: str
) -> None:
    simulator.fail(Hang(), action="SendRawEmail")
    relay = await start_relay()
    await accepted(relay)
    await simulator.wait_for(lambda: simulator.hung == 1)
    faults = (fault, fault.replace("fdatasync", "fsync")) if "sync" in fault else (fault,)
    async with failing(relay, needs("strace"), *faults):
        simulator.clear_faults()
        simulator.release()
        await simulator.received(1)
        await relay.logged("database.unavailable", database="spool.db")
        assert await metric(relay, 'relay_database_available{database="spool"}') == 0
    await relay.logged("mail.relayed")
    await relay.logged("database.available", database="spool.db")
    await accepted(relay, name="next")
    await relay.logged("mail.relayed", count=2)
    await relay.kill()
    await relay.start()
    assert (await relay.logged("spool.opened"))["ambiguous"] == 0
    assert simulator.taken == 2


@pytest.mark.P1
@pytest.mark.P3
async def test_a_full_disk_stops_sending_and_both_resume_when_there_is_room(
    tmp_path: Path, start_relay: StartRelay, simulator: Simulator
) -> None:
    with small_disk(tmp_path / "spool", 96) as disk:
        filler = Filler(disk)
        simulator.fail(Hang(), action="SendRawEmail")
        relay = await start_relay()
        await accepted(relay, name="first")
        await simulator.wait_for(lambda: simulator.hung == 1)
        filler.fill()
        # Until even the log has no room: every one of these is refused, or kept.
        kept = 0
        for number in range(200):
            code, _ = await asyncio.to_thread(submit, relay, LARGE[:60_000] + b"\r\n", f"n{number}")
            kept += code == 250
        simulator.clear_faults()
        simulator.release()
        await relay.logged("mail.relayed")
        code, said = await asyncio.to_thread(submit, relay)
        assert code in {421, 452}, said
        filler.go()
        await accepted(relay, name="last")
        await simulator.received(2 + kept)
        await relay.logged("mail.relayed", count=2 + kept)
        assert simulator.taken == 2 + kept
        assert await metric(relay, "relay_spool_outcome_reserve_bytes") == 64 * 1024 * 1024
        assert await relay.stop() == 0


@pytest.mark.P5
async def test_a_check_tells_what_is_damaged_and_what_to_do_running_or_stopped(
    tmp_path: Path, start_relay: StartRelay, simulator: Simulator
) -> None:
    async with simulator.unreachable():
        relay = await start_relay()
        # An attempt would find the damage first, and set the mail aside.
        code, _, said = await relay.cli("sender", "pause", "app", "--reason", "looked at")
        assert code == 0, said
        check = ("check", "--spool", "--config", str(relay.config))
        for name in ("whole", "spoilt"):
            await accepted(relay, LARGE, name)
        code, _, said = await relay.cli(*check)
        assert (code, said) == (0, f"{tmp_path}/spool: 2 entries, no damage found\n")
        content = sorted((tmp_path / "spool" / "content").iterdir())
        content[1].write_bytes(b"half")
        code, _, said = await relay.cli(*check)
        assert code == 1, said
        first, remedy, total = said.splitlines()
        assert first.startswith(f"{content[1].name}: its content file has 4 octets instead of ")
        assert f"`relay queue retry {content[1].name}`" in remedy
        assert total == f"{tmp_path}/spool: 2 entries, 1 damage found"
        assert await relay.stop() == 0
        assert (await relay.cli(*check))[::2] == (1, said)
    (tmp_path / "spool" / "spool.db").unlink()
    code, _, said = await relay.cli(*check)
    assert code == 75, said
    assert "has no spool.db" in said


@pytest.mark.P6
async def test_a_second_daemon_is_told_which_process_has_the_spool(
    tmp_path: Path, start_relay: StartRelay
) -> None:
    first = await start_relay()
    other = tmp_path / "other.yaml"
    text = first.config.read_text().replace("admin.sock", "other.sock")
    other.write_text(text)
    code, said = await run(*CLI, "serve", "--config", str(other))
    assert code == 75, said
    assert f"spool {tmp_path}/spool is in use by process {first.pid}" in said
    assert first.is_running


async def test_a_spool_in_memory_is_refused_unless_losing_mail_is_fine(
    tmp_path: Path, start_relay: StartRelay
) -> None:
    with small_disk(tmp_path / "spool", 96):
        relay = await start_relay()
        assert await relay.stop() == 0
        relay.config.write_text(relay.config.read_text().replace("unsafe: true", "unsafe: false"))
        code, said = await run(*CLI, "serve", "--config", str(relay.config))
        assert code == 78, said
        assert "tmpfs, which lives in memory" in said
        assert "spool.unsafe: true" in said


@pytest.mark.P5
async def test_mail_flows_although_the_record_cannot_be_read(
    tmp_path: Path, start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    address = "listed@example.net"
    await relay.cli("suppression", "add", address, "--reason", "asked")
    assert await relay.stop() == 0
    record = tmp_path / "spool" / "record.db"
    good = record.read_bytes()
    record.write_bytes(b"no database " * 1000)
    await relay.start()
    await relay.logged("database.unavailable", database="record.db")
    await accepted(relay)
    await simulator.received(1)
    await relay.logged("mail.relayed")
    assert await metric(relay, 'relay_database_available{database="record"}') == 0
    assert await metric(relay, "relay_outbox_lines") == 1
    with smtplib.SMTP("127.0.0.1", relay.ports["legacy"], timeout=30) as client:
        client.ehlo()
        client.mail("app@example.com")
        code, _ = client.rcpt(address)
        assert code == 451, "who is listed is not known any more"
    assert await relay.stop() == 0
    record.write_bytes(good)
    await relay.start()
    code, told, _ = await relay.cli("trace", "jane@example.net")
    assert code == 0
    assert "relayed" in told
