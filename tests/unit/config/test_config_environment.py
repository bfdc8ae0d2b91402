"""Variables in values: what is filled in, what is not, and what is complained of."""

from __future__ import annotations

import pytest

from relay.config.environment import MALFORMED, NESTED, interpolate
from tests.unit.config.written import (
    PASSWORD_HASH,
    complaints,
    dedent,
    loaded,
    with_login_sender,
    with_network_sender,
)

ENVIRON = {"X": "x", "EMPTY": "", "REFERS": "${X}", "DOLLAR": "$$"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("${X}", "x"),
        ("a${X}b${X}", "axbx"),
        ("${X:-default}", "x"),
        ("${NO:-default}", "default"),
        ("${NO:-}", ""),
        ("${NO:-a:-b}", "a:-b"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("$${X}", "${X}"),
        ("$$${X}", "$x"),
        ("$$", "$"),
        ("$", "$"),
        ("$X", "$X"),
        ("a$", "a$"),
        (PASSWORD_HASH, PASSWORD_HASH),
        # What a variable holds is not looked into.
        ("${REFERS}", "${X}"),
        ("${DOLLAR}", "$$"),
    ],
)
def test_variables_are_filled_in(text: str, filled: str) -> None:
    result = interpolate(text, ENVIRON)
    assert (result.text, result.complaints) == (filled, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${", [MALFORMED]),
        ("${X", [MALFORMED]),
        ("${}", [MALFORMED]),
        ("${1X}", [MALFORMED]),
        ("${X-default}", [MALFORMED]),
        ("${X:?must}", [MALFORMED]),
        ("${ X }", [MALFORMED]),
        ("${A:-${X}}", [NESTED]),
    ],
)
def test_what_is_not_a_variable(text: str, words: list[str]) -> None:
    assert list(interpolate(text, ENVIRON).complaints) == words


def test_every_variable_that_is_not_set_is_named() -> None:
    first, second = interpolate("${NO}${NEITHER}", ENVIRON).complaints
    assert first == (
        "the environment variable NO is not set; set it, or give a default with ${NO:-default}"
    )
    assert "NEITHER" in second


def test_an_unset_variable_is_complained_of_where_it_stands() -> None:
    text = with_network_sender("limits: {rate: '${RATE}', burst: '${BURST:-5}'}")
    (complaint,) = complaints(text)
    assert complaint.startswith(
        "9:20: senders[0].limits.rate: the environment variable RATE is not set"
    )


def test_every_kind_of_value_can_come_from_the_environment() -> None:
    text = dedent("""
        hostname: ${NAME}
        listeners:
          - name: ${LISTENER}
            address: ${HOST}:${PORT}
            tls: ${TLS}
            auth: ${AUTH}
            max_connections: ${CONNECTIONS}
        senders:
          - name: printers
            networks: ["${NETWORK}"]
            from: ["@${DOMAIN}"]
            limits: {rate: "${RATE}", burst: "${BURST}", message_size: "${SIZE}"}
        ses: {region: "${REGION}"}
        spool: {unsafe: "${UNSAFE}", min_free: "${FREE}"}
        """)
    configuration = loaded(
        text,
        {
            "NAME": "relay.example.com",
            "LISTENER": "legacy",
            "HOST": "10.0.0.5",
            "PORT": "25",
            "TLS": "off",
            "AUTH": "off",
            "CONNECTIONS": "0200",
            "NETWORK": "10.0.0.0/8",
            "DOMAIN": "example.com",
            "RATE": "10/s",
            "BURST": "20",
            "SIZE": "1048576",
            "REGION": "eu-west-1",
            "UNSAFE": "true",
            "FREE": "20%",
        },
    )
    settings = configuration.settings
    assert settings.listeners[0].max_connections == 200
    assert settings.senders[0].limits.burst == 20
    assert settings.senders[0].limits.message_size == 1024**2
    assert settings.spool.unsafe is True
    assert configuration.hostname == "relay.example.com"


def test_what_is_filled_in_is_not_yaml() -> None:
    """A variable cannot add keys, lists or anchors, whatever it holds."""
    text = with_network_sender("priority: ${PRIORITY}")
    assert complaints(text, {"PRIORITY": "bulk}, suppression: {ignore"}) == [
        "9:15: senders[0].priority: the value of ${PRIORITY} is not one of transactional, bulk"
    ]
    listing = with_network_sender().replace("[scanner@example.com]", "${FROM}")
    assert complaints(listing, {"FROM": "[a@example.com]"}) == [
        "8:11: senders[0].from: must be a list: write [a, b], or one '- a' per line below it"
    ]


def test_what_is_filled_in_stays_text() -> None:
    """`true` and `5` from the environment are names where names are wanted."""
    text = with_network_sender("ses: {tags: {build: '${BUILD}', beta: '${BETA}'}}")
    sender = loaded(text, {"BUILD": "007", "BETA": "true"}).settings.senders[0]
    assert dict(sender.ses.tags) == {"build": "007", "beta": "true"}


def test_an_empty_variable_means_the_key_was_not_given() -> None:
    text = with_network_sender("limits: {rate: '${RATE:-}'}") + "http: {webhook: '${HOOK}'}\n"
    settings = loaded(text, {"HOOK": ""}).settings
    assert settings.senders[0].limits.rate is None
    assert settings.http.webhook is None


@pytest.mark.P7
def test_an_empty_variable_does_not_open_anything() -> None:
    text = with_login_sender().replace('587"}', '587", tls: "${TLS:-}", auth: "${AUTH:-}"}')
    listener = loaded(text).settings.listeners[0]
    assert (listener.tls, listener.auth) == ("starttls-required", "required")
    networks = with_network_sender().replace("[10.20.0.0/16]", "['${NETWORK:-}']")
    assert complaints(networks) == [
        "7:16: senders[0].networks[0]: the value of ${NETWORK} is not a network"
    ]


@pytest.mark.parametrize("held", ["a\nb", "a\x00b", "a\x1b[2J", "a\udcff", "a\u2028b", "bulk\n"])
def test_a_variable_with_a_control_character_is_refused(held: str) -> None:
    assert complaints(with_network_sender("priority: ${P}"), {"P": held}) == [
        "9:15: senders[0].priority: the value of ${P} holds a line break or a control character"
    ]


def test_variables_in_keys_are_not_filled_in() -> None:
    assert complaints(with_network_sender("${X}: 1"), {"X": "priority"}) == [
        "9:5: senders[0].?: this is not a key; is a space missing after a ':'?"
    ]
