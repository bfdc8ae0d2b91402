"""How keys must fit together: nothing open by omission, nothing dead, nothing ambiguous."""

from __future__ import annotations

import pytest

from tests.unit.config.written import (
    LOGIN_ONLY,
    NETWORK_ONLY,
    TOKEN_HASH,
    complaints,
    loaded,
    warnings,
    with_login_sender,
    with_network_sender,
)


def test_sound_files_are_not_warned_of() -> None:
    assert warnings(with_network_sender()) == []
    assert warnings(with_login_sender()) == []


@pytest.mark.P7
def test_without_listeners_or_senders_there_is_no_configuration() -> None:
    nothing = ("listeners: []\nsenders: []\n", "listeners:\nsenders:\n", "")
    for text in nothing:
        said = complaints("hostname: relay.example.com\nses: {region: eu-west-1}\n" + text)
        assert [complaint.partition(": ")[2] for complaint in said] == [
            "listeners: nothing would be accepted: configure at least one listener",
            "senders: nothing would be accepted: configure at least one sender",
        ]


@pytest.mark.P7
def test_a_listener_asks_for_tls_and_a_login_unless_told_otherwise() -> None:
    listener = loaded(with_login_sender()).settings.listeners[0]
    assert listener.tls == "starttls-required"
    assert listener.auth == "required"
    assert listener.auth_without_tls == "never"


@pytest.mark.P7
def test_a_sender_that_cannot_be_recognised_is_an_error() -> None:
    text = NETWORK_ONLY + "senders:\n  - {name: x, from: ['@example.com']}\n"
    assert complaints(text) == [
        "3:60: listeners[0].auth: with auth: off a client is known by its network, and no sender has networks",
        "6:5: senders[0]: can never be recognised: give it a login, networks, or certificates",
    ]


@pytest.mark.P7
def test_a_sender_that_may_write_as_anybody_cannot_be_configured() -> None:
    why = "this sender could write as nobody: list the addresses or domains it sends from"
    for written in ("", "    from: []\n", "    from:\n"):
        text = NETWORK_ONLY + "senders:\n  - name: x\n    networks: [10.20.0.0/16]\n" + written
        (said,) = complaints(text)
        assert said.endswith(f"senders[0].from: {why}")
    for anybody in ("*", "@", "@*", "*@*", "@."):
        (said,) = complaints(with_network_sender().replace("scanner@example.com", f"'{anybody}'"))
        assert said.startswith("8:12: senders[0].from[0]: ")


@pytest.mark.P7
@pytest.mark.parametrize("auth", ["required", "optional"])
def test_passwords_do_not_cross_the_network_in_clear(auth: str) -> None:
    text = (with_login_sender(f"token_hash: {TOKEN_HASH}\nnetworks: [10.20.0.0/16]")).replace(
        '587"}', f'587", tls: off, auth: {auth}}}'
    )
    (said,) = complaints(text)
    assert said.startswith("4:53: listeners[0].tls: passwords would cross the network in clear")


@pytest.mark.P7
def test_passwords_may_cross_loopback_in_clear_where_that_is_asked_for() -> None:
    for host in ("127.0.0.1", "[::1]", "localhost", "0.0.0.0"):
        text = with_login_sender().replace(
            '0.0.0.0:587"}', f'{host}:587", tls: off, auth_without_tls: loopback}}'
        )
        assert loaded(text).settings.listeners[0].auth_without_tls == "loopback"


def test_loopback_without_a_loopback_address_is_an_error() -> None:
    text = with_login_sender().replace(
        '0.0.0.0:587"}', '10.0.0.5:587", tls: off, auth_without_tls: loopback}'
    )
    (said,) = complaints(text)
    assert said.startswith("4:77: listeners[0].auth_without_tls: loopback lets nobody log in here")


@pytest.mark.parametrize("tls", ["starttls", "starttls-required", "implicit"])
def test_tls_needs_a_certificate(tls: str) -> None:
    text = with_login_sender().replace('587"}', f'587", tls: {tls}}}')
    without = "\n" + text.partition("\n")[2].partition("\n")[2]
    assert list(loaded(text).tls) == ["submission"]
    (said,) = complaints(f"hostname: relay.example.com{without}")
    assert said == (
        f"3:53: listeners[0].tls: {tls} needs a certificate: set tls.certificate and tls.key, "
        "or tls: off"
    )


def test_auth_required_needs_somebody_who_can_log_in() -> None:
    text = LOGIN_ONLY + "senders:\n  - {name: x, networks: [10.0.0.0/24], from: ['@x.example']}\n"
    assert complaints(text) == [
        "4:5: listeners[0].auth: nothing would be accepted here: AUTH is required and no sender has a login"
    ]


@pytest.mark.parametrize("auth", ["off", "optional"])
def test_networks_that_nobody_has_are_an_error(auth: str) -> None:
    text = with_login_sender().replace('587"}', f'587", auth: {auth}}}')
    (said,) = complaints(text)
    assert said == (
        f"4:54: listeners[0].auth: with auth: {auth} a client is known by its network, "
        "and no sender has networks"
    )


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("0.0.0.0/0", "0.0.0.0/0 is larger than any private network"),
        ("::/0", "::/0 is larger than any private network"),
        ("128.0.0.0/1", "128.0.0.0/1 is larger than any private network"),
        ("172.16.0.0/12", "172.16.0.0/12 holds 172.17.0.1, the address every outside client has"),
        ("172.17.0.1", "172.17.0.1/32 holds 172.17.0.1"),
    ],
)
@pytest.mark.P7
def test_a_network_that_holds_strangers_is_warned_of(network: str, words: str) -> None:
    (warning,) = warnings(with_network_sender().replace("10.20.0.0/16", f'"{network}"'))
    assert warning.startswith(f"7:16: senders[0].networks[0]: {words}")


@pytest.mark.parametrize("network", ["10.0.0.0/8", "fc00::/7", "172.18.0.0/16", "192.168.1.7"])
def test_private_networks_are_not_warned_of(network: str) -> None:
    assert warnings(with_network_sender().replace("10.20.0.0/16", f'"{network}"')) == []


def test_two_senders_may_overlap_but_not_coincide() -> None:
    """The most specific network wins; two equal ones would leave the sender to chance."""
    other = "  - {name: other, networks: [10.20.5.0/24], from: ['@x.example']}\n"
    assert len(loaded(with_network_sender() + other).settings.senders) == 2
    (said,) = complaints(with_network_sender() + other.replace("10.20.5.0/24", "10.20.0.0/16"))
    assert "10.20.0.0/16 already names the sender 'printers'" in said


def test_recognition_that_no_listener_offers_is_warned_of() -> None:
    both = f"login: x\ntoken_hash: {TOKEN_HASH}"
    assert warnings(with_network_sender(both)) == [
        "9:12: senders[0].login: is never asked for: no listener has auth: required or optional"
    ]
    networks = f"token_hash: {TOKEN_HASH}\nnetworks: [10.20.0.0/16]"
    assert warnings(with_login_sender(networks)) == [
        "11:15: senders[0].networks: are never looked at: no listener has auth: off or optional"
    ]


def test_a_simulator_elsewhere_is_warned_of() -> None:
    accounts = "{accounts: {main: {region: eu-west-1, endpoint_url: 'http://%s:8080'}}}"
    near = with_network_sender().replace("{region: eu-west-1}", accounts % "127.0.0.1")
    far = with_network_sender().replace("{region: eu-west-1}", accounts % "simulator")
    assert warnings(near) == []
    assert warnings(far) == [
        "4:58: ses.accounts.main.endpoint_url: mail would cross the network in clear: use https"
    ]


def test_feedback_needs_both_ends() -> None:
    webhook = with_network_sender() + "http: {webhook: '127.0.0.1:8025'}\n"
    (said,) = complaints(webhook)
    assert said.startswith("10:17: http.webhook: would refuse every message")
    topics = with_network_sender() + "feedback: {sns: {topics: ['arn:aws:sns:x:123456789012:y']}}\n"
    (said,) = complaints(topics)
    assert said.startswith("10:26: feedback.sns.topics: nothing receives what these topics send")


def test_addresses_of_different_families_do_not_collide() -> None:
    text = with_network_sender().replace(
        "ses:",
        """\
  - {name: a, address: "0.0.0.0:2525", tls: off, auth: off}
  - {name: b, address: "[::]:2525", tls: off, auth: off}
  - {name: c, address: "127.0.0.1:0", tls: off, auth: off}
  - {name: d, address: "127.0.0.1:0", tls: off, auth: off}
  - {name: e, address: "10.0.0.6:25", tls: off, auth: off}
ses:""",
    )
    assert len(loaded(text).settings.listeners) == 6


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.0.0.9:99", "10.0.0.9:99"),
        ("0.0.0.0:99", "10.0.0.9:99"),
        ("[::1]:99", "[::]:99"),
        ("localhost:99", "127.0.0.1:99"),
        ("[::1]:99", "localhost:99"),
    ],
)
def test_addresses_that_cannot_both_be_listened_on(one: str, other: str) -> None:
    text = with_network_sender().replace(
        "ses:",
        f'  - {{name: a, address: "{one}", tls: off, auth: off}}\n'
        f'  - {{name: b, address: "{other}", tls: off, auth: off}}\nses:',
    )
    assert complaints(text) == [
        f"5:24: listeners[2].address: {other} is taken by listeners[1].address ({one})"
    ]


def test_region_and_accounts_exclude_each_other() -> None:
    text = with_network_sender().replace(
        "{region: eu-west-1}", "{region: eu-west-1, accounts: {main: {region: eu-west-1}}}"
    )
    assert complaints(text) == [
        "4:15: ses.region: is short for one account; with accounts, give each its own region"
    ]


def test_a_sender_names_an_account_there_is() -> None:
    text = with_network_sender("ses: {account: eu}")
    assert complaints(text) == [
        "9:20: senders[0].ses.account: there is no account 'eu'; there is main"
    ]
    one_other = (
        with_network_sender()
        .replace("{region", "{accounts: {eu: {region")
        .replace("west-1}", "west-1}}}")
    )
    assert complaints(one_other) == [
        "6:5: senders[0].ses.account: there is no account 'main'; there is eu"
    ]


def test_a_session_policy_that_cannot_hold_all_of_from_is_warned_of() -> None:
    many = ", ".join(f"user{number}@example.com" for number in range(100))
    role = (
        'ses: {accounts: {main: {region: eu-west-1, role_arn: "arn:aws:iam::123456789012:role/r"}}}'
    )
    text = with_network_sender().replace("ses: {region: eu-west-1}", role)
    assert warnings(text) == []
    (warning,) = warnings(text.replace("scanner@example.com", many))
    assert "ses.accounts.main.role_arn: the policy of its session holds 2048 characters" in warning
    assert "it allows all addresses of example.com; the relay itself heeds from" in warning
    domains = ", ".join(f'"@domain{number}.example"' for number in range(200))
    (warning,) = warnings(text.replace("scanner@example.com", domains))
    assert "it allows any From address" in warning
