"""The raw message: its header block, its parts, its attachments."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.content import Content

BLOCKED = frozenset({"exe", "bat"})


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"], ids=["crlf", "lf"])
def test_header_fields_are_unfolded_and_found_by_name(newline: bytes) -> None:
    content = Content.read(
        newline.join(
            [b"From: a@b.c", b"Subject : hello", b" world", b"X-A: 1", b"x-a: 2", b"", b"To: body"]
        )
    )
    assert content.first("subject") == "hello world"
    assert content.all("X-A") == ("1", "2")
    assert content.first("To") is None
    assert not content.header_block_broken
    assert content.octets[content.body_at :] == b"To: body"


@pytest.mark.parametrize(
    ("octets", "headers"),
    [
        (b"\r\nbody", 0),
        (b"\nbody", 0),
        (b"", 0),
        (b"A: b", 1),
        (b"A: b\r\n", 1),
        (b"A:\r\n\r\n", 1),
    ],
)
def test_a_message_may_lack_headers_or_body(octets: bytes, headers: int) -> None:
    content = Content.read(octets)
    if octets:
        assert len(content.headers) == headers
    assert content.octets == octets


@pytest.mark.parametrize(
    "block",
    [
        b"From: a@b.c\r\nHello there\r\n\r\n",
        b": nameless\r\n\r\n",
        b"From: a@b.c\r\nA: b\rC: d\r\n\r\n",
        b"From root@host Mon Mar  2 09:15:04 2026\r\n\r\n",
    ],
)
def test_a_line_that_is_no_field_breaks_the_block(block: bytes) -> None:
    assert Content.read(block).header_block_broken


def multipart(*parts: bytes, boundary: bytes = b"x") -> Content:
    delimiter = b"\r\n--" + boundary
    body = b"".join(delimiter + b"\r\n" + part for part in parts) + delimiter + b"--\r\n"
    declared = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n'
    return Content.read(declared + b"\r\n" + body)


@pytest.mark.parametrize(
    ("octets", "missing"),
    [
        (b"Content-Type: text/plain\r\n\r\nhello", False),
        (b"Subject: x\r\n\r\nhello", False),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n--x--", False),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\npreamble\r\n--x\r\n\r\nhi", False),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\nhello", True),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\nnot at its start --x\r\n", True),
        (b"Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\nhello", True),
    ],
)
def test_a_multipart_needs_its_start_boundary(octets: bytes, missing: bool) -> None:
    assert Content.read(octets).start_boundary_missing is missing


def test_leaf_parts_are_counted_and_not_lines_that_look_like_boundaries() -> None:
    assert not multipart(b"\r\na", b"\r\nb").has_more_parts_than(2)
    assert multipart(b"\r\na", b"\r\nb", b"\r\nc").has_more_parts_than(2)
    assert not multipart(b"\r\n" + b"--y\r\n" * 9).has_more_parts_than(2)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (b'Content-Disposition: attachment; filename="run.EXE"', "run.EXE"),
        (b"Content-Disposition: attachment; filename=run.bat", "run.bat"),
        (b'Content-Type: application/x; name="run.exe"', "run.exe"),
        (b"Content-Disposition: attachment; filename*=utf-8''r%C3%BCn.exe", "rün.exe"),
        (b'Content-Disposition: attachment;\r\n filename="report.pdf"', None),
        (b'Content-Disposition: attachment; filename="exe"', None),
        (b"Content-Type: text/plain", None),
    ],
)
def test_attachments_are_known_by_their_extension(headers: bytes, found: str | None) -> None:
    content = multipart(b"\r\ntext", headers + b"\r\n\r\npayload")
    assert content.attachment_ending_in(BLOCKED) == found


def test_a_name_in_the_text_is_no_attachment() -> None:
    assert multipart(b'\r\nset filename="run.exe" first').attachment_ending_in(BLOCKED) is None


def test_the_test_virus_is_found_as_it_is_and_encoded() -> None:
    virus = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
    assert Content.read(b"A: b\r\n\r\n" + virus).has_virus
    assert Content.read(b"A: b\r\n\r\n" + base64.encodebytes(virus)).has_virus
    assert not Content.read(b"A: b\r\n\r\nhello").has_virus


@given(
    st.lists(
        st.sampled_from(
            [
                b"\r",
                b"\n",
                b"\r\n",
                b":",
                b" ",
                b"--x",
                b"a",
                b"\xff",
                b"\x00",
                b"Content-Type",
                b"multipart/mixed; boundary=x",
                b"name=run.exe",
                b"=?utf-8?q?a?=",
                b"filename*=x''",
            ]
        ),
        max_size=30,
    ).map(lambda pieces: b"".join(itertools.chain(pieces)))
)
def test_no_message_is_too_broken_to_be_looked_at(octets: bytes) -> None:
    content = Content.read(octets)
    assert content.start_boundary_missing in {True, False}
    assert content.has_more_parts_than(1) in {True, False}
    content.attachment_ending_in(BLOCKED)
