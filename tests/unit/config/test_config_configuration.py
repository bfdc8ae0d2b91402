"""The value the rest of the relay is given: rules, accounts, and that nothing can change it."""

from __future__ import annotations

import socket
from dataclasses import FrozenInstanceError
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pydantic
import pytest

from relay.config import Configuration, ListenerTlsFiles, ResolvedAccount, configuration, load
from relay.config.configuration import AssumedRole
from relay.config.sender import Queue
from relay.config.words import SesApi, TlsProfile
from relay.mail.address import Address
from relay.mail.envelope import AccountName, SenderName
from relay.policy.patterns import AddressPatterns
from relay.policy.retry import RetrySchedule
from relay.policy.rewrite import Rewrite, When
from relay.policy.ruleset import TraceHeaders
from relay.policy.sender import (
    ANYBODY,
    Destinations,
    Limits,
    LineEndings,
    OnSuppressed,
    OverLimit,
    Priority,
    QueueShare,
    Rate,
    Route,
    Sender,
    host_of,
)
from tests.unit.config.written import (
    TOKEN_HASH,
    complaints,
    dedent,
    loaded,
    with_login_sender,
    with_network_sender,
)

ARN = "arn:aws:ses:us-east-1:123456789012:identity"
ROLE = "arn:aws:iam::123456789012:role/mail/relay"
FULL = dedent(f"""
    hostname: Relay.Example.COM
    trace_headers: minimal
    listeners:
      - {{name: legacy, address: "10.0.0.5:25", tls: off, auth: off}}
    senders:
      - name: billing
        login: billing
        token_hash: {TOKEN_HASH.upper().replace("SHA", "sha")}
        certificates: [Billing.Example.COM, "urn:x:Billing"]
        networks: [10.0.0.0/8, "2001:db8::/32"]
        from: [Billing@Example.com, "@.invoices.example.com"]
        to: {{allow: ["@example.com", a@example.org], deny: ["@.test.example.com"]}}
        redirect_all: Staging@Example.com
        rewrite:
          when: always
          reverse_path: billing@example.com
          from: Büro <billing@example.com>
          keep_original: false
        line_endings: normalize
        limits:
          rate: 10/s
          burst: 50
          recipients: [1000/h, 20000/day]
          recipients_per_message: 100
          message_size: 1MiB
          over_limit: refuse
          queue: {{messages: 500, size: 1GiB}}
        priority: bulk
        ses:
          account: us
          configuration_set: billing
          tags: {{app: billing, team: a}}
          tenant: acme
          source_arn: {ARN}/a
          from_arn: {ARN}/b
          return_path_arn: {ARN}/c
        suppression: drop
      - name: plain
        networks: [10.20.0.0/16]
        from: ["@example.com"]
        limits: {{rate: 300/min}}
        ses: {{account: eu}}
    ses:
      configuration_set: default
      accounts:
        eu: {{region: eu-west-1, endpoint_url: "https://vpce.example.com/", max_send_rate: 840/min}}
        us:
          api: v2
          role_arn: {ROLE}
          external_id: partner/7
          session_name: relay@host
    spool: {{lifetime: 2d, retry: {{first: 1m, ceiling: 30m}}}}
    """)


def full() -> Configuration:
    return loaded(FULL, {"AWS_REGION": "us-east-1"}, generation=7)


def test_the_ruleset_is_what_the_file_says() -> None:
    ruleset = full().ruleset()
    assert ruleset.generation == 7
    assert ruleset.hostname == "relay.example.com"
    assert ruleset.trace is TraceHeaders.MINIMAL
    assert ruleset.retry == RetrySchedule(
        first=timedelta(minutes=1), ceiling=timedelta(minutes=30), lifetime=timedelta(days=2)
    )
    assert ruleset.senders[SenderName("billing")] == Sender(
        name=SenderName("billing"),
        allowed_from=AddressPatterns(("Billing@Example.com", "@.invoices.example.com")),
        limits=Limits(
            message_size=1024**2,
            rate=Rate(10, 1.0),
            burst=50,
            over_limit=OverLimit.REFUSE,
            recipients=(Rate(1000, 3600.0), Rate(20_000, 86_400.0)),
            recipients_per_message=100,
            queue=QueueShare(500, 1024**3),
        ),
        route=Route(
            AccountName("us"),
            "billing",
            (("app", "billing"), ("team", "a")),
            source_arn=f"{ARN}/a",
            from_arn=f"{ARN}/b",
            return_path_arn=f"{ARN}/c",
            tenant="acme",
        ),
        login="billing",
        secret=TOKEN_HASH,
        certificates=("billing.example.com", "urn:x:billing"),
        networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
        priority=Priority.BULK,
        on_suppressed=OnSuppressed.DROP,
        to=Destinations(
            AddressPatterns(("@example.com", "a@example.org")),
            AddressPatterns(("@.test.example.com",)),
        ),
        redirect_all=Address("Staging", "example.com"),
        rewrite=Rewrite(
            When.ALWAYS,
            Address("billing", "example.com"),
            "=?utf-8?b?QsO8cm8=?= <billing@example.com>",
            keep_original=False,
        ),
        line_endings=LineEndings.NORMALIZE,
    )


def test_what_a_sender_leaves_out_is_filled_in() -> None:
    sender = full().ruleset().senders[SenderName("plain")]
    assert sender.route == Route(AccountName("eu"), "default", ())
    assert (sender.login, sender.secret) == ("", "")
    assert sender.limits == Limits(message_size=10_481_664, rate=Rate(300, 60.0), burst=300)
    assert sender.to == ANYBODY
    assert (sender.redirect_all, sender.rewrite, sender.line_endings) == (None, None, None)
    assert sender.priority is Priority.TRANSACTIONAL
    assert sender.on_suppressed is OnSuppressed.REJECT


def test_a_burst_is_the_number_in_the_rate_unless_given() -> None:
    """`300/min` lets an application send 300 at once, as it says; the 301st waits."""
    assert full().ruleset().senders[SenderName("plain")].limits.burst == 300
    unbounded = loaded(with_network_sender()).ruleset().senders[SenderName("printers")]
    assert (unbounded.limits.rate, unbounded.limits.burst) == (None, 1)


def test_a_rewrite_leaves_alone_what_it_does_not_name() -> None:
    text = with_network_sender("rewrite: {reverse_path: scanner@example.com}")
    sender = loaded(text).ruleset().senders[SenderName("printers")]
    assert sender.rewrite == Rewrite(reverse_path=Address("scanner", "example.com"))


@pytest.mark.parametrize("written", ["1000/h", "[1000/h]", "['1000/h']"])
def test_one_stands_for_a_list_of_one(written: str) -> None:
    text = with_network_sender(f"limits: {{recipients: {written}}}")
    limits = loaded(text).ruleset().senders[SenderName("printers")].limits
    assert limits.recipients == (Rate(1000, 3600.0),)


def test_one_of_the_environment_stands_for_a_list_of_one() -> None:
    text = with_network_sender('limits: {recipients: "${RATE}"}')
    assert loaded(text, {"RATE": "9/h"}).settings.senders[0].limits.recipients == (Rate(9, 3600),)
    assert complaints(text, {"RATE": "many"}) == [
        "9:26: senders[0].limits.recipients: the value of ${RATE} is not a rate: write a number per h or day, such as 20000/day"
    ]


def test_each_listener_knows_its_files() -> None:
    text = with_login_sender().replace(
        "ses:",
        """\
  - name: old
    address: "0.0.0.0:465"
    tls: implicit
    tls_profile: legacy
    certificate: [/pki/rsa.pem, ecdsa.pem]
    key: [/pki/rsa.key, ecdsa.key]
    client_ca: ca.pem
  - {name: clear, address: "127.0.0.1:25", tls: off, auth_without_tls: loopback}
ses:""",
    )
    here = Path("/etc/ses-relay")
    assert loaded(text).tls == {
        "submission": ListenerTlsFiles(
            (here / "chain.pem",), (here / "key.pem",), TlsProfile.INTERMEDIATE, None
        ),
        "old": ListenerTlsFiles(
            (Path("/pki/rsa.pem"), here / "ecdsa.pem"),
            (Path("/pki/rsa.key"), here / "ecdsa.key"),
            TlsProfile.LEGACY,
            here / "ca.pem",
        ),
    }
    modern = text.replace("key: key.pem", "key: key.pem, profile: modern")
    profiles = {name: files.profile for name, files in loaded(modern).tls.items()}
    assert profiles == {"submission": TlsProfile.MODERN, "old": TlsProfile.LEGACY}


def test_the_profile_is_intermediate_where_nobody_says_another() -> None:
    own = with_login_sender().replace('587"}', '587", certificate: a.pem, key: a.key}')
    for text in (own, own.replace("tls: {certificate: chain.pem, key: key.pem}", "")):
        files = loaded(text).tls["submission"]
        assert files.certificates == (Path("/etc/ses-relay/a.pem"),)
        assert files.profile is TlsProfile.INTERMEDIATE


def test_a_listener_without_tls_has_no_files() -> None:
    assert loaded(with_network_sender()).tls == {}


def test_senders_are_found_by_login_and_by_their_most_specific_network() -> None:
    senders = full().ruleset().senders
    billing = senders.with_login("billing")
    assert billing is not None
    assert billing.name == "billing"
    for host, name in {
        "10.20.1.1": "plain",
        "10.1.1.1": "billing",
        "::ffff:10.20.1.1": "plain",
    }.items():
        found = senders.at(host_of(host))
        assert found is not None
        assert found.name == name
    assert senders.at(host_of("192.0.2.1")) is None


def test_a_sender_writes_as_what_from_lists() -> None:
    allowed = full().ruleset().senders[SenderName("billing")].allowed_from
    assert allowed.hold(Address.parse("billing@example.com"))
    assert allowed.hold(Address.parse("x@a.invoices.example.com"))
    assert not allowed.hold(Address.parse("x@invoices.example.com"))
    assert not allowed.hold(Address.parse("other@example.com"))


def test_accounts_know_their_region_and_rate() -> None:
    assert full().accounts == (
        ResolvedAccount(AccountName("eu"), "eu-west-1", "https://vpce.example.com", 14.0, 0.1),
        ResolvedAccount(
            AccountName("us"),
            "us-east-1",
            None,
            None,
            0.1,
            SesApi.V2,
            AssumedRole(ROLE, "partner/7", "relay@host"),
        ),
    )


def test_one_unnamed_account_is_called_main() -> None:
    (account,) = loaded(with_network_sender()).accounts
    assert account == ResolvedAccount(AccountName("main"), "eu-west-1", None, None, 0.1)


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"AWS_REGION": "us-east-1"}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2"),
        ({"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-2"}, "us-east-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2"),
    ],
)
def test_the_region_may_come_from_the_environment(environ: dict[str, str], region: str) -> None:
    text = with_network_sender().replace("ses: {region: eu-west-1}", "ses:")
    configuration = loaded(text, environ)
    assert configuration.accounts[0].region == region
    assert configuration.redacted()["ses"]["accounts"]["main"]["region"] == region


def test_the_region_of_the_file_wins_over_the_environment() -> None:
    configuration = loaded(with_network_sender(), {"AWS_REGION": "us-east-1"})
    assert configuration.accounts[0].region == "eu-west-1"


def test_a_region_of_the_environment_that_is_none() -> None:
    text = with_network_sender().replace("ses: {region: eu-west-1}\n", "")
    (said,) = complaints(text, {"AWS_REGION": "Ireland"})
    assert said.startswith("1:1: ses.region: is not set, and the value of ${AWS_REGION} is not an")


def test_the_machine_lends_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    text = with_network_sender().partition("\n")[2]
    monkeypatch.setattr(socket, "gethostname", lambda: "Relay-1")
    assert loaded(text).hostname == "relay-1"
    assert loaded(text).ruleset().hostname == "relay-1"
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    assert loaded(text).hostname == "localhost"
    monkeypatch.setattr(socket, "gethostname", lambda: "my_container")
    (said,) = complaints(text)
    assert said.startswith("1:1: hostname: must be set, because the name of this machine is not a")


def test_the_network_is_not_asked_for_the_machine_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unasked(*_: object) -> str:
        raise AssertionError("a resolver that is down would delay every start")

    for name in ("getfqdn", "gethostbyname", "getaddrinfo", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, unasked)
    assert loaded(with_network_sender().partition("\n")[2]).hostname


def test_a_key_without_a_value_keeps_its_default() -> None:
    text = (
        with_network_sender("limits:\nses: {tags:}\nlogin:") + "spool:\n  retry:\nlog: {level:}\n"
    )
    assert loaded(text) == loaded(with_network_sender())


def test_nothing_of_it_can_be_changed() -> None:
    configuration = full()
    with pytest.raises(FrozenInstanceError):
        configuration.generation = 8  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError):
        configuration.settings.spool.unsafe = True
    with pytest.raises(TypeError):
        configuration.settings.ses.accounts["x"] = None  # type: ignore[index]
    with pytest.raises(TypeError):
        configuration.settings.senders[0].ses.tags["x"] = "y"  # type: ignore[index]
    with pytest.raises(TypeError):
        configuration.tls["x"] = None  # type: ignore[index]
    with pytest.raises(TypeError):
        configuration.verifiers["x"] = None  # type: ignore[index]
    for listing in (configuration.settings.senders, configuration.accounts, configuration.warnings):
        assert isinstance(listing, tuple)


def test_a_file_is_read_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text(with_login_sender())
    by_path = load(path, generation=3, environ={})
    assert (by_path.file, by_path.generation) == (str(path), 3)
    assert by_path.tls["submission"].keys == (tmp_path / "key.pem",)
    # A relative path is shown as it was given, and its directory is known all the same.
    monkeypatch.chdir(tmp_path)
    by_name = load("relay.yaml", environ={})
    assert by_name.file == "relay.yaml"
    assert by_name.tls == by_path.tls


def test_the_environment_is_the_process_s_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "relay.yaml"
    path.write_text(with_network_sender("priority: ${PRIORITY_OF_PRINTERS}"))
    monkeypatch.setenv("PRIORITY_OF_PRINTERS", "bulk")
    assert load(path).settings.senders[0].priority is Priority.BULK


def test_a_share_of_the_queue_may_be_a_percentage() -> None:
    settings = Queue.model_validate({"messages": 500, "size": "25%"})
    assert configuration._queue_share(settings) == QueueShare(500, None, 0.25)
