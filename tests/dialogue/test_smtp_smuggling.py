"""One mail that is to be taken for two, and commands hidden where there should be none.

What is answered and what is spooled are both looked at: either alone can look right.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay.policy.admission import Auth
from relay.policy.sender import LineEndings
from relay.smtp.frontdoor import AuthWithoutTls, TlsMode
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_listener, trusting

pytestmark = pytest.mark.P7

# The union of hannob/smtpsmug and The-Login/SMTP-Smuggling-Tools.
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
    b"\r\n.\x00\r\n",
    b"\r\n\x00.\n",
    b"\r\n.\n\r\n",
]
COMMANDS = (
    b"MAIL FROM:<ceo@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    b"From: ceo@example.com\r\n\r\nSmuggled"
)
NORMALIZING = a_listener(line_endings=LineEndings.NORMALIZE)


def mended(content: bytes) -> bytes:
    """The content as every editor would end its lines."""
    return b"\r\n".join(re.split(rb"\r\n|\r|\n", content))


def refusals(house: House) -> list[tuple[str, str]]:
    return [(phase, refusal.reason) for _, phase, refusal, *_ in house.told("refused")]


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
async def test_no_false_end_ends_content(false_end: bytes) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b"x" + false_end + COMMANDS + b"\r\n.\r\nNOOP\r\n")
        assert (await caller.hear()).startswith("550 5.6.0 ")
        assert await caller.hear() == "250 2.0.0 Ok"
        assert not house.spool.committed
        assert refusals(house) == [("data", "bad_content")]
        # Nor does it leave anything behind.
        assert (await caller.send()).startswith("250 ")


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
async def test_no_false_end_ends_content_that_is_mended(false_end: bytes) -> None:
    content = CONTENT + b"x" + false_end + COMMANDS + b"\r\n"
    async with a_house(listener=NORMALIZING) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(content + b".\r\nNOOP\r\n")
        reply = await caller.hear()
        assert await caller.hear() == "250 2.0.0 Ok"
        if b"\0" in false_end:
            assert reply.startswith("550 5.6.0 The message has a NUL")
            assert not house.spool.committed
        else:
            assert reply.startswith("250 2.0.0 Ok queued as ")
            (kept,) = house.contents
            assert kept.endswith(mended(content))


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
@pytest.mark.parametrize("normalizes", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 2, 3])
async def test_chunks_hide_no_false_end_either(
    false_end: bytes, normalizes: bool, cut: int
) -> None:
    """SES's own reader must never see what a chunk of ours let through."""
    content = CONTENT + b"x" + false_end + COMMANDS + b"\r\n"
    at = len(CONTENT) + 1 + cut
    listener = NORMALIZING if normalizes else a_listener()
    async with a_house(listener=listener) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        reply = await send_chunks(caller, content[:at], content[at:])
        assert await caller.ask("NOOP") == "250 2.0.0 Ok"
        if normalizes and b"\0" not in false_end:
            assert reply.startswith("250 2.0.0 Ok queued as ")
            (kept,) = house.contents
            assert kept.endswith(mended(content))
        else:
            assert reply.startswith("550 5.6.0 ")
            assert not house.spool.committed


async def send_chunks(caller: Caller, *chunks: bytes) -> str:
    """Send one mail in chunks, all at once; return the reply to the last."""
    await caller.ask("MAIL FROM:<billing@example.com>")
    await caller.ask("RCPT TO:<jane@example.net>")
    for at, chunk in enumerate(chunks, 1):
        last = b" LAST" if at == len(chunks) else b""
        caller.writer.write(b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk))
    for chunk in chunks[:-1]:
        assert await caller.hear() == f"250 2.0.0 {len(chunk)} octets received"
    return await caller.hear()


async def test_a_true_end_in_a_chunk_is_content() -> None:
    content = CONTENT + b".\r\n" + COMMANDS + b"\r\n.\r\nBDAT 0 LAST\r\n"
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await send_chunks(caller, content[:60], content[60:])).startswith("250 2.0.0 Ok q")
        assert await caller.ask("NOOP") == "250 2.0.0 Ok"
        (kept,) = house.contents
        assert kept.endswith(content)


async def test_a_true_end_begins_a_true_transaction() -> None:
    """A second mail behind a real end is the client's own, and is told apart."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n" + COMMANDS + b"\r\n.\r\n")
        said = [await caller.hear() for _ in range(5)]
        assert [reply[:3] for reply in said] == ["250", "250", "250", "354", "250"]
        assert len(house.spool.committed) == 2


# --- sizes that lie -------------------------------------------------------------------------------


async def test_a_size_that_is_too_large_swallows_what_follows_and_nothing_is_kept() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<jane@example.net>")
        caller.writer.write(b"BDAT %d LAST\r\n" % (len(CONTENT) + 100))
        caller.writer.write(CONTENT + b"RSET\r\nMAIL FROM:<billing@example.com>\r\n")
        caller.writer.write_eof()
        assert await caller.rest() == b""
        await house.gone()
        assert not house.spool.committed
        assert {draft.fate for draft in house.spool.drafts} == {"discarded"}


async def test_a_size_that_is_too_small_ends_the_mail_there() -> None:
    """What is left over is the client's to answer for: it is no part of any mail."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<jane@example.net>")
        caller.writer.write(b"BDAT %d LAST\r\n" % (len(CONTENT) - 7) + CONTENT)
        assert (await caller.hear()).startswith("250 2.0.0 Ok queued as ")
        assert await caller.hear() == "500 5.5.2 Command not recognised"
        (kept,) = house.contents
        assert kept.endswith(CONTENT[:-7])


@pytest.mark.parametrize(
    ("command", "start"),
    [
        (b"BDAT %d LAST now", "501 5.5.4 "),
        (b"BDAT %d " + b" " * 600 + b"x", "501 5.5.4 "),
        (b"BDAT %d LAST" + b" " * 600, "250 2.0.0 Ok queued as "),
        (b"BDAT 00%d LAST", "250 2.0.0 Ok queued as "),
    ],
)
async def test_whatever_the_line_is_like_its_octets_are_no_commands(
    command: bytes, start: str
) -> None:
    content = CONTENT + COMMANDS + b"\r\n.\r\n"
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<jane@example.net>")
        caller.writer.write(command % len(content) + b"\r\n" + content + b"NOOP\r\n")
        assert (await caller.hear()).startswith(start)
        assert await caller.hear() == "250 2.0.0 Ok"
        assert all(kept.endswith(content) for kept in house.contents)


@pytest.mark.parametrize(
    "command",
    [b"BDAT", b"BDAT -1", b"BDAT LAST", b"BDAT 0x99", b"BDAT\t99", b"BDAT " + b"9" * 20, b"BDAT9"],
)
async def test_where_no_size_can_be_read_nothing_more_is(command: bytes) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<jane@example.net>")
        caller.writer.write(command + b"\r\nRSET\r\n" + COMMANDS + b"\r\n.\r\n")
        assert await caller.rest() == b"501 5.5.4 Syntax: BDAT size [LAST]\r\n"
        assert not house.spool.committed


async def test_a_chunk_that_ends_in_half_a_line_end_is_joined_with_the_next() -> None:
    for before, after in ((b"one\r", b"\ntwo\r\n"), (b"one\r\n", b".\r\n"), (b"one\r\n.", b"\r\n")):
        async with a_house() as house, await Caller.at(house.port) as caller:
            await caller.greet()
            reply = await send_chunks(caller, CONTENT + before, after)
            assert reply.startswith("250 2.0.0 Ok queued as ")
            assert house.contents[0].endswith(CONTENT + before + after)
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await send_chunks(caller, CONTENT + b"one\r", b"")).startswith("550 5.6.0 ")
        assert (await send_chunks(caller, CONTENT + b"one\r", b"x\r\n")).startswith("550 5.6.0 ")


# --- STARTTLS and AUTH ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behind",
    [
        b"NOOP\r\n",
        b"MAIL FROM:<billing@example.com>\r\n",
        b"M",
        b"\x16\x03\x01",
        b"BDAT 5\r\nhello",
    ],
)
async def test_nothing_said_in_the_clear_is_heard_under_tls(
    behind: bytes, certificate: Path
) -> None:
    """CVE-2011-0411: octets behind STARTTLS in the same segment."""
    listener = a_listener(TlsMode.STARTTLS)
    async with (
        a_house(listener=listener, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        caller.writer.write(b"STARTTLS\r\n" + behind)
        assert await caller.rest() == b"554 5.5.0 Octets followed STARTTLS, closing connection\r\n"


async def test_chunks_from_before_tls_are_forgotten(certificate: Path) -> None:
    listener = a_listener(TlsMode.STARTTLS)
    async with (
        a_house(listener=listener, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<victim@example.net>")
        caller.writer.write(b"BDAT %d\r\n" % len(CONTENT) + CONTENT)
        assert (await caller.hear()).startswith("250 ")
        assert (await caller.ask("STARTTLS")).startswith("220 ")
        await caller.start_tls(trusting(certificate))
        assert (await caller.ask("EHLO a")).startswith("250-")
        assert await caller.ask("BDAT 0 LAST") == "503 5.5.1 Send MAIL first"
        assert [draft.fate for draft in house.spool.drafts] == ["discarded"]
        assert (await caller.send()).startswith("250 ")


async def test_a_starttls_hidden_in_a_chunk_begins_no_handshake(certificate: Path) -> None:
    listener = a_listener(TlsMode.STARTTLS)
    async with (
        a_house(listener=listener, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        content = CONTENT + b"STARTTLS\r\n"
        assert (await send_chunks(caller, content)).startswith("250 2.0.0 Ok queued as ")
        assert house.contents[0].endswith(content)


async def test_commands_behind_auth_are_responses_and_nothing_else() -> None:
    listener = a_listener(TlsMode.OFF, Auth.OPTIONAL, auth_without_tls=AuthWithoutTls.LOOPBACK)
    async with a_house(listener=listener) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        caller.say("AUTH LOGIN", "MAIL FROM:<billing@example.com>", "RCPT TO:<victim@example.net>")
        said = [await caller.hear() for _ in range(3)]
        assert [reply[:9] for reply in said] == ["334 VXNlc", "501 5.5.2", "503 5.5.1"]
        # A login cannot bring a line of its own: "billing\r\nRCPT TO:<a@b>", "swordfish".
        token = "AGJpbGxpbmcNClJDUFQgVE86PGFAYj4Ac3dvcmRmaXNo"
        assert (await caller.ask(f"AUTH PLAIN {token}")).startswith("535 5.7.8 ")
        assert not house.spool.committed
