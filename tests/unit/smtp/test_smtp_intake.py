"""Content into a draft: what is prepended, removed, refused, and what must stay as it is."""

from __future__ import annotations

import pytest

from relay.mail.envelope import QueueId
from relay.mail.reply import Refusal
from relay.smtp import headers
from relay.smtp.content import FIELD_LIMIT, HEADER_LIMIT, ContentIntake
from relay.smtp.headers import HeaderWindow
from tests.builders import a_sender
from tests.fakes import FakeSpool

FROM = b"From: billing@example.com\r\n"


def trace(queue_id: QueueId) -> bytes:
    assert queue_id
    return b"Received: here\r\n"


def an_intake(spool: FakeSpool, window: HeaderWindow | None = None) -> ContentIntake:
    return ContentIntake(spool, a_sender(), trace, window or HeaderWindow())


async def take(*pieces: bytes) -> tuple[Refusal | None, FakeSpool]:
    spool = FakeSpool()
    intake = an_intake(spool)
    for piece in pieces:
        refusal = await intake.take(piece)
        if refusal is not None:
            return refusal, spool
    return await intake.end(), spool


@pytest.mark.P2
@pytest.mark.parametrize(
    "content",
    [
        FROM + b"\r\nHello\r\n",
        FROM + b"\r\n",
        # No blank line: all of it is header.
        FROM,
        FROM + b"X-Odd:no space \t \r\n continued\r\n\r\nBcc: in the body\r\n\r\n\r\n",
        FROM + b"Subject: \xff\xfe raw octets \xe4\r\n\r\n\xff\xfe" + b"x" * 5000 + b"\r\n",
        FROM + b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n--a--\r\n",
    ],
)
async def test_content_stays_octet_by_octet(content: bytes) -> None:
    for cut in (len(content), 1, 7, len(FROM), len(FROM) + 1):
        refusal, spool = await take(content[:cut], content[cut:])
        assert refusal is None
        assert spool.drafts[0].content == b"Received: here\r\n" + content
        assert spool.drafts[0].size == len(content) + 16


@pytest.mark.P2
async def test_declared_fields_are_removed_and_nothing_else() -> None:
    content = (
        b"Bcc: one@example.net\r\n"
        + FROM
        + b"X-SES-Configuration-Set: mine\r\n"
        + b"BCC :\r\n\ttwo@example.net,\r\n three@example.net\r\n"
        + b"Subject: Bcc: stays\r\n"
        + b"Resent-Bcc: four@example.net\r\n"
        + b"return-path: <x@example.com>\r\n"
        + b"x-ses-source-arn:arn\r\n"
        + b"X-SES: stays\r\n"
        + b"\r\nBcc: stays too\r\n"
    )
    refusal, spool = await take(content)
    assert refusal is None
    assert spool.drafts[0].content == (
        b"Received: here\r\n"
        + FROM
        + b"Subject: Bcc: stays\r\nX-SES: stays\r\n\r\nBcc: stays too\r\n"
    )


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", "5.6.0"),
        (b"\r\n", "5.6.0"),
        (b"\r\n" + FROM + b"\r\n", "5.6.0"),
        (b"Hello, I have no header\r\n", "5.6.0"),
        (b"Subject: no author\r\n\r\n", "5.6.0"),
        (FROM + FROM + b"\r\n", "5.6.0"),
        (b"From root Mon Jan 1\r\n" + FROM + b"\r\n", "5.6.0"),
        (b" folded from nothing\r\n" + FROM + b"\r\n", "5.6.0"),
        (b"From: ceo@corp.example\r\n\r\n", "5.7.1"),
        (FROM + b"Received: x\r\n" * 101 + b"\r\n", "5.4.6"),
    ],
)
async def test_a_header_that_policy_refuses_costs_the_spool_nothing(
    content: bytes, status: str
) -> None:
    refusal, spool = await take(content)
    assert refusal is not None
    assert refusal.reply.status == status
    assert not spool.drafts


async def test_a_header_may_be_large_but_not_larger() -> None:
    filler = b"X-Filler: " + b"x" * 900 + b"\r\n"
    fits = FROM + filler * ((HEADER_LIMIT - len(FROM)) // len(filler))
    assert (await take(fits + b"\r\n"))[0] is None
    for content in (fits + filler + b"\r\n", fits + filler * 2):
        for cut in (len(content), 1000):
            refusal, spool = await take(content[:cut], content[cut:])
            assert refusal is not None
            assert refusal.reason == "bad_content"
            assert not spool.drafts


async def test_a_header_may_have_many_fields_but_not_more() -> None:
    folded = b"X-Folded: a\r\n b\r\n\tc\r\n"
    assert (await take(FROM + folded * (FIELD_LIMIT - 1) + b"\r\n"))[0] is None
    refusal, _ = await take(FROM + folded * FIELD_LIMIT + b"\r\n")
    assert refusal is not None
    assert "1000 fields" in refusal.reply.text


async def test_content_over_the_limit_is_refused_as_it_arrives() -> None:
    limit = a_sender().limits.message_size
    refusal, spool = await take(FROM + b"\r\n", b"x" * (limit - len(FROM) - 2))
    assert refusal is None
    refusal, spool = await take(FROM + b"\r\n", b"x" * (limit - len(FROM) - 1))
    assert refusal is not None
    assert (refusal.reply.code, refusal.reason) == (552, "too_large")
    assert len(spool.drafts[0].content) < 100


@pytest.mark.P6
async def test_a_header_sent_octet_by_octet_is_searched_once() -> None:
    spool = FakeSpool()
    intake = an_intake(spool)
    for octet in FROM + b"X: " + b"y" * 50_000 + b"\r\n\r\n":
        assert await intake.take(bytes([octet])) is None
    assert spool.drafts[0].content.endswith(b"y\r\n\r\n")


@pytest.mark.parametrize("control", [*range(1, 9), 11, 12, *range(14, 32)])
async def test_a_header_has_no_control_characters(control: int) -> None:
    for header in (b"Subject: a%cb\r\n", b"X-%c: a\r\n", b"Subject: a\r\n %c\r\n"):
        for pieces in ((FROM + header % control + b"\r\n",), (FROM, header % control, b"\r\n")):
            refusal, spool = await take(*pieces)
            assert refusal is not None
            assert str(refusal.reply).startswith("554 5.6.0 ")
            assert not spool.drafts


@pytest.mark.P2
async def test_tabs_in_a_header_and_controls_in_a_body_are_the_clients_own() -> None:
    content = FROM + b"Subject:\ta\tb\r\n\tc\r\n\r\n\x01\x1b[0m\x0c\x7f\r\n"
    refusal, spool = await take(content)
    assert refusal is None
    assert spool.drafts[0].content.endswith(content)


@pytest.mark.P6
async def test_unfinished_headers_share_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "HEADER_WINDOW", 1000)
    spool, window = FakeSpool(), HeaderWindow()
    first, second, third = (an_intake(spool, window) for _ in range(3))
    assert await first.take(FROM + b"X: " + b"x" * 600) is None
    refusal = await second.take(FROM + b"X: " + b"x" * 600)
    assert refusal is not None
    assert str(refusal.reply).startswith("452 4.3.1 ")
    assert refusal.reason == "busy"
    # What comes in one piece needs no room, and what is decided on gives it back.
    assert await third.take(FROM + b"X: " + b"x" * 600 + b"\r\n\r\n") is None
    assert await first.take(b"\r\n\r\n") is None
    assert window.taken == 0
    assert await an_intake(spool, window).take(FROM + b"X: " + b"x" * 600) is None


@pytest.mark.P6
async def test_a_header_that_is_given_up_gives_its_room_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(headers, "HEADER_WINDOW", 1000)
    window = HeaderWindow()
    intake = an_intake(FakeSpool(), window)
    await intake.take(FROM)
    assert window.taken == len(FROM)
    assert await intake.take(b"x" * 2000) is not None
    for _ in range(2):
        await intake.discard()
        assert window.taken == 0


@pytest.mark.parametrize("cut", [1, 30, 40, 200])
async def test_the_draft_is_told_the_message_id_that_mail_is_found_by(cut: int) -> None:
    content = FROM + b"Message-ID:\r\n <1@erp.example.com>\r\nBcc: x@example.net\r\n\r\nHi\r\n"
    refusal, spool = await take(content[:cut], content[cut:])
    assert refusal is None
    assert spool.drafts[0].message_id == "1@erp.example.com"


async def test_a_draft_without_a_message_id_has_an_empty_one() -> None:
    refusal, spool = await take(FROM + b"\r\nMessage-ID: <in@the.body>\r\n")
    assert refusal is None
    assert not spool.drafts[0].message_id
