"""The PROXY header, octet by octet. Examples are those of the specification where it has some."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.smtp.proxy import HEADER_LIMIT, ProxyHeaderError, length, source

START = b"\r\n\r\n\0\r\nQUIT\n"
TLV = b"\x04\x00\x03abc"


def v2(
    addresses: bytes, *, command: int = 0x21, protocol: int = 0x11, size: int | None = None
) -> bytes:
    found = len(addresses) if size is None else size
    return START + struct.pack("!BBH", command, protocol, found) + addresses


V4 = bytes([192, 0, 2, 1, 198, 51, 100, 1]) + struct.pack("!HH", 56324, 587)
V6 = bytes.fromhex("20010db8000000000000000000000001") * 2 + struct.pack("!HH", 56324, 587)
MAPPED = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])

GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 587\r\n", "192.0.2.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 25\r\n", "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n", "192.0.2.7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (v2(V4), "192.0.2.1"),
    (v2(V4 + TLV), "192.0.2.1"),
    (v2(V6, protocol=0x21), "2001:db8::1"),
    (v2(MAPPED + bytes(20), protocol=0x21), "192.0.2.7"),
    (v2(V6 + bytes(HEADER_LIMIT - 16 - len(V6)), protocol=0x21), "2001:db8::1"),
    (v2(b"", command=0x20, protocol=0), None),
    (v2(V4 + TLV, command=0x20), None),
    (v2(b"", protocol=0), None),
    (v2(V4, protocol=0x12), None),
    (v2(bytes(216), protocol=0x31), None),
]

BAD = [
    b"EHLO app.test\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"\r\n\r\nQUIT",
    b"proxy TCP4 192.0.2.1 198.51.100.1 1 25\r\n",
    b"PROXY  TCP4 192.0.2.1 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25 \r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 01 25\r\n",
    b"PROXY TCP4 192.0.2.01 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
    b"PROXY TCP6 192.0.2.1 198.51.100.1 1 25\r\n",
    b"PROXY TCP6 fe80::1%1 ::1 1 25\r\n",
    b"PROXY TCP6 1::2::3 ::1 1 25\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\n",
    b"PROXY UNKNOWN a\rb\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY " + b"x" * 101,
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    v2(V4, command=0x11),
    v2(V4, command=0x22),
    v2(V4, protocol=0x41),
    v2(V4, protocol=0x13),
    v2(V4[:-1]),
    v2(V6[:-1], protocol=0x21),
    v2(b"", size=HEADER_LIMIT - 15),
]


def read(octets: bytes) -> str | None:
    header = octets[: length(octets)]
    assert len(header) == length(octets)
    found = source(header)
    return None if found is None else str(found)


@pytest.mark.parametrize(("header", "client"), GOOD)
@pytest.mark.parametrize("behind", [b"", b"EHLO app.test\r\n", b"\x16\x03\x01", b"\r\n\r\n"])
def test_a_header_ends_where_it_ends(header: bytes, client: str | None, behind: bytes) -> None:
    assert length(header + behind) == len(header)
    assert read(header + behind) == client


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_a_part_of_a_header_asks_for_more_and_never_for_too_much(
    header: bytes, client: str | None
) -> None:
    for end in range(1, len(header)):
        assert end < length(header[:end]) <= len(header), end
    assert read(header) == client


@pytest.mark.P7
@pytest.mark.parametrize("octets", BAD)
def test_what_is_no_header_is_not_read_as_one(octets: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read(octets)


@given(st.binary(min_size=1, max_size=600))
def test_no_octets_whatever_break_the_reader(octets: bytes) -> None:
    for start in (b"", b"PROXY ", START, b"PROXY TCP4 ", START + b"\x21\x11"):
        whole = (start + octets)[:HEADER_LIMIT]
        try:
            end = length(whole)
            if end <= len(whole):
                source(whole[:end])
        except ProxyHeaderError:
            continue
        assert end <= HEADER_LIMIT
