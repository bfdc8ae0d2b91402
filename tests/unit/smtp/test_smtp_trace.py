"""The trace fields: their form, and that a client cannot write in them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from relay.mail.address import Address
from relay.mail.envelope import QueueId
from relay.mail.header import HeaderBlock
from relay.policy.sender import host_of
from relay.smtp.trace import opening, protocol_name, trace_fields

NOW = datetime(2026, 3, 1, 9, 5, 7, 123456, tzinfo=UTC)
ID = QueueId("06H04YCY58GVCD1MB7KG")


def opened(name: str = "app.test", host: str = "192.0.2.7") -> bytes:
    return opening(name, host_of(host), hostname="relay.test", protocol="ESMTPSA")


def test_both_fields_are_written() -> None:
    fields = trace_fields(opened(), ID, NOW, Address("jane", "example.net"))
    assert fields == (
        b"Received: from app.test ([192.0.2.7])\r\n"
        b"\tby relay.test with ESMTPSA id 06H04YCY58GVCD1MB7KG\r\n"
        b"\tfor <jane@example.net>; Sun, 01 Mar 2026 09:05:07 +0000\r\n"
        b"X-Relay-Id: 06H04YCY58GVCD1MB7KG\r\n"
    )
    names = [field.name for field in HeaderBlock.parse(fields).fields]
    assert names == [b"received", b"x-relay-id"]


def test_several_recipients_are_not_shown_to_each_other() -> None:
    fields = trace_fields(opened(), ID, NOW, None)
    assert b"for <" not in fields
    assert b"KG; Sun, 01 Mar" in fields


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("app.test", b"app.test"),
        ("WIN_SERVER-1", b"WIN_SERVER-1"),
        ("[192.0.2.9]", b"[192.0.2.9]"),
        ("[IPv6:2001:db8::1]", b"[IPv6:2001:db8::1]"),
        ("", b"[192.0.2.7]"),
        ("a b", b"[192.0.2.7]"),
        ("a;b", b"[192.0.2.7]"),
        ("x (relay.test [192.0.2.1])", b"[192.0.2.7]"),
        ("caf\xe9", b"[192.0.2.7]"),
        ("a" * 300, b"[192.0.2.7]"),
        ("-", b"[192.0.2.7]"),
        ("a\tb", b"[192.0.2.7]"),
    ],
)
def test_a_client_names_itself_only_as_a_host(name: str, shown: bytes) -> None:
    assert opened(name).startswith(b"Received: from " + shown + b" ([192.0.2.7])\r\n\tby ")


def test_an_ipv6_client_is_a_tagged_literal() -> None:
    assert b" ([IPv6:2001:db8::5])\r\n" in opened(host="2001:db8::5")
    assert b" ([192.0.2.1])\r\n" in opened(host="::ffff:192.0.2.1")


@pytest.mark.parametrize(
    ("extended", "secure", "authenticated", "name"),
    [
        (False, False, False, "SMTP"),
        (False, True, False, "SMTP"),
        (True, False, False, "ESMTP"),
        (True, True, False, "ESMTPS"),
        (True, False, True, "ESMTPA"),
        (True, True, True, "ESMTPSA"),
    ],
)
def test_the_protocol_has_its_registered_name(
    extended: bool, secure: bool, authenticated: bool, name: str
) -> None:
    assert protocol_name(extended=extended, secure=secure, authenticated=authenticated) == name
