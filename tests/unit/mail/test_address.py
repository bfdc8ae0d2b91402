"""Mailboxes of RFC 5321: what is one, what is not, and when two are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.address import Address, AddressError, AddressFault


@pytest.mark.parametrize(
    ("text", "local_part", "domain"),
    [
        ("jane@example.net", "jane", "example.net"),
        ("Jane.Doe+tag@EXAMPLE.Net", "Jane.Doe+tag", "example.net"),
        ("a!#$%&'*+/=?^_`{|}~-b@x.example", "a!#$%&'*+/=?^_`{|}~-b", "x.example"),
        ('"jane doe"@example.net', "jane doe", "example.net"),
        ('"a\\"b"@example.net', 'a"b', "example.net"),
        ('"a@b"@example.net', "a@b", "example.net"),
        ("root@localhost", "root", "localhost"),
        ("jane@[192.0.2.1]", "jane", "[192.0.2.1]"),
        ("jane@[IPv6:2001:db8::1]", "jane", "[ipv6:2001:db8::1]"),
        ("jane@xn--bcher-kva.example", "jane", "xn--bcher-kva.example"),
    ],
)
def test_a_mailbox_is_read(text: str, local_part: str, domain: str) -> None:
    assert Address.parse(text) == Address(local_part, domain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@example.net",
        "jane@",
        "jane@@example.net",
        "jane@example..net",
        ".jane@example.net",
        "jane.@example.net",
        "jane@-example.net",
        "jane@example-.net",
        "jane@example.net.",
        "jane doe@example.net",
        "jane@example.net ",
        "jane @example.net",
        "jane@exam ple.net",
        "jane@example.net,joe@example.net",
        "jane(comment)@example.net",
        "@relay.example:jane@example.net",
        "<jane@example.net>",
        "jane@exa\rmple.net",
        "jane\n@example.net",
        "jane\x00@example.net",
        '"jane\r\n"@example.net',
        '""@example.net',
        '"jane@example.net',
        "jane@[300.0.2.1]",
        "jane@[IPv6:zz::1]",
        "jane@[IPv6:fe80::1%eth0]",
        "jane@[tag:x]",
        "jane@exa_mple.net",
    ],
)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    assert caught.value.fault is AddressFault.SYNTAX
    assert text == "" or text not in str(caught.value)


def test_encoded_words_are_text_not_addresses() -> None:
    """A lenient reader, aiosmtpd for one, makes this ceo@corp.example, which walks past any sender policy."""
    with pytest.raises(AddressError):
        Address.parse("ceo@=?utf-8?q?corp.example?=")


@pytest.mark.parametrize(
    "text", ["jané@example.net", "jane@bücher.example", "\u202ejane@x.example"]
)
def test_beyond_ascii_is_told_apart_from_bad_syntax(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    assert caught.value.fault is AddressFault.NON_ASCII


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a" * 64 + "@example.net", True),
        ("a" * 65 + "@example.net", False),
        ("a@" + ".".join(["d" * 62] * 4), True),
        ("a@" + ".".join(["d" * 63] * 4), False),
    ],
)
def test_the_limits_of_rfc_5321_hold(text: str, *, fits: bool) -> None:
    if fits:
        assert str(Address.parse(text)) == text
    else:
        with pytest.raises(AddressError) as caught:
            Address.parse(text)
        assert caught.value.fault is AddressFault.TOO_LONG


@pytest.mark.parametrize("text", ["root", '"a b"', "a.b", '"@"'])
def test_a_local_part_alone_is_told_from_nonsense(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    assert caught.value.fault is AddressFault.UNQUALIFIED


def test_needless_quotes_do_not_make_another_mailbox() -> None:
    assert Address.parse('"jane"@example.net') == Address.parse("jane@example.net")
    assert str(Address.parse('"jane"@example.net')) == "jane@example.net"


def test_folding_ignores_case_but_not_tags_or_dots() -> None:
    assert Address.parse("Jane@Example.net").folded == Address.parse("jANE@example.NET").folded
    assert Address.parse("j.ane@x.example").folded != Address.parse("jane@x.example").folded
    assert Address.parse("jane+a@x.example").folded != Address.parse("jane@x.example").folded


@given(st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=40))
def test_what_is_read_is_written_back_as_the_same_mailbox(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address
    assert not set(str(address)) & set("\r\n\0")
