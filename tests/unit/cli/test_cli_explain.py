"""`relay explain` reads the configuration file and says who decides what, with an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay.cli.exits import CONFIGURATION, FOUND_BAD, OK, USAGE
from relay.cli.explain import Asked, run

CONFIG = """
hostname: relay.example.com
listeners:
  - {name: legacy, address: "127.0.0.1:2525", tls: off, auth: off}
  - {name: submission, address: "127.0.0.1:2587", tls: off, auth: required,
     auth_without_tls: loopback}
senders:
  - {name: printers, networks: [10.20.0.0/16], from: [scanner@example.com]}
  - {name: billing, login: bill, certificates: [Billing.internal], from: ["@example.com"],
     token_hash: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}
ses: {region: eu-west-1}
"""


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    path = tmp_path / "relay.yaml"
    path.write_text(CONFIG)
    return path


def asked(
    *,
    sender: str = "",
    login: str = "",
    certificate: str = "",
    ip: str = "",
    listener: str = "",
    reverse_path: str | None = None,
    recipients: tuple[str, ...] = (),
) -> Asked:
    return Asked(
        sender=sender,
        login=login,
        certificate=certificate,
        ip=ip,
        listener=listener,
        reverse_path=reverse_path,
        author=None,
        recipients=recipients,
    )


def test_what_would_be_admitted_is_told_with_its_rules(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = asked(ip="10.20.0.9", reverse_path="<scanner@example.com>", recipients=("a@b.org",))
    assert run(config, config.parent / "no.sock", question, as_json=False) == OK
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "sender        printers   [senders.printers.networks: 10.20.0.0/16]",
        "reverse-path  scanner@example.com   [senders.printers.from: scanner@example.com]",
        "recipient     a@b.org",
        "limits        at most 10481664 octets   [senders.printers.limits]",
        "accept        queued: 250 once it is safe in the spool   [senders.printers.accept]",
        "route         account main   [senders.printers.ses]",
    ]
    assert "whether a@b.org is suppressed is not known" in told.err


def test_what_would_be_refused_is_told_to_scripts_too(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = asked(login="bill", reverse_path="<>")
    assert run(config, config.parent / "no.sock", question, as_json=True) == FOUND_BAD
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["about"], line["refused"]) for line in lines] == [
        ("sender", False),
        ("reverse-path", True),
    ]
    assert lines[0]["rule"] == "senders.billing.login: bill"


def test_a_certificate_names_its_sender(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = asked(certificate="billing.INTERNAL", listener="submission")
    assert run(config, config.parent / "no.sock", question, as_json=False) == OK
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "sender        billing   [senders.billing.certificates: billing.INTERNAL]"


def test_the_listener_has_a_say(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = asked(ip="10.20.0.9", listener="submission")
    assert run(config, config.parent / "no.sock", question, as_json=False) == FOUND_BAD
    assert "530 5.7.0 Authentication required" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (asked(), "--sender, --login, --certificate or --ip"),
        (asked(sender="billing", login="bill"), "--sender and --login each name the sender"),
        (asked(certificate="other.example.com"), "among its certificates"),
        (asked(login="nobody"), "535 5.7.8"),
        (asked(sender="nobody"), "there is printers, billing"),
        (asked(ip="10.20"), "not an IP address"),
        (asked(ip="10.20.0.1", listener="nix"), "there is legacy, submission"),
        (asked(login="bill", listener="legacy"), "takes no AUTH"),
    ],
)
def test_a_question_without_sense_is_said_to_be_one(
    config: Path, capsys: pytest.CaptureFixture[str], question: Asked, words: str
) -> None:
    assert run(config, config.parent / "no.sock", question, as_json=False) == USAGE
    assert words in capsys.readouterr().err


def test_a_broken_configuration_is_told_with_its_places(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(CONFIG.replace("tls: off", "tsl: off"))
    assert run(config, config.parent / "no.sock", asked(ip="::1"), as_json=False) == CONFIGURATION
    assert "relay.yaml:4:" in capsys.readouterr().err
