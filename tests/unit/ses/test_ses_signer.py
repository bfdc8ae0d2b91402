"""The head of a request: what is signed, and what a verifier of our own makes of it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from relay.ses.endpoint import Endpoint
from relay.ses.signer import Keys, Signer
from tests.unit.ses.service import is_valid

NOW = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
BODY = b"Action=SendRawEmail"


def a_signer(url: str = "https://email.eu-west-1.amazonaws.com") -> Signer:
    return Signer(Endpoint.parse(url), "eu-west-1", "text/plain")


def signed(signer: Signer, keys: Keys = KEYS, now: datetime = NOW, body: bytes = BODY) -> bytes:
    return signer.head(keys, now, digest=hashlib.sha256(body).hexdigest(), length=len(body))


@pytest.mark.parametrize("token", ["", "FwoGZXIvYXdzE+/="])
def test_a_verifier_accepts_the_signature(token: str) -> None:
    keys = Keys(KEYS.access_key, KEYS.secret_key, token)
    head = signed(a_signer(), keys)
    assert is_valid(head, BODY, KEYS.secret_key)
    assert (b"X-Amz-Security-Token: " in head) is bool(token)
    assert not is_valid(head, BODY + b"&", KEYS.secret_key)
    assert not is_valid(head, BODY, "another secret")


def test_a_kept_signing_key_is_used_for_its_own_day_and_secret_only() -> None:
    signer = a_signer()
    other = Keys("AKIDOTHER", "other secret")
    for keys, now in [
        (KEYS, NOW),
        (KEYS, NOW + timedelta(seconds=1)),
        (KEYS, NOW + timedelta(days=1)),
        (KEYS, NOW),
        (other, NOW),
        (KEYS, NOW),
    ]:
        assert is_valid(signed(signer, keys, now), BODY, keys.secret_key)


def test_the_head_announces_the_body() -> None:
    head = signed(a_signer("http://127.0.0.1:8005/ses"))
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /ses HTTP/1.1"
    assert b"Host: 127.0.0.1:8005" in lines
    assert b"Content-Type: text/plain" in lines
    assert b"Content-Length: 19" in lines
    assert b"X-Amz-Date: 20260301T120005Z" in lines
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    ("access_key", "token"),
    [("AKID\n", ""), ("AKID\r\nX-Evil: 1", ""), ("AKID", "token\r\n"), ("AKIDÉ", "")],
)
def test_keys_that_would_break_the_header_are_refused(access_key: str, token: str) -> None:
    with pytest.raises(ValueError, match="unprintable"):
        Keys(access_key, "secret", token)


def test_keys_do_not_print_their_secrets() -> None:
    assert repr(Keys("AKID", "hush", "quiet")) == "Keys(access_key='AKID')"


@pytest.mark.parametrize(
    ("url", "authority", "port", "path", "is_tls"),
    [
        ("https://Email.EU-west-1.amazonaws.com", "email.eu-west-1.amazonaws.com", 443, "/", True),
        ("https://email.example:443/", "email.example", 443, "/", True),
        ("https://email.example:8443", "email.example:8443", 8443, "/", True),
        ("http://localhost:80", "localhost", 80, "/", False),
        ("http://[::1]:4566/x/y", "[::1]:4566", 4566, "/x/y", False),
    ],
)
def test_an_endpoint_is_read(url: str, authority: str, port: int, path: str, is_tls: bool) -> None:
    endpoint = Endpoint.parse(url)
    assert (endpoint.authority, endpoint.port) == (authority, port)
    assert (endpoint.path, endpoint.is_tls) == (path, is_tls)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "email.example.com",
        "ftp://email.example.com",
        "https://",
        "https:///path",
        "https://user:secret@email.example.com",
        "https://email.example.com/?a=b",
        "https://email.example.com/#x",
        "https://email.example.com/a//b",
        "https://email.example.com/../b",
        "https://email.example.com/a%20b",
        "https://email.example.com:port",
        "https://email.example.com:99999",
        "https://-" + "a" * 64 + ".example",
        "https://a..b",
        "https://[::1",
        "https://münchen.example",
    ],
)
def test_an_endpoint_is_not_guessed(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Endpoint.parse(url)
