"""The end of content, and dots."""

from __future__ import annotations

import pytest

from relay.smtp.data import ContentScanner


def scan(*pieces: bytes) -> tuple[bytes, ContentScanner]:
    scanner = ContentScanner()
    content = b""
    for piece in pieces:
        assert not scanner.ended
        content += scanner.feed(piece)
    return content, scanner


@pytest.mark.parametrize(
    ("wire", "content", "remainder"),
    [
        (b".\r\n", b"", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n\r\n.\r\nQUIT\r\n", b"a\r\n\r\n", b"QUIT\r\n"),
        (b".\r\n.\r\n", b"", b".\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b"..a\r\n.b\r\n...\r\n.\r\n", b".a\r\nb\r\n..\r\n", b""),
        (b"a.\r\n.\r\n", b"a.\r\n", b""),
        (b" .\r\n.\r\n", b" .\r\n", b""),
    ],
)
@pytest.mark.P2
def test_content_ends_at_a_lone_dot_and_loses_its_stuffing(
    wire: bytes, content: bytes, remainder: bytes
) -> None:
    got, scanner = scan(wire)
    assert (got, scanner.ended, scanner.remainder) == (content, True, remainder)


@pytest.mark.parametrize(
    "false_end",
    [
        b"\n.\n",
        b"\r.\r",
        b"\r.\n",
        b"\n.\r",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
    ],
)
@pytest.mark.P7
def test_nothing_else_ends_content_and_no_octet_of_it_is_lost(false_end: bytes) -> None:
    wire = b"a" + false_end + b"MAIL FROM:<x@example.com>\r\n"
    content, scanner = scan(wire, b".\r\n")
    assert content == wire
    assert scanner.ended


def test_a_nul_before_the_dot_is_content() -> None:
    content, scanner = scan(b"a\r\n\x00.\r\nMAIL FROM:<x@example.com>\r\n")
    assert not scanner.ended
    assert b"\0." in content


def test_what_follows_the_end_is_not_content() -> None:
    content, scanner = scan(b"a\r\n.\r\nbare\n\0")
    assert (content, scanner.remainder) == (b"a\r\n", b"bare\n\0")


@pytest.mark.parametrize("at", range(1, 12))
def test_content_is_the_same_wherever_it_is_cut(at: int) -> None:
    wire = b"one\r\ntwo\r\n.\r\n"
    content, scanner = scan(wire[:at], wire[at:])
    assert content == b"one\r\ntwo\r\n"
    assert scanner.ended


@pytest.mark.P6
def test_only_a_few_octets_are_held_back() -> None:
    scanner = ContentScanner()
    given = sum(len(scanner.feed(b"x" * 1000)) for _ in range(100))
    assert given == 100_000
    # A dot after CRLF may be the end; nothing else waits.
    assert scanner.feed(b"\r\n.\r") == b""
    assert scanner.feed(b"x") == b"\r\n.\rx"
