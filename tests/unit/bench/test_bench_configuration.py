"""What the benchmark starts the relay with is what the relay's own loader takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.configuration import Places, relay_yaml
from bench.corners import SENDERS
from bench.logs import RELAYED, SENT, Log
from bench.points import BASE, BOTO3, POINTS, POSTFIX, Login, Point, Ses, Tls
from relay.config.loader import load_text


def _places(directory: Path) -> Places:
    return Places(
        2525,
        directory / "spool",
        directory / "admin.sock",
        "http://127.0.0.1:1",
        directory / "certificate.pem",
        directory / "key.pem",
    )


def _load(text: str, directory: Path) -> None:
    load_text(text.encode(), file="relay.yaml", directory=directory, environ={})


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_each_point_is_a_configuration_of_the_relay(point: Point, tmp_path: Path) -> None:
    _load(relay_yaml(point, _places(tmp_path)), tmp_path)


def test_further_senders_and_more_connections_are_too(tmp_path: Path) -> None:
    text = relay_yaml(BASE, _places(tmp_path), connections=50_000, senders=SENDERS)
    _load(text, tmp_path)


def test_points_differ_from_the_base_in_what_their_names_say() -> None:
    names = [point.name for point in POINTS]
    assert len(set(names)) == len(names)
    assert {point.size for point in POINTS} >= {4096, 100 << 10, 1 << 20}
    assert {point.clients for point in POINTS} == {1, 10, 50, 100}
    assert {point.tls for point in POINTS} == set(Tls)
    assert {point.login for point in POINTS} == set(Login)
    assert {point.ses for point in POINTS} == set(Ses)
    assert set(BASE.peers) == {POSTFIX, BOTO3}


def test_postfix_is_beside_us_only_where_it_does_the_same() -> None:
    for point in POINTS:
        if POSTFIX in point.peers:
            same = (point.login, point.ses, point.accept)
            assert same == (Login.NETWORK, Ses.AT_ONCE, "queued"), point.name


def test_a_share_leaves_each_client_a_message() -> None:
    assert BASE.share(0.5).messages == BASE.messages // 2
    assert BASE.share(0.0).messages == BASE.clients


def test_smtp_source_is_not_asked_for_what_it_cannot_do() -> None:
    ours_alone = [point.name for point in POINTS if not point.can_be_sent_by_smtp_source]
    assert ours_alone == [
        "1 client",
        "pipelined",
        "STARTTLS",
        "implicit TLS",
        "token",
        "argon2",
        "argon2, one message per connection",
    ]


def test_a_log_is_read_as_it_grows_by_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(path, RELAYED)
    assert log.read_on() == 0, "not there yet"
    line = b'{"queue_id":"1","queue_seconds":0.25,"event":"mail.relayed","level":"info"}\n'
    path.write_bytes(b'{"event":"mail.queued"}\n' + line + line[:40])
    assert log.read_on() == 1
    with path.open("ab") as file:
        file.write(line[40:])
    assert log.read_on() == 2
    assert log.waits == [0.25, 0.25]


def test_the_log_of_postfix_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        "Dec  1 00:00:00 h postfix/smtp[1]: 4F: to=<a@b>, relay=c[127.0.0.1]:1, delay=0.12,"
        " delays=0.1/0/0.01/0.01, dsn=2.0.0, status=sent (250 2.0.0 Ok)\n"
        "Dec  1 00:00:00 h postfix/smtp[1]: 50: to=<a@b>, relay=none, delay=9,"
        " delays=0.1/0/0.01/0.01, dsn=4.4.1, status=deferred (no)\n"
    )
    log = Log(path, SENT)
    assert log.read_on() == 1
    assert log.waits == [0.12]
