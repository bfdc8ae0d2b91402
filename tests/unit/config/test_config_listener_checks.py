"""How the keys of a listener fit together: certificates, client certificates, proxies."""

from __future__ import annotations

import pytest

from tests.unit.config.written import (
    LOGIN_ONLY,
    NETWORK_ONLY,
    TOKEN_HASH,
    complaints,
    loaded,
    warnings,
    with_listener,
    with_login_sender,
    with_network_sender,
)

CERTIFICATE_SENDER = "senders:\n  - {name: x, certificates: [x.example], from: ['@x.example']}\n"


@pytest.mark.parametrize(
    ("tls", "complaint"),
    [
        ("certificate: [a.pem, b.pem], key: [a.key, b.key]", None),
        ("certificate: a.pem, key: [a.key]", None),
        (
            "certificate: [a.pem, b.pem], key: a.key",
            "2:41: tls.key: give one for each certificate, in the same order: this is 1 for 2",
        ),
        ("certificate: [], key: a.key", "2:20: tls.certificate: is empty: give at least one"),
        ("key: a.key", "2:6: tls.certificate: is missing"),
    ],
)
def test_each_certificate_has_its_key(tls: str, complaint: str | None) -> None:
    text = with_login_sender().replace("certificate: chain.pem, key: key.pem", tls)
    if complaint is None:
        assert loaded(text).warnings == ()
    else:
        assert complaints(text) == [complaint]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("certificate: a.pem", "4:61: listeners[0].certificate: needs its key: give key too"),
        ("key: a.key", "4:53: listeners[0].key: needs its certificate: give certificate too"),
        (
            "certificate: a.pem, key: [a.key, b.key]",
            "4:73: listeners[0].key: give one for each certificate, in the same order: this is 2 for 1",
        ),
    ],
)
def test_a_listener_has_a_whole_certificate_or_none(keys: str, complaint: str) -> None:
    assert complaints(with_listener(with_login_sender(), keys)) == [complaint]


def test_a_certificate_of_its_own_is_enough() -> None:
    own = with_listener(with_login_sender(), "certificate: a.pem, key: a.key")
    text = own.replace("tls: {certificate: chain.pem, key: key.pem}\n", "")
    assert list(loaded(text).tls) == ["submission"]
    # The other listener has none still.
    other = '  - {name: other, address: "0.0.0.0:465", tls: implicit}\nses:'
    (said,) = complaints(text.replace("ses:", other))
    assert said == (
        "4:48: listeners[1].tls: implicit needs a certificate: set tls.certificate and tls.key, "
        "or tls: off"
    )


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("tls_profile: modern", 78),
        ("certificate: a.pem", 78),
        ("key: a.key", 70),
        ("client_ca: ca.pem", 76),
    ],
)
def test_keys_of_tls_have_no_meaning_without_it(key: str, column: int) -> None:
    name = key.partition(":")[0]
    said = complaints(with_listener(with_network_sender(), key))
    assert f"3:{column}: listeners[0].{name}: has no meaning with tls: off" in said


def test_old_versions_of_tls_are_warned_of() -> None:
    words = (
        "TLS 1.0 and 1.1 are broken; for devices that know nothing newer, on a listener only they "
        "use"
    )
    own = with_listener(with_login_sender(), "tls_profile: legacy")
    assert warnings(own) == [f"4:61: listeners[0].tls_profile: {words}"]
    shared = with_login_sender().replace("key: key.pem", "key: key.pem, profile: legacy")
    assert warnings(shared) == [f"2:54: tls.profile: {words}"]
    # Nobody speaks them where no listener leaves the choice to tls.
    assert warnings(with_listener(shared, "tls_profile: intermediate")) == []
    for profile in ("modern", "intermediate"):
        assert warnings(with_listener(with_login_sender(), f"tls_profile: {profile}")) == []


def test_a_client_certificate_is_as_good_as_a_login() -> None:
    for auth in ("required", "optional", "off"):
        text = with_listener(LOGIN_ONLY + CERTIFICATE_SENDER, f"client_ca: ca.pem, auth: {auth}")
        assert warnings(text) == []


def test_auth_required_needs_somebody_who_can_log_in_or_show_a_certificate() -> None:
    networks = "senders:\n  - {name: x, networks: [10.0.0.0/24], from: ['@x.example']}\n"
    words = "nothing would be accepted here: AUTH is required and no sender has"
    assert complaints(with_listener(LOGIN_ONLY + networks, "client_ca: ca.pem")) == [
        f"4:5: listeners[0].auth: {words} a login or certificates"
    ]
    assert complaints(LOGIN_ONLY + CERTIFICATE_SENDER) == [
        f"4:5: listeners[0].auth: {words} a login"
    ]


def test_certificates_do_not_open_a_listener_that_does_not_ask_for_them() -> None:
    (said,) = complaints(NETWORK_ONLY + CERTIFICATE_SENDER)
    assert said == (
        "3:60: listeners[0].auth: with auth: off a client is known by its network, and no sender "
        "has networks"
    )


def test_authorities_without_certificates_are_warned_of() -> None:
    assert warnings(with_listener(with_login_sender(), "client_ca: ca.pem")) == [
        "4:59: listeners[0].client_ca: a certificate names nobody here: no sender has certificates"
    ]


@pytest.mark.P7
@pytest.mark.parametrize(
    ("network", "trusted"),
    [
        ("10.20.0.0/16", "10.20.5.0/24"),
        ("10.20.5.1", "10.20.0.0/16"),
        ("2001:db8::/32", "2001:db8::1"),
    ],
)
def test_a_network_that_holds_proxies_is_warned_of(network: str, trusted: str) -> None:
    """A proxy that names no client keeps its own address, and would be the sender's."""
    text = with_listener(with_network_sender(), f'proxy_protocol: {{trusted: ["{trusted}"]}}')
    (warning,) = warnings(text.replace("10.20.0.0/16]\n", f'"{network}"]\n'))
    assert warning.startswith("7:16: senders[0].networks[0]: ")
    assert " of listeners[0]: a client they do not name would send as this sender" in warning


def test_proxies_beside_the_networks_are_not_warned_of() -> None:
    for trusted in ("10.0.0.0/24", "::1", "127.0.0.1"):
        text = with_listener(with_network_sender(), f'proxy_protocol: {{trusted: ["{trusted}"]}}')
        assert warnings(text) == []


def test_one_warning_is_enough_for_a_network() -> None:
    trusted = "proxy_protocol: {trusted: [10.20.0.1, 10.20.0.2]}"
    assert len(warnings(with_listener(with_network_sender(), trusted))) == 1


def test_proxies_that_could_be_anybody_are_warned_of() -> None:
    text = with_listener(with_login_sender(), "proxy_protocol: {trusted: [0.0.0.0/0]}")
    assert warnings(text) == [
        "4:75: listeners[0].proxy_protocol.trusted[0]: 0.0.0.0/0 is larger than any private network: whoever can reach the listener can say that it is any client"
    ]


def test_nobody_is_on_this_machine_who_comes_through_a_proxy() -> None:
    keys = "tls: off, auth_without_tls: loopback, proxy_protocol: {trusted: [127.0.0.1]}"
    (complaint,) = complaints(with_listener(with_login_sender(), keys))
    assert "listeners[0].auth_without_tls: loopback lets nobody log in here: who comes" in complaint


def test_a_finding_about_what_is_not_known_is_not_told() -> None:
    """One mistake, one complaint: nothing that follows from it."""
    text = with_listener(
        LOGIN_ONLY + "senders:\n  - {name: x, certificates: [a b], from: ['@x.example']}\n",
        "client_ca: ca.pem, certificate: 5, key: [a.key, b.key]",
    )
    assert [said.partition(": ")[2][:25] for said in complaints(text)] == [
        "listeners[0].certificate:",
        "senders[0].certificates[0",
    ]


def test_what_a_listener_leaves_out() -> None:
    listener = loaded(with_login_sender(f"token_hash: {TOKEN_HASH}")).settings.listeners[0]
    assert (listener.tls_profile, listener.client_ca, listener.proxy_protocol) == (None,) * 3
    assert (listener.certificate, listener.key, listener.extensions_off) == ((),) * 3
    assert (listener.line_endings, listener.long_lines) == ("reject", "pass")
