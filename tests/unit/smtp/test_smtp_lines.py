"""What lines of content may be, and what becomes of those that may not."""

from __future__ import annotations

import pytest

from relay.smtp.lines import LINE_LIMIT, ContentLines


def look(
    *pieces: bytes, normalize: bool = False, limit: bool = False
) -> tuple[bytes, ContentLines]:
    lines = ContentLines(normalize=normalize, limit=limit)
    return b"".join([lines.feed(piece) for piece in pieces]) + lines.end(), lines


@pytest.mark.P2
@pytest.mark.parametrize("at", range(10))
def test_lines_that_end_with_crlf_stay_as_they_are(at: int) -> None:
    content = b"one\r\ntwo\r\n"
    for normalize in (False, True):
        kept, lines = look(content[:at], content[at:], normalize=normalize, limit=True)
        assert kept == content
        assert not lines.is_flawed


@pytest.mark.P7
@pytest.mark.parametrize(
    ("content", "normal"),
    [
        (b"a\nb", b"a\r\nb"),
        (b"a\rb", b"a\r\nb"),
        (b"a\r", b"a\r\n"),
        (b"a\n\rb", b"a\r\n\r\nb"),
        (b"a\r\r\nb", b"a\r\n\r\nb"),
        (b"a\r\n\nb", b"a\r\n\r\nb"),
        (b"a\n.\nb", b"a\r\n.\r\nb"),
        (b"a\r.\rb", b"a\r\n.\r\nb"),
        (b"a\n.\r\nb", b"a\r\n.\r\nb"),
    ],
)
def test_a_stray_line_end_is_noted_or_mended(content: bytes, normal: bytes) -> None:
    for at in range(len(content) + 1):
        pieces = content[:at], content[at:]
        kept, lines = look(*pieces)
        assert (kept, lines.has_stray) == (content, True)
        kept, lines = look(*pieces, normalize=True)
        assert (kept, lines.has_stray) == (normal, False)


def test_a_nul_is_noted_whatever_becomes_of_line_ends() -> None:
    for normalize in (False, True):
        assert look(b"a\0b\r\n", normalize=normalize)[1].has_nul


@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_a_line_may_be_long_but_not_longer(end: bytes) -> None:
    line = b"x" * LINE_LIMIT
    for before in (b"", b"Short\r\n", line + b"\r\n"):
        for cut in (0, 1, LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 1):
            for filler, is_long in ((b"", False), (b"x", True)):
                content = before + filler + line + end
                _, lines = look(content[:cut], content[cut:], limit=True)
                assert lines.has_long is is_long, (before[:5], cut, filler)
                assert not look(content[:cut], content[cut:])[1].has_long


def test_where_a_stray_end_is_mended_lines_are_measured_after() -> None:
    _, lines = look((b"x" * 600 + b"\n") * 3, normalize=True, limit=True)
    assert not lines.has_long


@pytest.mark.P6
def test_nothing_but_half_a_line_end_is_held_back() -> None:
    lines = ContentLines(normalize=True, limit=True)
    assert lines.feed(b"x" * 900) == b"x" * 900
    assert lines.feed(b"\r") == b""
    assert lines.feed(b"\r") == b"\r\n"
    assert lines.end() == b"\r\n"
    assert lines.end() == b""


def test_what_was_mended_is_noted_and_what_was_well_is_not() -> None:
    lines = ContentLines(normalize=True, limit=False)
    lines.feed(b"a\r\nb\r\n")
    assert not lines.has_mended
    lines.feed(b"c\nd\r\n")
    assert lines.has_mended
    assert not lines.is_flawed
