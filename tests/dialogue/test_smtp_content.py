"""Content over real sockets: where it ends, what is kept of it, and what comes of bad content."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from dataclasses import replace

import pytest

from relay.mail.entry import Backlog
from relay.policy.admission import Auth
from relay.policy.ruleset import TraceHeaders
from relay.policy.sender import Limits, LineEndings, QueueShare
from relay.ports import SpoolError, SpoolFullError
from relay.smtp.frontdoor import Deadlines, TlsMode
from relay.smtp.session import Session
from relay.smtp.transfer import OVERRUN
from tests.builders import a_ruleset, an_address
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_known_sender, a_listener, until


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
        house.hurry(commit=60)
        assert (await caller.send()).startswith("250 ")


@pytest.mark.P1
async def test_a_commit_that_was_taken_up_is_waited_for_whatever_it_takes() -> None:
    """The deadline has passed, and the command timeout too: the reply is still the truth."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.hold(picked=True)
        house.hurry(data_block=0.4, data=0.4)
        await caller.reach_data()
        house.hurry(commit=0.01, command=0.02)
        caller.writer.write(CONTENT + b".\r\n")
        await house.spool.asked.wait()
        loop, rung = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(0.5, rung.set)
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


async def test_what_recipients_are_told_of_a_mail_is_the_operators_choice() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet("secret-host")
        for trace in (TraceHeaders.MINIMAL, TraceHeaders.NONE, TraceHeaders.FULL):
            house.rules.current = replace(a_ruleset(a_known_sender()), trace=trace)
            await caller.send()
        minimal, none, full = (content.removesuffix(CONTENT) for content in house.contents)
        assert re.fullmatch(
            rb"Received: by relay\.test with ESMTP id [A-Z0-9]{20}\r\n"
            rb"\tfor <jane@example\.net>; [^\r]+\r\nX-Relay-Id: [A-Z0-9]{20}\r\n",
            minimal,
        )
        assert re.fullmatch(rb"X-Relay-Id: [A-Z0-9]{20}\r\n", none)
        assert full.startswith(b"Received: from secret-host ([127.0.0.1])\r\n")


async def test_a_redirected_mail_says_whom_it_was_for() -> None:
    sender = replace(a_known_sender(), redirect_all=an_address("staging@example.com"))
    async with a_house(sender) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.send(CONTENT, "jane@example.net", "joe@example.net")
        head = house.contents[0].removesuffix(CONTENT)
        assert head.endswith(
            b"\r\nX-Relay-Redirected-From: jane@example.net,\r\n\tjoe@example.net\r\n"
        )
        assert b"for <staging@example.com>;" in head


@pytest.mark.P2
async def test_stray_line_ends_are_mended_where_the_listener_says_so() -> None:
    scanned = b"From: billing@example.com\nSubject: scan\r\rone\ntwo\r\n"
    listener = a_listener(line_endings=LineEndings.NORMALIZE)
    async with a_house(listener=listener) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await caller.send(scanned)).startswith("250 ")
        assert house.contents[0].endswith(
            b"\r\nFrom: billing@example.com\r\nSubject: scan\r\n\r\none\r\ntwo\r\n"
        )


@pytest.mark.parametrize(
    ("own", "of_listener", "start"),
    [
        (LineEndings.NORMALIZE, LineEndings.REJECT, "250 "),
        (LineEndings.REJECT, LineEndings.NORMALIZE, "550 5.6.0 The message has a CR or LF"),
    ],
)
async def test_what_the_sender_says_of_line_ends_goes_before_its_listener(
    own: LineEndings, of_listener: LineEndings, start: str
) -> None:
    sender = replace(a_known_sender(), line_endings=own)
    listener = a_listener(line_endings=of_listener)
    async with a_house(sender, listener=listener) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await caller.send(CONTENT + b"bare\nline\r\n")).startswith(start)


async def test_a_mail_must_not_grow_over_the_limit_by_being_mended() -> None:
    listener = a_listener(line_endings=LineEndings.NORMALIZE)
    small = a_known_sender(size=len(CONTENT) + 100)
    async with (
        a_house(small, listener=listener) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        assert (await caller.send(CONTENT + b"\n" * 49 + b"\r\n")).startswith("250 ")
        assert (await caller.send(CONTENT + b"\n" * 50 + b"\r\n")).startswith("552 5.3.4 ")
        # Whatever else is wrong with it, and was seen before.
        await caller.reach_data()
        caller.writer.write(b"Subject: nobody wrote this\r\n\r\n")
        await caller.writer.drain()
        (session,) = house.door.listeners[0].sessions._open
        await until(lambda: not session.has_more)
        caller.writer.write(b"\n" * 100 + b"\r\n.\r\n")
        assert (await caller.hear()).startswith("552 5.3.4 ")


async def test_long_lines_are_refused_where_the_listener_says_so() -> None:
    fits = CONTENT + b"x" * 998 + b"\r\n"
    too_long = CONTENT + b"x" * 999 + b"\r\n" + b"MAIL FROM:<billing@example.com>\r\n" * 100
    for refuses in (False, True):
        listener = a_listener(refuses_long_lines=refuses)
        async with a_house(listener=listener) as house, await Caller.at(house.port) as caller:
            await caller.greet()
            assert (await caller.send(fits)).startswith("250 ")
            reply = await caller.send(too_long)
            if refuses:
                assert reply == (
                    "550 5.6.0 The message has a line of more than 998 octets; wrap its lines"
                )
            else:
                assert house.contents[1].endswith(too_long)
            assert await caller.ask("NOOP") == "250 2.0.0 Ok"


@pytest.mark.P6
async def test_a_sender_whose_queue_is_full_is_told_so_alone() -> None:
    share = QueueShare(messages=2, octets=10_000)
    full = replace(a_known_sender(), limits=Limits(1_000_000, queue=share))
    async with a_house(full) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for backlog, size, start in (
            (Backlog(1, 9_000), "", "250 "),
            (Backlog(1, 9_000), " SIZE=1000", "250 "),
            (Backlog(1, 9_000), " SIZE=1001", "452 4.3.1 Your limit of 10000 waiting octets"),
            (Backlog(1, 10_000), "", "452 4.3.1 Your limit of 10000 waiting octets"),
            (Backlog(2, 10), "", "452 4.3.1 Your limit of 2 waiting messages is reached"),
        ):
            house.spool.backlogs[full.name] = backlog
            reply = await caller.ask(f"MAIL FROM:<billing@example.com>{size}")
            assert reply.startswith(start), (backlog, size)
            await caller.ask("RSET")
        assert {refusal.reason for _, _, refusal, *_ in house.told("refused")} == {"queue_full"}
