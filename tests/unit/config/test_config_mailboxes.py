"""Mail addresses and authors: what is read, what is not, and what a From field shows."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.mailboxes import address, author
from relay.mail.address import Address
from relay.mail.header import mailboxes

SCANNER = Address("scanner", "example.com")


def test_an_address_is_read() -> None:
    assert address("Scanner@Example.COM") == Address("Scanner", "example.com")


@pytest.mark.parametrize("text", ["", "scanner", "@example.com", "ü@example.com", "<a@b.example>"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a mail address, such as user@example\.com$"):
        address(text)


def test_an_address_has_a_domain_name() -> None:
    for read in (address, author):
        with pytest.raises(ValueError, match="Amazon SES sends to and from domain names only"):
            read("scanner@[10.0.0.1]")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("scanner@example.com", "scanner@example.com"),
        ("<scanner@example.com>", "<scanner@example.com>"),
        (" Scanner <scanner@example.com> ", "Scanner <scanner@example.com>"),
        ('"Scanner, 2nd" <scanner@example.com>', '"Scanner, 2nd" <scanner@example.com>'),
        ("=?utf-8?q?B=C3=BCro?= <scanner@example.com>",) * 2,
        ("Büro <scanner@example.com>", "=?utf-8?b?QsO8cm8=?= <scanner@example.com>"),
        ('"Büro" <scanner@example.com>', "=?utf-8?b?QsO8cm8=?= <scanner@example.com>"),
    ],
)
def test_an_author_is_written_in_ascii(text: str, field: str) -> None:
    found = author(text)
    assert (found.address, found.field) == (SCANNER, field)
    # Shown as it was written, so that a file made of what is shown says the same.
    assert author(str(found)) == found


@pytest.mark.parametrize(
    "name", ["Büro, 2. Stock", 'Das "neue" Büro', ("Сканер " * 12).strip(), "掃描" * 40]
)
def test_a_name_in_any_letters_arrives(name: str) -> None:
    quoted = name.replace('"', '\\"')
    field = author(f'"{quoted}" <scanner@example.com>').field
    assert str(make_header(decode_header(field))) == f"{name} <scanner@example.com>"
    # RFC 2047 section 2.
    assert all(len(word) <= 75 for word in field.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "^is not an author, such as Scanner <scanner@example.com>: an address is not"),
        ("Scanner", "^is not an author"),
        ("Scanner, 2nd <scanner@example.com>", "^is not an author"),
        ("Scanner (2nd) <scanner@example.com>", "comments and groups are not accepted here"),
        ("a@b.example <scanner@example.com>", "with an address in it must be quoted"),
        ('"ü a@b.example" <scanner@example.com>', "an encoded display name hides an address"),
        ("a@b.example, scanner@example.com", "^names several authors: write one$"),
        ("x" * 900 + " <scanner@example.com>", "^is too long for a From header: 900 octets"),
        ("ü" * 500 + " <scanner@example.com>", "^is too long for a From header: 900 octets"),
    ],
)
def test_what_is_no_author(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        author(text)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_any_name_is_refused_or_can_be_admitted(name: str) -> None:
    """What stands in the file is never refused as a From header later."""
    try:
        field = author(f"{name} <scanner@example.com>").field
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017 - both ends are fine
    else:
        assert mailboxes(field.encode("ascii")) == (SCANNER,)
        assert "\n" not in field
