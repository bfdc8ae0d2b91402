"""Content over real sockets: where it ends, what is kept of it, and what comes of bad content."""

from __future__ import annotations

import asyncio
import re
import tracemalloc

import pytest

from relay.policy.admission import Auth
from relay.ports import SpoolError, SpoolFullError
from relay.smtp.listener import Deadlines, TlsMode
from relay.smtp.reception import OVERRUN
from relay.smtp.session import Session
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_known_sender, a_listener

FALSE_ENDS = [
    b"\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
]
SMUGGLED = (
    b"MAIL FROM:<ceo@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    b"From: ceo@example.com\r\n\r\nSmuggled\r\n"
)


@pytest.mark.P2
async def test_a_mail_is_queued_under_the_id_it_is_answered_with() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        reply = await caller.send()
        ((mail, content),) = house.spool.committed
        assert reply == f"250 2.0.0 Ok queued as {mail.queue_id}"
        assert content.endswith(CONTENT)
        assert re.fullmatch(
            rb"Received: from app\.test \(\[127\.0\.0\.1\]\)\r\n"
            rb"\tby relay\.test with ESMTP id [A-Z0-9]{20}\r\n"
            rb"\tfor <jane@example\.net>; Sun, 01 Mar 2026 12:00:00 \+0000\r\n"
            rb"X-Relay-Id: [A-Z0-9]{20}\r\n",
            content.removesuffix(CONTENT),
        )
        ((_, listener, told, _),) = house.told("accepted")
        assert (listener, told) == ("legacy", mail)


@pytest.mark.P7
@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
async def test_no_false_end_smuggles_a_mail(false_end: bytes) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b"x" + false_end + SMUGGLED + b"\r\n.\r\nNOOP\r\n")
        assert (await caller.hear()).startswith("550 5.6.0 ")
        assert await caller.hear() == "250 2.0.0 Ok"
        assert not house.spool.committed
        ((_, phase, refusal, sender),) = house.told("refused")
        assert (phase, refusal.reason, sender) == ("data", "bad_content", "billing")
        # Nor does it leave anything behind.
        assert (await caller.send()).startswith("250 ")


async def test_a_true_end_begins_a_true_transaction() -> None:
    """A second mail behind a real end is the client's own, and is told apart."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n" + SMUGGLED + b".\r\n")
        said = [await caller.hear() for _ in range(5)]
        assert [reply[:3] for reply in said] == ["250", "250", "250", "354", "250"]
        assert len(house.spool.committed) == 2


@pytest.mark.P2
@pytest.mark.parametrize("size", [0, 1, 3, 100])
async def test_content_arrives_whole_however_it_is_cut(size: int) -> None:
    content = CONTENT + b".\r\n..\r\n.dot\r\n" + bytes(range(32, 256)) + b"\r\n"
    wire = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        for at in range(0, len(wire), size or len(wire)):
            caller.writer.write(wire[at : at + (size or len(wire))])
            await asyncio.sleep(0)
        assert (await caller.hear()).startswith("250 ")
        assert house.contents[0].endswith(content)


@pytest.mark.P2
async def test_a_large_mail_with_long_lines_arrives_whole() -> None:
    content = CONTENT + (b"x" * 70_000 + b"\r\n") * 50
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await caller.send(content)).startswith("250 ")
        assert house.contents[0].endswith(content)


@pytest.mark.P6
async def test_octets_over_the_limit_are_not_kept() -> None:
    """8 MB without a line end under a limit of 1 MiB."""
    small = a_known_sender(size=1024 * 1024)
    async with a_house(small) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT)
        chunk = b"x" * 65536
        tracemalloc.start()
        try:
            for _ in range(128):
                caller.writer.write(chunk)
                await caller.writer.drain()
            caller.say("", ".")
            assert (await caller.hear()).startswith("552 5.3.4 ")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # The limit, and a few pieces on the way in; the fake spool keeps what it is given twice.
        assert peak < 4 * 1024 * 1024
        assert house.spool.drafts[0].fate == "discarded"
        assert (await caller.send()).startswith("250 ")


@pytest.mark.P6
async def test_a_client_that_never_stops_is_cut_off_and_told_why() -> None:
    small = a_known_sender(size=1000)
    async with a_house(small) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        chunk = b"x" * 65536
        for _ in range((OVERRUN + 1000) // len(chunk) + 1):
            caller.writer.write(chunk)
            await caller.writer.drain()
        assert (await caller.hear()).startswith("552 5.3.4 ")
        assert await caller.rest() == b""
        assert not house.spool.committed


@pytest.mark.P1
@pytest.mark.parametrize(
    ("error", "start"),
    [(SpoolFullError("full"), "452 4.3.1 "), (SpoolError("sick"), "451 4.3.0 ")],
)
async def test_what_cannot_be_committed_is_not_answered_250(error: SpoolError, start: str) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.commit_error = error
        assert (await caller.send()).startswith(start)
        house.spool.commit_error = None
        assert (await caller.send()).startswith("250 ")
        assert [refusal.reason for _, _, refusal, _ in house.told("refused")] == ["spool"]


@pytest.mark.P1
@pytest.mark.parametrize(
    ("error", "start", "faults"),
    [
        (SpoolFullError("full"), "452 4.3.1 ", 0),
        (SpoolError("sick"), "451 4.3.0 ", 0),
        (RuntimeError("/var/lib/secret"), "451 4.3.0 Internal error", 1),
    ],
)
async def test_a_draft_that_fails_midway_takes_the_rest_for_content(
    error: Exception, start: str, faults: int
) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        house.spool.append_error = error
        caller.writer.write(CONTENT)
        caller.writer.write(b"QUIT\r\nMAIL FROM:<billing@example.com>\r\n.\r\n")
        assert (await caller.hear()).startswith(start)
        assert len(house.told("fault")) == faults
        house.spool.append_error = None
        assert (await caller.send()).startswith("250 ")
        assert len(house.spool.committed) == 1


async def test_no_room_is_said_at_mail() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.room = False
        assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("452 4.3.1 ")
        house.spool.room = True
        assert (await caller.send()).startswith("250 ")


async def vanish_in_data(house: House, farewell: bytes, *, reset: bool) -> None:
    async with await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(farewell)
        await caller.writer.drain()
        if reset:
            caller.reset()
    await house.gone()


@pytest.mark.P1
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("farewell", [b"", b"From: bil", CONTENT, CONTENT + b"."])
async def test_a_client_that_goes_during_data_leaves_nothing(farewell: bytes, reset: bool) -> None:
    async with a_house() as house:
        await vanish_in_data(house, farewell, reset=reset)
        assert not house.spool.committed
        assert all(draft.fate == "discarded" for draft in house.spool.drafts)
        assert not house.told("fault")
        assert len(house.told("session_closed")) == 1


@pytest.mark.P1
async def test_a_client_that_half_closes_still_gets_its_reply() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        house.spool.hold(picked=True)
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        caller.writer.write_eof()
        await house.spool.asked.wait()
        house.spool.release()
        assert (await caller.rest()).startswith(b"250 2.0.0 Ok queued as ")
        assert len(house.spool.committed) == 1


async def test_a_whole_session_before_half_closing_is_answered() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        caller.say("HELO a", "MAIL FROM:<billing@example.com>", "RCPT TO:<jane@example.net>")
        caller.writer.write(b"DATA\r\n" + CONTENT + b".\r\n")
        caller.writer.write_eof()
        said = (await caller.rest()).decode().splitlines()
        assert [line[:3] for line in said] == ["220", "250", "250", "250", "354", "250"]
        assert len(house.spool.committed) == 1


@pytest.mark.P1
async def test_a_client_that_goes_before_the_commit_is_taken_up_withdraws_it() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        house.spool.hold()
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        await house.spool.asked.wait()
        caller.reset()
        await house.gone()
        assert [draft.fate for draft in house.spool.drafts] == ["withdrawn"]
        assert not house.told("accepted")


@pytest.mark.P1
async def test_a_client_that_goes_later_leaves_its_mail_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = asyncio.Event()
    lost = Session.connection_lost

    def tell(session: Session, error: Exception | None) -> None:
        lost(session, error)
        gone.set()

    monkeypatch.setattr(Session, "connection_lost", tell)
    async with a_house() as house, await Caller.at(house.port) as caller:
        house.spool.hold(picked=True)
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        await house.spool.asked.wait()
        caller.reset()
        await gone.wait()
        house.spool.release()
        await house.gone()
        assert len(house.spool.committed) == len(house.told("accepted")) == 1


@pytest.mark.P1
async def test_a_commit_nobody_takes_up_is_withdrawn_in_time() -> None:
    deadlines = Deadlines(commit=0.02)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.hold()
        assert (await caller.send()).startswith("451 4.3.0 ")
        assert [draft.fate for draft in house.spool.drafts] == ["withdrawn"]
        house.spool.release()
        assert (await caller.send()).startswith("250 ")


@pytest.mark.P1
async def test_a_commit_that_was_taken_up_is_waited_for_whatever_it_takes() -> None:
    """The deadline has passed, and the command timeout too: the reply is still the truth."""
    deadlines = Deadlines(commit=0.01, command=0.02, data_block=0.02, data=0.02)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.hold(picked=True)
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        await house.spool.asked.wait()
        loop, rung = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(0.1, rung.set)
        await rung.wait()
        house.spool.release()
        assert (await caller.hear()).startswith("250 ")


@pytest.mark.P6
async def test_a_slow_commit_delays_nobody_else() -> None:
    async with (
        a_house() as house,
        await Caller.at(house.port) as slow,
        await Caller.at(house.port) as quick,
    ):
        await slow.greet()
        await quick.greet()
        house.spool.hold()
        await slow.reach_data()
        slow.writer.write(CONTENT + b".\r\nNOOP\r\n")
        await house.spool.asked.wait()
        assert await quick.ask("NOOP") == "250 2.0.0 Ok"
        house.spool.release()
        assert (await slow.hear()).startswith("250 2.0.0 Ok queued")
        assert await slow.hear() == "250 2.0.0 Ok"


@pytest.mark.P6
@pytest.mark.parametrize(
    "deadlines", [Deadlines(data_block=0.05), Deadlines(data=0.05)], ids=["block", "whole"]
)
async def test_content_that_does_not_come_is_not_waited_for(deadlines: Deadlines) -> None:
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT)
        assert (await caller.hear()).startswith("421 4.4.2 ")
        assert await caller.rest() == b""
        await house.gone()
        assert [refusal.reason for _, _, refusal, _ in house.told("refused")] == ["timeout"]
        assert not house.spool.committed


@pytest.mark.P6
async def test_content_that_trickles_is_not_waited_for_for_ever() -> None:
    deadlines = Deadlines(data_block=5, data=0.1)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        reply = asyncio.create_task(caller.hear())
        while not reply.done():
            caller.writer.write(b"x")
            await asyncio.wait([reply], timeout=0.005)
        assert reply.result().startswith("421 4.4.2 ")


async def test_how_the_client_came_is_written_in_received() -> None:
    listener = a_listener(TlsMode.OFF, Auth.OFF)
    async with a_house(listener=listener) as house, await Caller.at(house.port) as caller:
        await caller.hear()
        await caller.ask("HELO (evil; comment)")
        await caller.send(CONTENT, "jane@example.net", "joe@example.net")
        head = house.contents[0].removesuffix(CONTENT)
        assert head.startswith(b"Received: from [127.0.0.1] ([127.0.0.1])\r\n")
        assert b" with SMTP id " in head
        assert b"for <" not in head
