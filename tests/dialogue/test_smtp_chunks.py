"""BDAT over real sockets, where things go wrong between one chunk and the next."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace

import pytest

from relay.mail.entry import Backlog
from relay.mail.envelope import SenderName
from relay.policy.sender import Limits, OverLimit, QueueShare, Rate
from relay.ports import SpoolError, SpoolFullError
from relay.smtp.chunks import OVERRUN
from relay.smtp.frontdoor import Deadlines
from tests.dialogue.house import CONTENT, Caller, a_house, a_known_sender, until


async def reach_bdat(caller: Caller) -> None:
    """Go as far as the first chunk."""
    await caller.greet()
    await begin(caller)


async def begin(caller: Caller) -> None:
    assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("250 ")
    assert (await caller.ask("RCPT TO:<jane@example.net>")).startswith("250 ")


async def send_chunk(caller: Caller, chunk: bytes, *, last: bool = False) -> str:
    caller.writer.write(b"BDAT %d%b\r\n%b" % (len(chunk), b" LAST" if last else b"", chunk))
    return await caller.hear()


@pytest.mark.P2
@pytest.mark.parametrize("size", [1, 7, 200_000])
async def test_a_mail_in_chunks_arrives_whole(size: int) -> None:
    content = CONTENT + b".\r\n..\r\n" + bytes(range(32, 256)) * (size // 10) + b"\r\n"
    async with a_house() as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        for at in range(0, len(content), size):
            caller.writer.write(b"BDAT %d\r\n" % len(content[at : at + size]))
            caller.writer.write(content[at : at + size])
            assert (await caller.hear()).endswith(" octets received")
        reply = await send_chunk(caller, b"", last=True)
        ((mail, kept),) = house.spool.committed
        assert reply == f"250 2.0.0 Ok queued as {mail.queue_id}"
        assert kept.endswith(content)
        ((_, listener, told, _),) = house.told("accepted")
        assert (listener, told) == ("legacy", mail)


@pytest.mark.P1
@pytest.mark.parametrize("chunk", [b"", b"From: bil", CONTENT])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_goes_between_chunks_leaves_nothing(chunk: bytes, reset: bool) -> None:
    async with a_house() as house:
        async with await Caller.at(house.port) as caller:
            await reach_bdat(caller)
            await send_chunk(caller, chunk)
            if reset:
                caller.reset()
        await house.gone()
        assert not house.spool.committed
        assert all(draft.fate == "discarded" for draft in house.spool.drafts)
        assert not house.door.listeners[0]._surroundings.headers.taken
        assert not house.told("fault")


@pytest.mark.P6
@pytest.mark.parametrize(
    "deadlines", [Deadlines(data_block=0.05), Deadlines(data=0.05)], ids=["block", "whole"]
)
async def test_a_chunk_that_does_not_come_is_not_waited_for(deadlines: Deadlines) -> None:
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        caller.say(b"BDAT 100", CONTENT)
        assert (await caller.hear()).startswith("421 4.4.2 ")
        assert await caller.rest() == b""
        await house.gone()
        assert [refusal.reason for _, _, refusal, _ in house.told("refused")] == ["timeout"]
        assert not house.spool.committed


@pytest.mark.P6
async def test_chunks_that_trickle_are_not_waited_for_for_ever() -> None:
    """The whole content has one time, however many commands bring it."""
    async with (
        a_house(deadlines=Deadlines(data=0.1)) as house,
        await Caller.at(house.port) as caller,
    ):
        await reach_bdat(caller)
        said = asyncio.create_task(caller.rest())
        while not said.done():
            caller.writer.write(b"BDAT 1\r\nx")
            await asyncio.wait([said], timeout=0.01)
        # Our goodbye is lost where a chunk crosses it: the system resets what is closed.
        assert isinstance(said.exception(), ConnectionResetError) or said.result().endswith(
            b"421 4.4.2 Timed out, closing connection\r\n"
        )
        assert [reply.code for _, reply in house.told("hung_up")] == [421]


@pytest.mark.P6
async def test_what_is_announced_in_vain_is_not_kept() -> None:
    small = a_known_sender(size=100_000)
    async with a_house(small) as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        size = 100_000 + OVERRUN
        caller.writer.write(b"BDAT %d\r\n" % size)
        tracemalloc.start()
        try:
            for _ in range(size // 10_000):
                caller.writer.write(b"x" * 10_000)
                await caller.writer.drain()
            caller.writer.write(b"x" * (size % 10_000))
            assert (await caller.hear()).startswith("552 5.3.4 ")
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
        # That is all this transaction gets.
        caller.say("BDAT 1")
        assert (await caller.hear()).startswith("552 5.3.4 ")
        assert await caller.rest() == b""
        assert [refusal.reason for _, _, refusal, *_ in house.told("refused")] == ["too_large"] * 2


async def test_a_client_without_a_transaction_cannot_announce_without_end() -> None:
    async with a_house(a_known_sender(size=1000)) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        caller.writer.write(b"BDAT %d\r\nQUIT\r\n" % (1001 + OVERRUN))
        assert (await caller.hear()).startswith("552 5.3.4 ")
        assert await caller.rest() == b""


@pytest.mark.P6
async def test_empty_chunks_are_junk() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        caller.say(*["BDAT 0"] * 200)
        said = (await caller.rest()).decode().splitlines()
        assert said[0] == "250 2.0.0 0 octets received"
        assert said[-1].startswith("421 4.7.0 ")
        assert len(said) == 101


@pytest.mark.P1
@pytest.mark.parametrize(
    ("error", "start", "faults"),
    [
        (SpoolFullError("full"), "452 4.3.1 ", 0),
        (SpoolError("sick"), "451 4.3.0 ", 0),
        (RuntimeError("/var/lib/secret"), "451 4.3.0 Internal error", 1),
    ],
)
async def test_a_draft_that_fails_is_told_with_the_last_chunk(
    error: Exception, start: str, faults: int
) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        house.spool.append_error = error
        await send_chunk(caller, CONTENT)
        house.spool.append_error = None
        assert (await send_chunk(caller, b"more\r\n")).endswith(" received")
        assert (await send_chunk(caller, b"", last=True)).startswith(start)
        assert len(house.told("fault")) == faults
        assert (await caller.send()).startswith("250 ")
        assert len(house.spool.committed) == 1


@pytest.mark.P1
async def test_a_commit_that_breaks_ends_the_transaction_and_not_the_session() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        house.spool.commit_error = RuntimeError("bug")
        reply = await send_chunk(caller, CONTENT, last=True)
        assert reply == "451 4.3.0 Internal error, try again later"
        house.spool.commit_error = None
        await begin(caller)
        assert (await send_chunk(caller, CONTENT, last=True)).startswith("250 ")


@pytest.mark.P1
async def test_a_fault_of_ours_never_turns_a_chunk_into_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_self: object, _octets: bytes) -> bytes:
        raise RuntimeError("broken")

    monkeypatch.setattr("relay.smtp.lines.ContentLines.feed", broken)
    async with a_house() as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        caller.writer.write(b"BDAT 200\r\n" + CONTENT + b"MAIL FROM:<billing@example.com>\r\n")
        assert await caller.rest() == b"421 4.3.0 Internal error, closing connection\r\n"
        assert len(house.told("fault")) == 1


async def test_quotas_count_chunks_as_they_count_data() -> None:
    limits = Limits(1_000_000, over_limit=OverLimit.REFUSE, recipients=(Rate(1, 3600.0),))
    sender = replace(a_known_sender(), limits=limits)
    async with (
        a_house(sender) as house,
        await Caller.at(house.port) as one,
        await Caller.at(house.port) as two,
    ):
        await reach_bdat(one)
        await reach_bdat(two)
        assert (await send_chunk(one, CONTENT)).startswith("250 ")
        assert (await send_chunk(two, CONTENT)).startswith("452 4.7.1 ")
        assert (await send_chunk(two, CONTENT)).startswith("503 5.5.1 ")
        # What is not kept is not counted.
        await one.ask("RSET")
        await two.ask("RSET")
        await begin(two)
        assert (await send_chunk(two, CONTENT, last=True)).startswith("250 ")
        assert (await one.ask("MAIL FROM:<billing@example.com>")).startswith("250 ")
        assert (await one.ask("RCPT TO:<jane@example.net>")).startswith("452 4.7.1 ")


@pytest.mark.P1
async def test_a_drain_lets_a_mail_in_chunks_be_finished() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        await send_chunk(caller, CONTENT)
        drained = asyncio.create_task(house.door.drain(5))
        await until(lambda: house.door.listeners[0].doorway is None)
        assert (await send_chunk(caller, b"more\r\n")).endswith(" received")
        assert (await send_chunk(caller, b"", last=True)).startswith("250 2.0.0 Ok queued as ")
        assert await caller.rest() == b"421 4.3.2 Service shutting down\r\n"
        await drained


async def test_a_drain_waits_for_no_mail_that_is_refused_already() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        await send_chunk(caller, CONTENT)
        caller.writer.write(b"BDAT 1 FIRST\r\nx")
        assert (await caller.hear()).startswith("501 5.5.4 ")
        async with asyncio.timeout(20):
            await house.door.drain(30)
        assert await caller.rest() == b"421 4.3.2 Service shutting down\r\n"


@pytest.mark.P6
async def test_chunks_have_the_time_of_one_content_and_no_more() -> None:
    deadlines = Deadlines(data=0.2, linger=0.1)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        reply = await send_chunk(caller, CONTENT)
        began = asyncio.get_running_loop().time()
        while reply.startswith("250 "):
            reply = await send_chunk(caller, b"x")
        assert reply == "421 4.4.2 Timed out, closing connection"
        assert asyncio.get_running_loop().time() - began < 5
        await house.gone()
        assert [refusal.reason for _, _, refusal, *_ in house.told("refused")] == ["timeout"]
        assert house.spool.committed == []


@pytest.mark.P6
async def test_under_stress_the_waits_between_chunks_count() -> None:
    deadlines = Deadlines(data_grace=0.05, data_rate=1_000_000)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await reach_bdat(caller)
        places = house.door.listeners[0].places
        while not places.is_stressed:
            assert places.take() is not None
        reply = await send_chunk(caller, CONTENT)
        while reply.startswith("250 "):
            reply = await send_chunk(caller, b"x")
        assert reply == "421 4.4.2 Timed out, closing connection"


async def test_the_share_of_the_queue_holds_for_transactions_at_once() -> None:
    limits = Limits(1_000_000, queue=QueueShare(messages=1))
    async with (
        a_house(replace(a_known_sender(), limits=limits)) as house,
        await Caller.at(house.port) as one,
        await Caller.at(house.port) as two,
    ):
        await reach_bdat(one)
        await reach_bdat(two)
        assert (await send_chunk(one, CONTENT, last=True)).startswith("250 ")
        house.spool.backlogs[SenderName("billing")] = Backlog(1, len(CONTENT))
        reply = await send_chunk(two, CONTENT, last=True)
        assert reply.startswith("452 4.3.1 Your limit of 1 waiting messages")
        assert len(house.spool.committed) == 1
