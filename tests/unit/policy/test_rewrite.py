"""Rewrites of the author: what goes, what stays, and in which octets."""

from __future__ import annotations

from relay.mail.header import HeaderBlock
from relay.policy.rewrite import Rewrite, with_author, without_sender

REWRITE = Rewrite(author="Scanner <scanner@example.com>")


def block(*lines: bytes) -> HeaderBlock:
    return HeaderBlock.parse(b"".join(line + b"\r\n" for line in lines))


def test_the_author_is_replaced_where_it_stood_and_kept_under_another_name() -> None:
    header = block(
        b"Subject: a", b'From : "Cron\r\n\tDaemon" <root>', b"To: a@b.example", b"X:  \xe4 "
    )
    assert with_author(header, REWRITE).octets == (
        b"Subject: a\r\n"
        b"From: Scanner <scanner@example.com>\r\n"
        b'X-Original-From: "Cron\r\n\tDaemon" <root>\r\n'
        b"To: a@b.example\r\n"
        b"X:  \xe4 \r\n"
    )


def test_sender_and_signature_go_with_the_author() -> None:
    header = block(
        b"DKIM-Signature: v=1;\r\n h=from", b"SENDER: x@y.example", b"From: a@b.example", b"A: b"
    )
    rewritten = with_author(header, Rewrite(author="s@example.com", keep_original=False))
    assert rewritten.octets == b"From: s@example.com\r\nA: b\r\n"
    assert without_sender(header).octets == b"From: a@b.example\r\nA: b\r\n"


def test_several_authors_become_one() -> None:
    header = block(b"From: a@b.example", b"from: c@d.example", b"A: b")
    assert with_author(header, REWRITE).octets == (
        b"From: Scanner <scanner@example.com>\r\n"
        b"X-Original-From: a@b.example\r\n"
        b"X-Original-From: c@d.example\r\n"
        b"A: b\r\n"
    )


def test_a_header_without_an_author_gets_one() -> None:
    rewritten = with_author(block(b"A: b"), REWRITE)
    assert rewritten.octets == b"A: b\r\nFrom: Scanner <scanner@example.com>\r\n"
    assert [field.name for field in rewritten.fields] == [b"a", b"from"]
