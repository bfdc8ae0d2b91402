"""Header blocks are read without guessing and trimmed without touching a kept octet."""

from __future__ import annotations

import re
from email import message_from_string, policy
from email.header import decode_header, make_header
from email.utils import getaddresses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.mail import header
from relay.mail.address import Address
from relay.mail.header import FieldNames, HeaderBlock, HeaderError, mailboxes, message_id

BLOCK = (
    b"From: Jane <jane@example.com>\r\n"
    b"Subject: =?utf-8?q?caf=C3=A9?=\r\n"
    b"Bcc: secret@example.net,\r\n\tother@example.net\r\n"
    b"X-Weird:no space\r\n"
    b"bCC : third@example.net\r\n"
    b"To: a@b.example\r\n  \r\n"
)


def test_fields_keep_their_order_names_and_unfolded_values() -> None:
    block = HeaderBlock.parse(BLOCK)
    assert [field.name for field in block.fields] == [
        b"from",
        b"subject",
        b"bcc",
        b"x-weird",
        b"bcc",
        b"to",
    ]
    assert next(block.named(b"bcc")).value == b"secret@example.net,\tother@example.net"


@pytest.mark.P2
def test_removing_fields_takes_their_folded_lines_and_nothing_else() -> None:
    trimmed = HeaderBlock.parse(BLOCK).without(FieldNames("bcc"))
    assert trimmed.octets == (
        b"From: Jane <jane@example.com>\r\n"
        b"Subject: =?utf-8?q?caf=C3=A9?=\r\n"
        b"X-Weird:no space\r\n"
        b"To: a@b.example\r\n  \r\n"
    )


@pytest.mark.parametrize(
    "octets",
    [
        b"From jane@example.com Mon Jan  1 00:00:00 2026\r\nTo: a@b.example\r\n",
        b" folded first\r\n",
        b"No Colon Here\r\n",
        b"Bad Name: x\r\n",
        b": no name\r\n",
        b"Subject: bare\nlf\r\n",
        b"Subject: bare\rcr\r\n",
        b"Subject: no end",
        b"Sub\xe9ject: x\r\n",
    ],
)
def test_a_line_that_is_no_field_is_refused_not_skipped(octets: bytes) -> None:
    with pytest.raises(HeaderError):
        HeaderBlock.parse(octets)


@given(
    st.lists(
        st.tuples(
            st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True),
            st.binary(max_size=30).map(
                lambda raw: raw.replace(b"\r", b"?").replace(b"\n", b"\r\n ")
            ),
        ),
        max_size=8,
    )
)
def test_every_octet_belongs_to_exactly_one_field(pairs: list[tuple[bytes, bytes]]) -> None:
    octets = b"".join(name + b":" + value + b"\r\n" for name, value in pairs)
    block = HeaderBlock.parse(octets)
    assert b"".join(octets[f.start : f.end] for f in block.fields) == octets
    assert [f.name for f in block.fields] == [name.lower() for name, _ in pairs]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["From", "froM", "X-SES-", "x-ses-Arn", "X-Sesame", "Xbcc", "BCC", "To"]
            ),
            st.sampled_from(["", " ", "\t "]),
            st.sampled_from([b"", b" a", b"\r\n\tfrom: b", b" from: c", b"\r\n \r\n x"]),
        ),
        max_size=8,
    )
)
def test_fields_are_found_by_name_as_if_all_were_looked_at(
    parts: list[tuple[str, str, bytes]],
) -> None:
    octets = b"".join(f"{name}{space}:".encode() + body + b"\r\n" for name, space, body in parts)
    block = HeaderBlock.parse(octets)
    is_one = [f.name in (b"from", b"bcc") or f.name.startswith(b"x-ses-") for f in block.fields]
    wanted = FieldNames("from", "bcc", "x-ses-*")
    assert block.among(wanted) == [f for f, one in zip(block.fields, is_one, strict=True) if one]
    left = [f for f, one in zip(block.fields, is_one, strict=True) if not one]
    assert block.without(wanted).octets == b"".join(octets[f.start : f.end] for f in left)


def mailboxes_or_not(value: bytes) -> tuple[Address, ...] | str:
    try:
        return mailboxes(value)
    except HeaderError as error:
        return str(error)


@given(st.text(alphabet='ab <>@.,"\\=?:;()[]\t-\x00\x7f\xe4', max_size=24))
@example("a b <a@b>")
@example("<a@b>")
@example("a@b")
@example("=?a@b?=")
@example("a@b a@b")
def test_a_plain_author_is_read_as_any_other(text: str) -> None:
    value = text.encode("latin-1").strip()
    at_once = mailboxes_or_not(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header, "_PLAIN", re.compile(b"(?!)()()"))
        assert at_once == mailboxes_or_not(value)


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (b"jane@example.com", ["jane@example.com"]),
        (b"Jane Doe <jane@example.com>", ["jane@example.com"]),
        (b'"Doe, Jane" <jane@example.com>', ["jane@example.com"]),
        (b'"jane@bank.example" <jane@example.com>', ["jane@example.com"]),
        (b"=?utf-8?q?J=C3=A4ne?= <jane@example.com>", ["jane@example.com"]),
        (b"=?utf-8?q?M=C3=BCller=2C_Jane?= <jane@example.com>", ["jane@example.com"]),
        (
            b"=?UTF-8?B?SsOkbmU=?= =?iso-8859-1*de?Q?_M=FCller?= <jane@example.com>",
            ["jane@example.com"],
        ),
        (b"=?utf-8?q?J=C3=B6rg_=22JB=22?= <jane@example.com>", ["jane@example.com"]),
        (b"[JIRA] Admin <jane@example.com>", ["jane@example.com"]),
        (b"J\xe4ne <jane@example.com>", ["jane@example.com"]),
        (b"<jane@example.com>", ["jane@example.com"]),
        (b"a@x.example, B <b@y.example>", ["a@x.example", "b@y.example"]),
        (b'"q \\" , <x@y.example>" <jane@example.com>', ["jane@example.com"]),
    ],
)
def test_mailboxes_of_an_author_are_found(value: bytes, addresses: list[str]) -> None:
    assert mailboxes(value) == tuple(Address.parse(text) for text in addresses)


@pytest.mark.P7
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Jane",
        b"jane@bank.example <jane@example.com>",
        b"jane@example.com (jane@bank.example)",
        b"(comment) jane@example.com",
        b"friends: jane@example.com;",
        b"<jane@bank.example> <jane@example.com>",
        b"<jane@bank.example<jane@example.com>>",
        b"<@hop.example:jane@example.com>",
        b"jane@example.com, ",
        b"=?utf-8?q?jane=40bank.example?=",
        b'"jane <jane@example.com>',
        b"jane@example.com>",
        b"Jane <jane@example.com> x",
        b"Jane <jane@ex\xe4mple.com>",
        b"jane@example.com\x00",
        b'jane@bank.example "" <jane@example.com>',
        b'jane@bank.example "x" <jane@example.com>',
        b'"jane"@bank.example <jane@example.com>',
        b'jane."x"@bank.example <jane@example.com>',
        b'<jane@bank.example> "x" <jane@example.com>',
        b'=?utf-8?q?"?= <jane@bank.example> =?utf-8?q?"?= <jane@example.com>',
        b"=?utf-8?q?jane=40bank.example=2C?= <jane@example.com>",
        b"jane=?utf-8?q?=40?=bank.example <jane@example.com>",
        b"=?utf-8?b?amFuZUBiYW5rLmV4YW1wbGU=?= <jane@example.com>",
        b"=?utf-8?q?x=0D=0AFrom:_jane?= <jane@example.com>",
        b'"x =?utf-8?q?=22?= jane@bank.example, =?utf-8?q?=22?=" <jane@example.com>',
        b"=?nonsense?q?x?= <jane@example.com>",
        b"=?utf-8?q?=ff?= <jane@example.com>",
        b"back\\slash <jane@example.com>",
        b"vertical\x0btab <jane@example.com>",
    ],
)
def test_an_author_that_can_be_read_in_two_ways_is_refused(value: bytes) -> None:
    with pytest.raises(HeaderError):
        mailboxes(value)


@pytest.mark.P7
@given(
    st.lists(
        st.sampled_from(
            ['"', "<", ">", "@", ",", " ", "\\", "(", ")", ":", ";", "=?utf-8?q?", "=40", "=22", "?=",
             "a", "bank.example", "jane@bank.example", "<jane@bank.example>", '""', '"x"', "."]
        ),
        max_size=8,
    )
)  # fmt: skip
def test_no_reader_finds_another_author_than_we_do(pieces: list[str]) -> None:
    """Python's two readers, before and after decoding, stand for those behind us."""
    value = "".join(pieces) + " <jane@example.com>"
    try:
        ours = {str(address) for address in mailboxes(value.encode())}
    except HeaderError:
        return
    decoded = str(make_header(decode_header(value)))
    for text in (value, decoded):
        theirs = {address for _, address in getaddresses([text]) if "@" in address}
        assert {address.lower() for address in theirs} <= ours, text
    message = message_from_string(f"From: {value}\n\n", policy=policy.default)
    try:
        found = message["From"].addresses
    except (AttributeError, IndexError, TypeError):
        return  # this reader falls over some names and finds nobody
    assert {address.addr_spec.lower() for address in found} <= ours


# --- Message-ID -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"Message-ID: <1@erp.example.com>\r\n", "1@erp.example.com"),
        (b"MESSAGE-id :\r\n <1@erp.example.com>\r\n", "1@erp.example.com"),
        (b"Message-Id: <a>\r\nMessage-ID: <b>\r\n", "a"),
        (b"Message-ID: no brackets at all\r\n", "no brackets at all"),
        (b"Message-ID: <\xfc@x>\r\n", "\ufffd@x"),
        (b"Message-ID:\r\n", ""),
        (b"Subject: none\r\n", ""),
        (b"Message-ID: <" + b"x" * 1000 + b">\r\n", "x" * 250),
    ],
)
def test_the_message_id_is_what_mail_is_found_by(block: bytes, expected: str) -> None:
    assert HeaderBlock.parse(block).message_id == expected


def test_a_message_id_is_the_same_however_it_is_typed() -> None:
    assert message_id(" <1@Erp.example.com>\n") == message_id("1@Erp.example.com")
    assert (
        message_id("<" + "x" * 1000 + ">")
        == HeaderBlock.parse(b"Message-ID: <" + b"x" * 1000 + b">\r\n").message_id
    )
