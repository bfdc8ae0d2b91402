"""Whatever the network sends: read the same however it is cut, and never a reason to fall over."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.verdict import Accepted, Broken, Refused, verdict
from relay.ses import answer, answer_v2
from relay.ses.http1 import GarbledError, Response, ResponseReader

# Octets that look enough like HTTP or SES's XML to get past the first checks.
PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 503 x\r\n",
    b"HTTP/1.1 204 \r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 9999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"X: y\r\n",
    b"\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n",
    b"hello",
    b"HTTP/",
]
JSON_PIECES = [
    b"{",
    b"}",
    b"[",
    b'"MessageId"',
    b'"message"',
    b'"__type"',
    b":",
    b",",
    b'"x"',
    b"1",
]
XML_PIECES = [
    b"<ErrorResponse>",
    b"<Error>",
    b"<Code>",
    b"</Code>",
    b"<Message>",
    b"</Message>",
    b"<MessageId>",
    b"</MessageId>",
    b"Throttling",
    b"&#",
    b"&#x110000;",
    b"&lt;",
    b"&",
    b"<",
    b"<?xml ?>",
    b"AccessDeniedException",
    b" ",
    b"\x00",
    b"\xff",
]


def soup(pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    piece = st.one_of(st.sampled_from(pieces), st.binary(max_size=8))
    return st.lists(piece, max_size=24).map(b"".join)


def read(parts: list[bytes]) -> Response | str | None:
    """Return the answer, the complaint, or None when more is awaited."""
    reader = ResponseReader()
    try:
        for part in parts:
            response = reader.feed(part)
            if response is not None:
                return response
    except GarbledError as error:
        return str(error)
    return None


def cut(octets: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(octets) + 1) for at in cuts), len(octets)]
    return [octets[a:b] for a, b in pairwise(edges)]


@given(octets=soup(PIECES), cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_an_answer_is_read_the_same_however_it_is_cut(octets: bytes, cuts: list[int]) -> None:
    at_once = read([octets])
    assert read(cut(octets, cuts)) == at_once
    assert read([octets[at : at + 1] for at in range(len(octets))]) == at_once


@given(octets=soup(PIECES))
def test_the_end_of_a_stream_is_an_answer_or_a_complaint(octets: bytes) -> None:
    reader = ResponseReader()
    with suppress(GarbledError):
        response = reader.feed(octets) or reader.end()
        assert response.status >= 200


@pytest.mark.P5
@given(status=st.integers(100, 999), body=soup(XML_PIECES))
def test_any_answer_is_read_and_has_a_verdict(status: int, body: bytes) -> None:
    said = answer.read(Response(status, {}, body, keeps_alive=True))
    assert isinstance(said, Accepted | Refused | Broken)
    assert isinstance(said, Refused) is not (200 <= status < 300)
    assert verdict(said) is not None


@pytest.mark.P5
@given(status=st.integers(100, 999), body=soup(JSON_PIECES), named=st.binary(max_size=40))
def test_any_answer_of_v2_is_read_and_has_a_verdict(status: int, body: bytes, named: bytes) -> None:
    fields = {b"x-amzn-errortype": named}
    said = answer_v2.read(Response(status, fields, body, keeps_alive=True))
    assert isinstance(said, Accepted | Refused | Broken)
    assert isinstance(said, Refused) is not (200 <= status < 300)
    assert verdict(said) is not None
