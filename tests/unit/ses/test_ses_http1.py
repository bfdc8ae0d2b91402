"""HTTP answers, as they come: whole, octet by octet, cut short, and wrong in every way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relay.ses.http1 import BODY_LIMIT, HEAD_LIMIT, GarbledError, Response, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"

Read = Callable[[bytes], Response | None]


def whole(octets: bytes) -> Response | None:
    return ResponseReader().feed(octets)


def octet_by_octet(octets: bytes) -> Response | None:
    reader = ResponseReader()
    for at in range(len(octets)):
        response = reader.feed(octets[at : at + 1])
        if response is not None:
            assert at == len(octets) - 1, "it was whole before its end"
            return response
    return None


@pytest.mark.parametrize("read", [whole, octet_by_octet])
@pytest.mark.parametrize(
    ("octets", "status", "body", "keeps_alive"),
    [
        (OK + b"Content-Length: 2\r\n\r\nhi", 200, b"hi", True),
        (OK + b"content-length:2  \r\nX:\r\n\r\nhi", 200, b"hi", True),
        (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True),
        (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
        (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", 200, b"hi", False),
        (OK + b"Connection: x, Close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
        (OK + b"Connection: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200, b"", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
        (b"HTTP/1.1 400 Bad: \xff\r\nContent-Length: 2\r\n\r\nhi", 400, b"hi", True),
        (b"HTTP/1.1 503\r\nContent-Length: 2\r\n\r\nhi", 503, b"hi", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
            + OK
            + b"Content-Length: 2\r\n\r\nhi",
            200,
            b"hi",
            True,
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, b"", True),
        (
            OK + b"Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0A \r\n0123456789\r\n000\r\n"
            b"X-Trailer: 1\r\n\r\n",
            200,
            b"abc0123456789",
            True,
        ),
        (
            OK + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\na\r\n0\r\n\r\n",
            200,
            b"a",
            False,
        ),
        (
            OK + b"X: " + b"x" * (HEAD_LIMIT - 39) + b"\r\nContent-Length: 0\r\n\r\n",
            200,
            b"",
            True,
        ),
    ],
)
def test_an_answer_is_read(
    read: Read, octets: bytes, status: int, body: bytes, keeps_alive: bool
) -> None:
    response = read(octets)
    assert response is not None
    assert (response.status, response.body) == (status, body)
    assert response.keeps_alive is keeps_alive


def test_an_answer_without_a_length_ends_with_the_stream() -> None:
    reader = ResponseReader()
    assert reader.feed(OK + b"\r\nhal") is None
    assert reader.feed(b"lo") is None
    response = reader.end()
    assert (response.body, response.keeps_alive) == (b"hallo", False)


def test_repeated_fields_are_joined() -> None:
    response = whole(OK + b"Via: a\r\nvia:\tb \r\nContent-Length: 0\r\n\r\n")
    assert response is not None
    assert response.fields[b"via"] == b"a, b"


def test_what_follows_an_answer_is_counted() -> None:
    reader = ResponseReader()
    assert reader.feed(OK + b"Content-Length: 2\r\n\r\nhiHTTP") is not None
    assert reader.surplus == 4


@pytest.mark.parametrize("read", [whole, octet_by_octet])
@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"SSH-2.0-OpenSSH_9.2", "no status line"),
        (b"220 mail.example.com ESMTP\r\n", "no status line"),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "no status line"),
        (b"HTTP/2 200\r\n\r\n", "no status line"),
        (b"HTTP/1.2 200 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 020 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: y\nZ: y\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", "malformed"),
        (OK + b"Content-Length: -1\r\n\r\n", "no number"),
        (OK + b"Content-Length: 1, 1\r\n\r\n", "no number"),
        (OK + b"Content-Length: " + b"9" * 20 + b"\r\n\r\n", "no number"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "two lengths"),
        (OK + b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), "too long"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "transfer coding"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n", "no size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n", "no size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "no size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc", "does not end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 1100, "size is too long"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", "body is too long"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * 66000, "trailer is too long"),
        (OK + b"X: " + b"x" * HEAD_LIMIT, "header is too long"),
        (OK + b"X: " + b"x" * (HEAD_LIMIT - 18) + b"\r\n\r\n", "header is too long"),
    ],
)
def test_what_is_no_answer_is_told_at_once(read: Read, octets: bytes, complaint: str) -> None:
    with pytest.raises(GarbledError, match=complaint):
        read(octets)


def test_an_endless_answer_is_cut_off() -> None:
    reader = ResponseReader()
    reader.feed(OK + b"\r\n")
    reader.feed(b"x" * BODY_LIMIT)
    with pytest.raises(GarbledError, match="too long"):
        reader.feed(b"x")
    reader = ResponseReader()
    reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(GarbledError, match="too long"):
        reader.feed((b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"HTT",
        b"HTTP/1.1 200 OK\r\nConten",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        OK + b"Content-Length: 3\r\n\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ],
)
def test_an_answer_cut_short_is_none(octets: bytes) -> None:
    reader = ResponseReader()
    assert reader.feed(octets) is None
    with pytest.raises(GarbledError, match="too soon"):
        reader.end()


def test_a_final_status_line_is_noticed_before_its_body() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert not reader.has_begun
    reader.feed(b"HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\n")
    assert reader.has_begun
