"""Addresses as SES reads them, and what it says of those it does not take."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.address import AddressError, parse_mailbox, parse_mailboxes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jane@example.net", ["jane@example.net"]),
        ("  jane@example.net ", ["jane@example.net"]),
        ("Jane <jane@example.net>", ["jane@example.net"]),
        (
            '"Doe, Jane" <jane@example.net>, joe@example.net',
            ["jane@example.net", "joe@example.net"],
        ),
        ("jane@example.net (home, sweet; home)", ["jane@example.net"]),
        ("a@b.c,, d@e.f,", ["a@b.c", "d@e.f"]),
        ('"a b"@example.net', ['"a b"@example.net']),
        ('"a@b"@example.net', ['"a@b"@example.net']),
        ("friends: a@b.c, D <d@e.f>;, g@h.i", ["a@b.c", "d@e.f", "g@h.i"]),
        ("undisclosed-recipients:;", []),
        ("=?UTF-8?Q?J=C3=B6rg?= <joerg@example.net>", ["joerg@example.net"]),
        ("jane+label@xn--mller-kva.example", ["jane+label@xn--mller-kva.example"]),
        ("Jörg <joerg@example.net>", ["joerg@example.net"]),
        ("", []),
        ("(nobody)", []),
    ],
)
def test_headers_are_read_as_the_mailboxes_in_them(text: str, expected: list[str]) -> None:
    assert [str(mailbox) for mailbox in parse_mailboxes(text)] == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("root", "Missing final '@domain'"),
        ("", "Missing final '@domain'"),
        ("<>", "Missing final '@domain'"),
        ('"root"', "Missing final '@domain'"),
        ("@example.net", "Missing local name"),
        ("jane@", "Missing domain"),
        ("jane doe@example.net", "Local address contains control or whitespace"),
        ("<jane @example.net>", "Local address contains control or whitespace"),
        ("jörg@example.net", "Local address contains control or whitespace"),
        ("github:jane", "Local address contains illegal character"),
        ("DEBUG: Bob <bob@example.net>", "Local address contains illegal character"),
        ("ja[ne@example.net", "Local address contains illegal character"),
        (".jane@example.net", "Local address starts with dot"),
        ("jane..doe@example.net", "Local address contains dot-dot"),
        ("jane.@example.net", "Local address ends with dot"),
        ("jane@exam ple.net", "Domain contains control or whitespace"),
        ("jane@müller.example", "Domain contains illegal character"),
        ("jane@exam_ple.net", "Domain contains illegal character"),
        ("jane@[192.0.2.1]", "Domain contains illegal character"),
        ("jane@example@example.net", "Domain contains illegal character"),
        ("jane@.example.net", "Domain starts with dot"),
        ("jane@example..net", "Domain contains dot-dot"),
        ("jane@example.net.", "Domain ends with dot"),
        ("Jane <jane@example.net> <joe@example.net>", "Extra route-addr"),
        ("Jane <jane@example.net> Doe", "Extra route-addr"),
        ("Jane <jane@example.net", "Invalid email address"),
        ("jane@example.net, joe@example.net", "Illegal address"),
    ],
)
def test_a_parameter_that_is_no_address_is_complained_of(text: str, complaint: str) -> None:
    with pytest.raises(AddressError) as refusal:
        parse_mailbox(text)
    assert str(refusal.value) == complaint


def test_a_label_can_be_taken_off() -> None:
    assert str(parse_mailbox("bounce+a1@example.net").unlabelled) == "bounce@example.net"


@given(st.text(max_size=40))
def test_any_text_is_either_read_or_complained_of(text: str) -> None:
    with contextlib.suppress(AddressError):
        parse_mailboxes(text)
