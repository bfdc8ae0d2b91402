"""What a listener says of itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from relay.config.words import Extension
from relay.policy.admission import Auth
from relay.policy.sender import Limits, Sender
from relay.smtp.offer import Offer
from relay.smtp.settings import ListenerSettings, TlsMode
from tests.builders import a_ruleset, a_sender

PERSON = replace(a_sender("person"), login="person", secret="x", limits=Limits(2_000_000))
PRINTER = replace(a_sender("printer"), networks=(ip_network("10.0.0.0/8"),), limits=Limits(5_000))


def offer(
    tls: TlsMode = TlsMode.OFF, auth: Auth = Auth.OFF, off: frozenset[str] = frozenset()
) -> Offer:
    return Offer(ListenerSettings("l", "127.0.0.1", 0, tls, auth, extensions_off=off))


def keywords(said: bytes) -> list[str]:
    lines = said.decode().splitlines()
    assert all(line.startswith("250-") for line in lines[:-1])
    assert lines[-1].startswith("250 ")
    return [line[4:] for line in lines]


def test_the_banner_names_the_host_and_not_the_software() -> None:
    assert offer().banner(a_ruleset()) == b"220 relay.test ESMTP\r\n"
    assert offer().helo(a_ruleset()) == b"250 relay.test\r\n"


@pytest.mark.parametrize(
    ("auth", "senders", "size"),
    [
        (Auth.OFF, (PERSON, PRINTER), "SIZE 5000"),
        (Auth.REQUIRED, (PERSON, PRINTER), "SIZE 2000000"),
        (Auth.OPTIONAL, (PERSON, PRINTER), "SIZE 2000000"),
        # Nobody can send here: a number would be a lie, and 0 would mean no limit.
        (Auth.REQUIRED, (PRINTER,), "SIZE"),
    ],
)
def test_the_size_is_the_largest_anyone_may_send_here(
    auth: Auth, senders: tuple[Sender, ...], size: str
) -> None:
    said = offer(auth=auth).ehlo(a_ruleset(*senders), secure=False, auth=False)
    assert size in keywords(said)


@pytest.mark.parametrize(
    ("tls", "secure", "offered"),
    [
        (TlsMode.OFF, False, False),
        (TlsMode.STARTTLS, False, True),
        (TlsMode.STARTTLS, True, False),
        (TlsMode.STARTTLS_REQUIRED, False, True),
        (TlsMode.IMPLICIT, True, False),
    ],
)
def test_starttls_is_offered_once(tls: TlsMode, secure: bool, offered: bool) -> None:
    said = keywords(offer(tls).ehlo(a_ruleset(), secure=secure, auth=False))
    assert ("STARTTLS" in said) is offered


def test_what_is_always_offered() -> None:
    said = keywords(offer().ehlo(a_ruleset(PRINTER), secure=False, auth=True))
    assert said == [
        "relay.test",
        "PIPELINING",
        "SIZE" if not PRINTER.networks else "SIZE 5000",
        "8BITMIME",
        "CHUNKING",
        "LIMITS RCPTMAX=1000",
        "AUTH PLAIN LOGIN",
        "ENHANCEDSTATUSCODES",
    ]


@pytest.mark.parametrize(
    ("auth", "senders", "most"),
    [
        (Auth.OFF, (PERSON, PRINTER), "LIMITS RCPTMAX=50"),
        (Auth.REQUIRED, (PERSON, PRINTER), "LIMITS RCPTMAX=100"),
        (Auth.OPTIONAL, (PERSON, PRINTER), "LIMITS RCPTMAX=50"),
    ],
)
def test_so_many_recipients_are_too_many_for_nobody_here(
    auth: Auth, senders: tuple[Sender, ...], most: str
) -> None:
    capped = [
        replace(sender, limits=replace(sender.limits, recipients_per_message=cap))
        for sender, cap in zip(senders, (100, 50), strict=True)
    ]
    said = keywords(offer(auth=auth).ehlo(a_ruleset(*capped), secure=False, auth=False))
    assert most in said


def test_where_nobody_can_send_no_number_of_recipients_is_promised() -> None:
    said = offer(auth=Auth.REQUIRED).ehlo(a_ruleset(PRINTER), secure=False, auth=False)
    assert b"LIMITS" not in said


@pytest.mark.parametrize("extension", Extension)
def test_what_is_turned_off_is_not_offered(extension: str) -> None:
    ruleset = a_ruleset(PRINTER)
    everything = keywords(offer().ehlo(ruleset, secure=False, auth=False))
    said = keywords(offer(off=frozenset([extension])).ehlo(ruleset, secure=False, auth=False))
    (missing,) = set(everything) - set(said)
    assert missing.split()[0] == extension


def test_a_listener_may_offer_nothing_at_all() -> None:
    said = offer(off=frozenset(Extension)).ehlo(a_ruleset(PRINTER), secure=False, auth=False)
    assert said == b"250 relay.test\r\n"


def test_it_is_written_once_a_generation() -> None:
    speaker = offer()
    first = speaker.ehlo(a_ruleset(PRINTER), secure=False, auth=False)
    assert speaker.ehlo(a_ruleset(PRINTER), secure=False, auth=False) is first
    larger = replace(PRINTER, limits=Limits(9_000))
    renewed = speaker.ehlo(a_ruleset(larger, generation=2), secure=False, auth=False)
    assert "SIZE 9000" in keywords(renewed)
