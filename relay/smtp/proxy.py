"""The PROXY header, versions 1 and 2: where it ends, and who it says the client is.

Pure. Follows "The PROXY protocol" (haproxy.org, proxy-protocol.txt), sections 2.1 and 2.2. Does not
know sockets, nor who may be believed.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from relay.policy.sender import Host, host_of

HEADER_LIMIT: Final = 536
"""Octets of the longest header taken: what every path carries in one segment (section 2)."""

_V1_START: Final = b"PROXY "
# Section 2.1: 107 octets, CRLF included, hold the longest line there can be.
_V1_LIMIT: Final = 107
# Fields are separated by exactly one space, and ports have no leading zeroes.
_PORT: Final = rb"(?:0|[1-9][0-9]{0,4})"
_V1: Final = re.compile(
    rb"PROXY (?:(UNKNOWN)(?: [^\r\n]*)?|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (%b) (%b))\r\n"
    % (_PORT, _PORT)
)

_V2_START: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED: Final = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21  # version 2 and the command, in one octet
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_STREAM: Final = 1
_DATAGRAM: Final = 2
_PORT_LIMIT: Final = 65535


class ProxyHeaderError(Exception):
    """The octets are not a PROXY header, nor the beginning of one."""


def length(octets: bytes) -> int:
    """Return the octets of the header that these begin, or so many as it has at the least.

    More than there are means that more must come. Raises ProxyHeaderError.
    """
    if octets.startswith(_V2_START):
        return _v2_length(octets)
    if octets.startswith(_V1_START):
        return _v1_length(octets)
    start = _V2_START if octets[:1] == b"\r" else _V1_START
    if not start.startswith(octets):
        raise ProxyHeaderError
    return len(start)


def source(header: bytes) -> Host | None:
    """Return the client a whole header names; None where it names nobody: the peer is the client.

    So it is for LOCAL, by which a proxy asks for its own sake, and where the proxy does not know or
    the protocol is none we serve. Raises ProxyHeaderError.
    """
    return _v1_source(header) if header.startswith(_V1_START) else _v2_source(header)


def _v1_length(octets: bytes) -> int:
    end = octets.find(b"\r\n", 0, _V1_LIMIT)
    if end >= 0:
        return end + 2
    if len(octets) >= _V1_LIMIT or b"\n" in octets:
        raise ProxyHeaderError
    return min(len(octets) + (1 if octets.endswith(b"\r") else 2), _V1_LIMIT)


def _v1_source(header: bytes) -> Host | None:
    match = _V1.fullmatch(header)
    if match is None:
        raise ProxyHeaderError
    unknown, version, *addresses, from_port, to_port = match.groups()
    if unknown:
        return None
    if int(from_port) > _PORT_LIMIT or int(to_port) > _PORT_LIMIT:
        raise ProxyHeaderError
    kind = IPv4Address if version == b"4" else IPv6Address
    try:
        client, _ = (kind(address.decode("ascii")) for address in addresses)
    except ValueError:
        raise ProxyHeaderError from None
    return host_of(str(client))


def _v2_length(octets: bytes) -> int:
    if len(octets) < _V2_FIXED.size:
        return _V2_FIXED.size
    found = _V2_FIXED.size + int(_V2_FIXED.unpack_from(octets)[3])
    if found > HEADER_LIMIT:
        raise ProxyHeaderError
    return found


def _v2_source(header: bytes) -> Host | None:
    _, command, protocol, _ = _V2_FIXED.unpack_from(header)
    if command == _LOCAL:
        return None
    family, transport = protocol >> 4, protocol & 0x0F
    if command != _PROXY or family > _UNIX or transport > _DATAGRAM:
        raise ProxyHeaderError
    if transport != _STREAM or family not in (_INET, _INET6):
        # Section 2.2: what is valid and not supported is as good as unspecified.
        return None
    size = 4 if family == _INET else 16
    # Two addresses and two ports; what follows them (TLVs) is not for us.
    addresses = header[_V2_FIXED.size :]
    if len(addresses) < 2 * size + 4:
        raise ProxyHeaderError
    packed = addresses[:size]
    return host_of(str(IPv4Address(packed) if family == _INET else IPv6Address(packed)))
