"""Signature Version 4, against the figures AWS publishes and against every way of getting it wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from relay.simulator.errors import ApiError
from relay.simulator.settings import Credential
from relay.simulator.signature import Scope, SignedRequest, canonical_request, sign, verify

# "Signature Version 4 test suite" and "Examples of signed requests" of the AWS documentation.
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
AWS_DATE = ("X-Amz-Date", "20150830T123600Z")

NOW = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
CREDENTIAL = Credential(access_key="AKIATEST", secret_key="secret")
SESSION = Credential(
    access_key="ASIATEST",
    secret_key="secret",
    session_token="token/one==",
    expires_at=NOW + timedelta(hours=1),
)


@pytest.mark.parametrize(
    ("request_", "service", "signed_headers", "signature"),
    [
        pytest.param(
            SignedRequest("GET", "/", (("Host", "example.amazonaws.com"), AWS_DATE), b""),
            "service",
            ("host", "x-amz-date"),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            id="get-vanilla",
        ),
        pytest.param(
            SignedRequest(
                "GET",
                "/?Action=ListUsers&Version=2010-05-08",
                (
                    ("Host", "iam.amazonaws.com"),
                    ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
                    AWS_DATE,
                ),
                b"",
            ),
            "iam",
            ("content-type", "host", "x-amz-date"),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            id="iam-list-users",
        ),
    ],
)
def test_the_signature_is_the_one_aws_publishes(
    request_: SignedRequest, service: str, signed_headers: tuple[str, ...], signature: str
) -> None:
    scope = Scope("20150830", "us-east-1", service)
    assert sign(request_, AWS_SECRET, scope=scope, signed_headers=signed_headers) == signature


def test_the_canonical_request_sorts_trims_and_encodes() -> None:
    request = SignedRequest(
        "GET",
        "/a%20b?b=2&a=%7E%2F&a=1&flag",
        (("My-Header", "  a   b "), ("Host", "h"), ("my-header", "c")),
        b"",
    )
    lines = canonical_request(request, ("my-header", "host")).split("\n")
    assert lines[:6] == [
        "GET",
        "/a%2520b",
        "a=1&a=~%2F&b=2&flag=",
        "host:h",
        "my-header:a b,c",
        "",
    ]
    assert lines[6] == "host;my-header"


def signed(
    credential: Credential = CREDENTIAL,
    *,
    secret: str | None = None,
    at: datetime = NOW,
    scope: Scope | None = None,
    headers: tuple[str, ...] | None = None,
) -> SignedRequest:
    """A request signed as a good client would, but for what is asked for here."""
    stamp = f"{at:%Y%m%dT%H%M%SZ}"
    carried = [("Host", "127.0.0.1:8005"), ("X-Amz-Date", stamp)]
    if credential.session_token is not None:
        carried.append(("X-Amz-Security-Token", credential.session_token))
    scope = scope or Scope(stamp[:8], "eu-west-1", "ses")
    names = headers or tuple(sorted(name.lower() for name, _ in carried))
    request = SignedRequest("POST", "/", tuple(carried), b"Action=GetSendQuota")
    signature = sign(request, secret or credential.secret_key, scope=scope, signed_headers=names)
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credential.access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return replace(request, headers=(*request.headers, ("Authorization", authorization)))


def verdict(request: SignedRequest, *, now: datetime = NOW) -> Credential | ApiError:
    return verify(request, (CREDENTIAL, SESSION), region="eu-west-1", service="ses", now=now)


def code(request: SignedRequest, *, now: datetime = NOW) -> tuple[str, int]:
    found = verdict(request, now=now)
    assert isinstance(found, ApiError)
    return found.code, found.status


@pytest.mark.parametrize("credential", [CREDENTIAL, SESSION], ids=["long-lived", "session"])
def test_a_well_signed_request_names_its_credential(credential: Credential) -> None:
    assert verdict(signed(credential)) is credential


@pytest.mark.parametrize("skew", [timedelta(minutes=15), timedelta(minutes=-15)])
def test_a_clock_fifteen_minutes_off_is_still_right(skew: timedelta) -> None:
    assert verdict(signed(at=NOW + skew)) is CREDENTIAL


MISMATCH = ("SignatureDoesNotMatch", 403)
UNKNOWN = ("InvalidClientTokenId", 403)
BAD_FORM = ("IncompleteSignature", 400)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(signed(secret="other"), MISMATCH, id="wrong secret"),
        pytest.param(replace(signed(), body=b"Action=X"), MISMATCH, id="other body"),
        pytest.param(replace(signed(), target="/?a=b"), MISMATCH, id="other target"),
        pytest.param(replace(signed(), method="GET"), MISMATCH, id="other method"),
        pytest.param(
            signed(scope=Scope("20260302", "us-east-1", "ses")), MISMATCH, id="other region"
        ),
        pytest.param(
            signed(scope=Scope("20260302", "eu-west-1", "sns")), MISMATCH, id="other service"
        ),
        pytest.param(signed(scope=Scope("20260301", "eu-west-1", "ses")), MISMATCH, id="other day"),
        pytest.param(signed(headers=("x-amz-date",)), MISMATCH, id="host not signed"),
        pytest.param(signed(headers=("host",)), MISMATCH, id="date not signed"),
        pytest.param(
            signed(SESSION, headers=("host", "x-amz-date")), MISMATCH, id="token not signed"
        ),
        pytest.param(
            signed(replace(CREDENTIAL, access_key="AKIAOTHER")), UNKNOWN, id="unknown key"
        ),
        pytest.param(signed(replace(SESSION, session_token="x")), UNKNOWN, id="other token"),
        pytest.param(signed(replace(SESSION, session_token=None)), UNKNOWN, id="no token"),
        pytest.param(
            signed(replace(CREDENTIAL, session_token="x")), UNKNOWN, id="token without need"
        ),
        pytest.param(
            signed(at=NOW + timedelta(minutes=15, seconds=1)), ("RequestExpired", 400), id="early"
        ),
        pytest.param(
            signed(at=NOW - timedelta(minutes=15, seconds=1)), ("RequestExpired", 400), id="late"
        ),
    ],
)
def test_a_request_that_is_not_well_signed_is_refused(
    request_: SignedRequest, expected: tuple[str, int]
) -> None:
    assert code(request_) == expected


def test_an_expired_session_token_is_refused_as_expired() -> None:
    later = NOW + timedelta(hours=1)
    assert code(signed(SESSION, at=later), now=later) == ("ExpiredToken", 403)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, ("MissingAuthenticationToken", 403)),
        ("", BAD_FORM),
        ("Basic dXNlcjpwYXNz", BAD_FORM),
        ("AWS4-HMAC-SHA256", BAD_FORM),
        ("AWS4-HMAC-SHA256 Credential=A/20260302/eu-west-1/ses/aws4_request", BAD_FORM),
        ("AWS4-HMAC-SHA256 Credential=A/ses, SignedHeaders=host, Signature=0", BAD_FORM),
        (
            (
                "AWS4-HMAC-SHA1 Credential=A/20260302/eu-west-1/ses/aws4_request, "
                "SignedHeaders=host, Signature=0"
            ),
            BAD_FORM,
        ),
    ],
)
def test_an_authorization_header_must_be_there_and_whole(
    authorization: str | None, expected: tuple[str, int]
) -> None:
    headers = signed().headers[:-1]
    if authorization is not None:
        headers = (*headers, ("Authorization", authorization))
    assert code(replace(signed(), headers=headers)) == expected


def test_what_is_missing_is_named_in_the_words_of_aws() -> None:
    request = SignedRequest("POST", "/", (("Authorization", "AWS4-HMAC-SHA256 x"),), b"")
    found = verdict(request)
    assert isinstance(found, ApiError)
    assert found.text == (
        "Authorization header requires 'Credential' parameter. "
        "Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. "
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
    )


def test_a_date_that_is_none_is_malformed() -> None:
    headers = tuple(
        (name, "yesterday" if name == "X-Amz-Date" else value) for name, value in signed().headers
    )
    assert code(replace(signed(), headers=headers)) == BAD_FORM
