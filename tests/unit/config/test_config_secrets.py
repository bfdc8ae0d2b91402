"""Secrets are never shown: not in complaints, not by repr, not in any dump; and their files."""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path

import orjson
import pytest
import yaml

from relay.config import ConfigurationError, load_text
from relay.mail.envelope import SenderName
from tests.unit.config.written import (
    PASSWORD_HASH,
    TOKEN_HASH,
    complaints,
    loaded,
    with_login_sender,
)

HUNTER = "hunter2hunter2"
BILLING = SenderName("billing")


def shown(text: str, environ: dict[str, str] | None = None) -> str:
    """Return everything an operator, or a log, can see of a configuration."""
    try:
        configuration = load_text(
            text.encode(), file="relay.yaml", directory=Path("/etc"), environ=environ or {}
        )
    except ConfigurationError as error:
        return "".join(traceback.format_exception(error, chain=True)) + repr(error.complaints)
    settings = configuration.settings
    return "\n".join(
        (
            repr(configuration),
            str(configuration),
            repr(settings),
            repr(settings.senders[0].__dict__),
            repr(settings.model_dump()),
            settings.model_dump_json(),
            repr(configuration.redacted()),
            orjson.dumps(configuration.redacted()).decode(),
            repr(configuration.ruleset()),
            repr(list(configuration.ruleset().senders.values())),
        )
    )


@pytest.mark.parametrize("line", [f"secret_hash: {PASSWORD_HASH}", f"token_hash: {TOKEN_HASH}"])
def test_a_verifier_is_shown_nowhere(line: str) -> None:
    said = shown(with_login_sender(line))
    assert PASSWORD_HASH[30:] not in said
    assert TOKEN_HASH[7:] not in said
    assert "***" in said


def test_a_verifier_from_the_environment_is_shown_nowhere() -> None:
    said = shown(with_login_sender("token_hash: ${TOKEN}"), {"TOKEN": TOKEN_HASH})
    assert TOKEN_HASH[7:] not in said
    assert "***" in said


@pytest.mark.parametrize(
    "line",
    [
        f"secret_hash: {HUNTER}",
        f"token_hash: {HUNTER}",
        f"secret_file: {HUNTER}",
        f"secret_file: /etc/{HUNTER}",
        f"secret_hash: [{HUNTER}]",
        f"secret_hash: {{{HUNTER}: x}}",
        f"secret_hash: '{HUNTER}\\n'",
        f'secret_hash: "{HUNTER}\\n"',
        f"secret_hash: !{HUNTER} x",
        f"secret_hash: *{HUNTER}",
        f"secret_hash: @{HUNTER}: x",
        f"secret_hash: '{HUNTER}",
        f"password: {HUNTER}",
        f"secret: {HUNTER}",
        f"token: {HUNTER}",
        f"{{x: y, secret_hash:$argon2id${HUNTER}}}: z",
        f"secret_hash:$argon2id${HUNTER}",
        f"secret_hash:$argon2id${HUNTER}: x",
        f"login: $argon2id${HUNTER}" + "x" * 255,
        f"priority: $argon2id${HUNTER}",
        f"priority: sha256:{HUNTER}",
        f"limits: {HUNTER}",
        f"limits: [{HUNTER}]",
        f"secret_hash: ${{{'X'}}}",
        "secret_hash: ${X}${Y}",
        "priority: ${X}",
        "secret_file: ${X}",
        "limits: {rate: '${X}'}",
        "limits: ${X}",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(line: str) -> None:
    said = shown(with_login_sender(line), {"X": HUNTER})
    assert "ConfigurationError" in said
    assert HUNTER not in said


def test_a_value_that_could_move_a_terminal_is_not_repeated() -> None:
    for text in ("a\u202eb", "a\u200bb", "\U000e0001"):
        said = complaints(with_login_sender(f"token_hash: {TOKEN_HASH}\npriority: '{text}'"))
        assert said == ["11:15: senders[0].priority: the value is not one of transactional, bulk"]


def test_an_endpoint_with_a_password_is_refused_and_not_repeated() -> None:
    text = with_login_sender().replace(
        "{region: eu-west-1}",
        f"{{accounts: {{main: {{region: eu-west-1, endpoint_url: 'https://me:{HUNTER}@ses'}}}}}}",
    )
    said = shown(text)
    assert "ses.accounts.main.endpoint_url: the value is not an endpoint" in said
    assert HUNTER not in said


def test_what_is_in_force_is_shown_as_the_file_would_have_it() -> None:
    """The redacted dump is a file again, but for its secrets."""
    more = """
    certificates: [Client.Example]
    rewrite: {from: Büro <billing@example.com>}
    limits: {recipients: 1000/h, queue: {size: 1GiB}}
"""
    configuration = loaded(with_login_sender() + more, {"AWS_REGION": "eu-central-1"})
    shown_again = configuration.redacted()
    assert shown_again["hostname"] == "relay.example.com"
    assert shown_again["senders"][0]["token_hash"] == "***"
    assert shown_again["tls"]["certificate"] == ["chain.pem"]
    assert shown_again["senders"][0]["certificates"] == ["client.example"]
    assert shown_again["senders"][0]["rewrite"]["from"] == "Büro <billing@example.com>"
    assert shown_again["senders"][0]["limits"]["recipients"] == ["1000/h"]
    assert shown_again["spool"]["lifetime"] == "4d"
    assert shown_again["senders"][0]["limits"]["message_size"] == "10236KiB"
    assert shown_again["ses"]["accounts"] == {
        "main": {
            "region": "eu-west-1",
            "endpoint_url": None,
            "role_arn": None,
            "external_id": None,
            "session_name": None,
            "api": "auto",
            "max_send_rate": "auto",
            "daily_reserve": "10%",
        }
    }
    assert orjson.loads(orjson.dumps(shown_again)) == shown_again
    again = loaded(yaml.safe_dump(shown_again).replace("'***'", TOKEN_HASH))
    assert again.redacted() == shown_again
    assert again.ruleset().senders[BILLING] == configuration.ruleset().senders[BILLING]


def test_a_secret_file_holds_either_verifier_in_its_first_line(tmp_path: Path) -> None:
    for verifier in (PASSWORD_HASH, TOKEN_HASH):
        for rest in ("", "\n", "\r\n", "\nanything\n"):
            (tmp_path / "app.secret").write_text(verifier + rest)
            configuration = loaded(with_login_sender("secret_file: app.secret"), directory=tmp_path)
            sender = configuration.ruleset().senders.with_login("billing")
            assert sender is not None
            assert sender.secret == verifier


def test_a_secret_file_is_looked_for_among_the_credentials_first(tmp_path: Path) -> None:
    credentials, beside = tmp_path / "credentials", tmp_path / "etc"
    credentials.mkdir()
    beside.mkdir()
    (beside / "app.secret").write_text(PASSWORD_HASH)
    text = with_login_sender("secret_file: app.secret")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    first = loaded(text, environ, directory=beside)
    (credentials / "app.secret").write_text(TOKEN_HASH)
    second = loaded(text, environ, directory=beside)
    secrets = [c.ruleset().senders[BILLING].secret for c in (first, second)]
    assert secrets == [PASSWORD_HASH, TOKEN_HASH]


def test_certificates_are_looked_for_like_secret_files(tmp_path: Path) -> None:
    """The key often comes from systemd and the certificate does not."""
    (tmp_path / "key.pem").touch()
    configuration = loaded(with_login_sender(), {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    files = configuration.tls["submission"]
    assert files.keys == (tmp_path / "key.pem",)
    assert files.certificates == (Path("/etc/ses-relay/chain.pem"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the first line of the file is neither what `relay secret hash` nor what"),
        (b"\n" + TOKEN_HASH.encode(), "the first line of the file is neither what"),
        (b"hunter2hunter2\n", "the first line of the file is neither what"),
        (b"\xff\xfe", "the first line of the file is neither what"),
        (b"sha256:hunter2hunter2", "the first line of the file is not 'sha256:' and 64"),
        (b"$argon2id$hunter2hunter2", "the first line of the file is not an argon2id hash"),
        (b"x" * 65_537, "the file is too large: 65536 octets are the most"),
    ],
)
def test_a_secret_file_that_holds_no_verifier(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "app.secret").write_bytes(content)
    text = with_login_sender("secret_file: app.secret")
    (said,) = complaints(text, directory=tmp_path)
    assert said.startswith(f"10:18: senders[0].secret_file: {words}")
    assert HUNTER not in said


def test_a_secret_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A pipe is not opened: that would wait for its writer, and a reload with it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, words in {
        "absent": f"the file cannot be read: No such file or directory (looked for in {tmp_path})",
        str(tmp_path / "absent"): "the file cannot be read: No such file or directory",
        "pipe": f"the file is not a regular file (looked for in {tmp_path})",
        "folder": f"the file is a directory, not a file (looked for in {tmp_path})",
        "x" * 300: f"the file cannot be read: File name too long (looked for in {tmp_path})",
    }.items():
        text = with_login_sender(f"secret_file: {name}")
        environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}
        assert complaints(text, environ, directory=tmp_path) == [
            f"10:18: senders[0].secret_file: {words}"
        ]


def test_secrets_can_be_compared_and_not_pickled_by_accident() -> None:
    one, other = loaded(with_login_sender()), loaded(with_login_sender())
    assert one == other
    changed = with_login_sender(f"token_hash: {TOKEN_HASH.replace('0', '1')}")
    assert one != loaded(changed)
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(one)
