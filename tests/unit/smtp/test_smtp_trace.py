"""The trace fields: their form, and that a client cannot write in them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from relay.mail.address import Address
from relay.mail.envelope import QueueId
from relay.mail.header import HeaderBlock
from relay.policy.ruleset import TraceHeaders
from relay.policy.sender import host_of
from relay.smtp.trace import opening, protocol_name, redirected_from, trace_fields
from tests.builders import addresses

NOW = datetime(2026, 3, 1, 9, 5, 7, 123456, tzinfo=UTC)
ID = QueueId("06H04YCY58GVCD1MB7KG")


def opened(
    name: str = "app.test", host: str = "192.0.2.7", trace: TraceHeaders = TraceHeaders.FULL
) -> bytes:
    return opening(name, host_of(host), hostname="relay.test", protocol="ESMTPSA", trace=trace)


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


def test_recipients_need_not_be_told_where_a_mail_came_from() -> None:
    minimal = trace_fields(opened(trace=TraceHeaders.MINIMAL), ID, NOW, None)
    assert minimal == (
        b"Received: by relay.test with ESMTPSA id 06H04YCY58GVCD1MB7KG;"
        b" Sun, 01 Mar 2026 09:05:07 +0000\r\n"
        b"X-Relay-Id: 06H04YCY58GVCD1MB7KG\r\n"
    )
    nothing = trace_fields(opened(trace=TraceHeaders.NONE), ID, NOW, Address("jane", "example.net"))
    assert nothing == b"X-Relay-Id: 06H04YCY58GVCD1MB7KG\r\n"


def test_redirected_mail_names_whom_it_was_for() -> None:
    assert redirected_from(addresses(2)) == (
        b"X-Relay-Redirected-From: user0@example.net,\r\n\tuser1@example.net\r\n"
    )


@pytest.mark.parametrize("count", [1, 50, 92, 93, 94, 1000])
def test_redirected_mail_names_as_many_as_fit(count: int) -> None:
    written = redirected_from(addresses(count))
    assert len(written) < 2100
    assert all(len(line) <= 78 for line in written.split(b"\r\n"))
    (field,) = HeaderBlock.parse(written).fields
    assert field.name == b"x-relay-redirected-from"
    named = written.count(b"@")
    if named < count:
        assert written.endswith(b" and %d more\r\n" % (count - named))
        assert len(written) > 1900
    else:
        assert b"more" not in written


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
