"""What the parts are given of a configuration, and what of it a reload can change."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from relay.config import Configuration, load_text
from relay.policy.sender import LineEndings
from relay.smtp.settings import TlsMode
from relay.wiring import UnusableError, listener_settings, needs_restart, revoked, tls_contexts
from tests.tls import Authority, self_signed, self_signed_rsa

TEXT = """\
hostname: relay.test
listeners:
  - name: smtps
    address: "127.0.0.1:465"
    tls: implicit
    client_ca: clients.pem
  - name: balanced
    address: "127.0.0.1:25"
    tls_profile: modern
    certificate: [relay.test.pem, relay.test.rsa.pem]
    key: [relay.test.pem, relay.test.rsa.pem]
    proxy_protocol: {trusted: [192.0.2.0/31, "2001:db8::/64"]}
  - {name: plain, address: "127.0.0.1:26", tls: off, auth: off}
tls: {certificate: relay.test.pem, key: relay.test.pem}
senders:
  - name: erp
    login: erp
    token_hash: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    certificates: [erp.example.com]
    networks: [10.0.0.0/24]
    from: ["@example.com"]
ses: {region: eu-west-1}
"""


def configured(directory: Path, *changes: tuple[str, str]) -> Configuration:
    """The configuration above, with some of its text replaced."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load_text(text.encode(), file="relay.yaml", directory=directory, environ={})


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> Path:
    self_signed(tmp_path)
    self_signed_rsa(tmp_path)
    (tmp_path / "clients.pem").write_bytes(Authority().pem)
    return tmp_path


def test_a_listener_is_told_what_its_keys_say(files: Path) -> None:
    smtps, balanced, plain = listener_settings(configured(files))
    assert smtps.tls is TlsMode.IMPLICIT
    assert [one.takes_certificates for one in (smtps, balanced, plain)] == [True, False, False]
    assert balanced.trusted_proxies == (ip_network("192.0.2.0/31"), ip_network("2001:db8::/64"))
    assert not plain.trusted_proxies


def test_a_listener_is_told_what_content_and_extensions_it_is_to_take(files: Path) -> None:
    asked = "auth: off, line_endings: normalize, long_lines: reject, extensions_off: [CHUNKING]}"
    _, usual, odd = listener_settings(configured(files, ("auth: off}", asked)))
    assert odd.line_endings is LineEndings.NORMALIZE
    assert odd.refuses_long_lines
    assert odd.extensions_off == {"CHUNKING"}
    assert usual.line_endings is LineEndings.REJECT
    assert not usual.refuses_long_lines
    assert not usual.extensions_off


def test_each_listener_that_encrypts_has_a_context_of_its_own(files: Path) -> None:
    contexts = tls_contexts(configured(files))
    assert set(contexts) == {"smtps", "balanced"}
    assert len(contexts["smtps"].authorities) == 1
    assert not contexts["balanced"].authorities
    assert contexts["smtps"].minimum_version < contexts["balanced"].minimum_version


@pytest.mark.parametrize(
    ("name", "listener"),
    [("relay.test.rsa.pem", "balanced"), ("clients.pem", "smtps"), ("relay.test.pem", "smtps")],
)
def test_a_complaint_names_listener_file_and_reason(files: Path, name: str, listener: str) -> None:
    (files / name).unlink()
    words = rf"^relay.yaml: listener {listener}: TLS .*{name} cannot be read: No such file"
    with pytest.raises(UnusableError, match=words):
        tls_contexts(configured(files))


def test_all_complaints_about_certificates_are_told_at_once(files: Path) -> None:
    (files / "relay.test.rsa.pem").unlink()
    (files / "clients.pem").unlink()
    with pytest.raises(UnusableError) as caught:
        tls_contexts(configured(files))
    assert [said.split(": TLS")[0] for said in caught.value.complaints] == [
        "relay.yaml: listener smtps",
        "relay.yaml: listener balanced",
    ]


@pytest.mark.parametrize(
    "change",
    [
        (
            "tls: {certificate: relay.test.pem, key: relay.test.pem}",
            "tls: {certificate: a, key: b}",
        ),
        ("tls_profile: modern", "tls_profile: intermediate"),
        ("client_ca: clients.pem", "client_ca: others.pem"),
        ("[relay.test.pem, relay.test.rsa.pem]", "[relay.test.rsa.pem]"),
    ],
    ids=lambda change: change[1],
)
def test_what_tls_is_made_of_needs_no_restart(files: Path, change: tuple[str, str]) -> None:
    assert needs_restart(configured(files), configured(files, change)) == ()


@pytest.mark.parametrize(
    "change",
    [
        ("    client_ca: clients.pem\n", ""),
        ("tls: implicit", "tls: starttls-required"),
        ("192.0.2.0/31", "192.0.2.0/30"),
        ("name: plain", "name: plainer"),
        ("127.0.0.1:25", "127.0.0.1:2525"),
    ],
    ids=lambda change: change[1],
)
def test_what_a_listener_is_needs_no_restart_either(files: Path, change: tuple[str, str]) -> None:
    assert needs_restart(configured(files), configured(files, change)) == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("http: {metrics: '127.0.0.1:9588'}", "http"),
        ("spool: {path: /srv/relay}", "spool.path"),
        ("spool: {min_free: 5%}", "spool.min_free"),
        ("spool: {unsafe: true}", "spool.unsafe"),
    ],
)
def test_what_is_taken_at_start_only_is_named(files: Path, change: str, named: str) -> None:
    found = configured(files, ("ses: {", f"{change}\nses: {{"))
    assert needs_restart(configured(files), found) == (f"{named}: a change here needs a restart",)


@pytest.mark.parametrize(
    "change",
    [
        ("    login: erp\n", "    login: other\n"),
        ("0123456789abcdef0123", "1123456789abcdef0123"),
        ("10.0.0.0/24", "10.0.0.0/25"),
        ("[erp.example.com]", "[other.example.com]"),
        ('from: ["@example.com"]', 'from: ["@example.org"]'),
        ("name: erp", "name: other"),
    ],
    ids=lambda change: change[1],
)
def test_a_sender_known_or_bound_otherwise_is_revoked(files: Path, change: tuple[str, str]) -> None:
    assert revoked(configured(files), configured(files, change)) == {"erp"}


def test_a_sender_with_other_limits_is_not_revoked(files: Path) -> None:
    change = ("    login: erp\n", "    login: erp\n    limits: {rate: 1/s}\n")
    assert revoked(configured(files), configured(files, change)) == frozenset()
