"""MAIL and RCPT arguments: what is read, and what is refused for which reason."""

from __future__ import annotations

import time

import pytest

from relay.mail.address import Address, AddressFault
from relay.mail.reply import Refusal, Reply
from relay.policy.admission import refuse_address
from relay.smtp.command import ChunkCommand, MailCommand, parse_bdat, parse_mail, parse_rcpt

JANE = Address("jane", "example.net")


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ("FROM:<jane@example.net>", MailCommand(JANE, 0)),
        ("from:<jane@EXAMPLE.net>", MailCommand(JANE, 0)),
        # Printers put a space there.
        ("FROM: <jane@example.net>", MailCommand(JANE, 0)),
        ("FROM:<>", MailCommand(None, 0)),
        ("FROM: <>", MailCommand(None, 0)),
        ("FROM:<jane@example.net> SIZE=1048576", MailCommand(JANE, 1048576)),
        ("FROM:<jane@example.net> size=12  body=8BITMIME", MailCommand(JANE, 12)),
        ("FROM:<jane@example.net> BODY=7BIT", MailCommand(JANE, 0)),
        # Exchange and appliances built on sendmail send AUTH= unasked.
        ("FROM:<jane@example.net> AUTH=<>", MailCommand(JANE, 0)),
        ("FROM:<jane@example.net> AUTH=jane+40example.net", MailCommand(JANE, 0)),
        ("FROM:<jane@example.net> RET=HDRS ENVID=QQ314159", MailCommand(JANE, 0)),
        ('FROM:<"a>b c"@example.net>', MailCommand(Address("a>b c", "example.net"), 0)),
        ('FROM:<"a\\"<b"@example.net> SIZE=1', MailCommand(Address('a"<b', "example.net"), 1)),
    ],
)
def test_mail_is_read(argument: str, command: MailCommand) -> None:
    assert parse_mail(argument) == command


@pytest.mark.parametrize(
    "argument",
    [
        "TO:<jane@example.net>",
        "TO: <jane@example.net>",
        "TO:<jane@example.net> NOTIFY=NEVER",
        "TO:<jane@example.net> NOTIFY=SUCCESS,FAILURE,DELAY",
        "TO:<jane@example.net> ORCPT=rfc822;jane@example.net",
        "TO:<jane@example.net> NOTIFY=FAILURE ORCPT=rfc822;jane+40example.net",
    ],
)
def test_rcpt_is_read(argument: str) -> None:
    assert parse_rcpt(argument) == JANE


@pytest.mark.parametrize(
    ("argument", "start"),
    [
        ("", "501 5.5.4 "),
        ("<jane@example.net>", "501 5.5.4 "),
        ("FROM:", "501 5.5.4 "),
        ("FROM:jane@example.net", "501 5.5.4 "),
        ("FROM: jane@example.net", "501 5.5.4 "),
        ("FROM:<jane@example.net", "501 5.5.4 "),
        ("FROM:jane@example.net>", "501 5.5.4 "),
        ("FROM:<jane@example.net>SIZE=1", "501 5.5.4 "),
        ("FROM:<jane@example.net><joe@example.net>", "501 5.5.4 "),
        ("FROM:<<jane@example.net>>", "501 5.5.4 "),
        ('FROM:<"jane@example.net>', "501 5.5.4 "),
        ("FROM <jane@example.net>", "501 5.5.4 "),
        ("FROM:<jane@example.net> SIZE", "501 5.5.4 "),
        ("FROM:<jane@example.net> SIZE=", "501 5.5.4 "),
        ("FROM:<jane@example.net> SIZE=ten", "501 5.5.4 "),
        ("FROM:<jane@example.net> SIZE=-1", "501 5.5.4 "),
        ("FROM:<jane@example.net> SIZE=1 SIZE=2", "501 5.5.4 "),
        (f"FROM:<jane@example.net> SIZE={'9' * 21}", "501 5.5.4 "),
        ("FROM:<jane@example.net> BODY=9BIT", "501 5.5.4 "),
        ("FROM:<jane@example.net> RET=SOME", "501 5.5.4 "),
        ("FROM:<jane@example.net> ENVID=a+4", "501 5.5.4 "),
        ("FROM:<jane@example.net> AUTH=a=b", "501 5.5.4 "),
        ("FROM:<jane@example.net> =1", "501 5.5.4 "),
        ("FROM:<jane@example.net> SIZE=1\xa0BODY=7BIT", "501 5.5.4 "),
        ("FROM:<jane@example.net> BODY=BINARYMIME", "555 5.5.4 "),
        ("FROM:<jane@example.net> SMTPUTF8", "555 5.5.4 "),
        ("FROM:<jane@example.net> NOTIFY=NEVER", "555 5.5.4 "),
        ("FROM:<jane@example.net> XVERP", "555 5.5.4 "),
        ("FROM:<jane@example.net> MT-PRIORITY=3", "555 5.5.4 "),
    ],
)
def test_what_mail_does_not_mean_is_said_without_repeating_it(argument: str, start: str) -> None:
    reply = parse_mail(argument)
    assert isinstance(reply, Reply)
    assert str(reply).startswith(start)


@pytest.mark.parametrize(
    ("argument", "start"),
    [
        ("FROM:<jane@example.net>", "501 5.5.4 "),
        ("TO:jane@example.net", "501 5.5.4 "),
        ("TO:<jane@example.net> NOTIFY=NEVER,DELAY", "501 5.5.4 "),
        ("TO:<jane@example.net> NOTIFY=SOMETIMES", "501 5.5.4 "),
        ("TO:<jane@example.net> ORCPT=jane@example.net", "501 5.5.4 "),
        ("TO:<jane@example.net> SIZE=1", "555 5.5.4 "),
    ],
)
def test_what_rcpt_does_not_mean_is_said(argument: str, start: str) -> None:
    reply = parse_rcpt(argument)
    assert isinstance(reply, Reply)
    assert str(reply).startswith(start)


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ("86", ChunkCommand(86, is_last=False)),
        ("86 LAST", ChunkCommand(86, is_last=True)),
        ("0 last", ChunkCommand(0, is_last=True)),
        ("0086 \t Last", ChunkCommand(86, is_last=True)),
        ("9" * 19, ChunkCommand(10**19 - 1, is_last=False)),
        ("86 FIRST", ChunkCommand(86, is_last=False, is_valid=False)),
        ("86 LAST LAST", ChunkCommand(86, is_last=False, is_valid=False)),
        ("86 \xb2", ChunkCommand(86, is_last=False, is_valid=False)),
    ],
)
def test_the_size_of_a_chunk_is_read_whatever_follows_it(
    argument: str, command: ChunkCommand
) -> None:
    assert parse_bdat(argument) == command


@pytest.mark.P7
@pytest.mark.parametrize(
    "argument",
    ["", "LAST", "-1", "+1", "1_0", "0x10", "1e3", "10LAST", "10,", "\xb2", "\xa010", "9" * 20],
)
def test_a_size_that_is_none_is_never_guessed(argument: str) -> None:
    assert str(parse_bdat(argument)) == "501 5.5.4 Syntax: BDAT size [LAST]"


@pytest.mark.P7
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("root", "5.1.7"),
        ("jane@", "5.1.7"),
        ("@example.net", "5.1.7"),
        # A source route is how one server was made to relay for another.
        ("@relay.test,@b.test:jane@example.net", "5.1.7"),
        # A lenient parser decodes this into a line break and a RCPT.
        ("=?utf-8?q?ceo=40corp.com=0d=0aRCPT?=@example.net", "5.1.7"),
        ("ceo@=?utf-8?q?example.com?=", "5.1.7"),
        ("jane@example.net,joe@example.net", "5.1.7"),
        ("jane @example.net", "5.1.7"),
        (" jane@example.net", "5.1.7"),
        ("jane(comment)@example.net", "5.1.7"),
        ("jane@example.net\0", "5.1.7"),
        ("jane@example..net", "5.1.7"),
        ("j\xe4ne@example.net", "5.6.7"),
        ("jane@ex\xe4mple.net", "5.6.7"),
        ("a" * 65 + "@example.net", "5.1.7"),
    ],
)
def test_what_is_not_a_mailbox_is_refused_never_repaired(path: str, status: str) -> None:
    command = parse_mail(f"FROM:<{path}>")
    assert isinstance(command, MailCommand)
    assert isinstance(command.reverse_path, AddressFault)
    refusal = refuse_address(command.reverse_path, reverse_path=True)
    assert (refusal.reply.code, refusal.reply.status) == (553, status)
    assert refusal.reason == "bad_address"
    of_recipient = parse_rcpt(f"TO:<{path}>")
    assert isinstance(of_recipient, Refusal)
    assert of_recipient.reply.status == status.replace("5.1.7", "5.1.3")


def test_rcpt_has_no_null_path() -> None:
    refusal = parse_rcpt("TO:<>")
    assert isinstance(refusal, Refusal)
    assert refusal.reply.status == "5.1.3"


@pytest.mark.P6
@pytest.mark.parametrize(
    "argument", ["FROM:<" + "a" * 2000, 'FROM:<"' + "\\a" * 1000, "FROM:<a@b> " + "A=+" * 700]
)
def test_no_line_makes_the_parser_slow(argument: str) -> None:
    began = time.process_time()
    for _ in range(100):
        parse_mail(argument)
    assert time.process_time() - began < 0.1
