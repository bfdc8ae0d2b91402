"""What botocore makes of a machine's AWS configuration, and what we make of botocore."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ProfileNotFound
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from relay.policy.session_policy import session_policy
from relay.ses.aws import Botocore
from relay.ses.sdk import Role, Whereabouts
from relay.ses.signer import Keys

REFUSED = (
    '<ErrorResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><Error><Type>Sender</Type>'
    "<Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>"
)


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that knows nothing of AWS."""
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[tuple[str, list[bytes]]]:
    """Serve HTTP on the loopback: the answers in turn, the last one for ever."""
    left, asked = list(answers), list[bytes]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def botocore(
    region: str = "eu-west-1", endpoint_url: str | None = None, role: Role | None = None
) -> Iterator[Botocore]:
    yield Botocore(Whereabouts(region, endpoint_url, role))


def of_a_role(number: int, lifetime: timedelta) -> tuple[int, str]:
    """What a container's or instance's role endpoint says."""
    return 200, json.dumps(
        {
            "AccessKeyId": f"ASIAROLE{number}",
            "SecretAccessKey": "secret",
            "Token": f"token-{number}",
            "Expiration": (datetime.now(UTC) + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


# --- credentials ----------------------------------------------------------------------------------


def test_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with botocore() as aws:
        assert aws.keys(anew=False) == Keys("AKIDENV", "secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
        assert aws.keys(anew=True) == Keys("AKIDENV", "secret", "token")


def test_credentials_of_a_profile_are_read_again_when_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = "[mail]\naws_access_key_id = {}\naws_secret_access_key = secret\n"
    monkeypatch.setenv("AWS_PROFILE", "mail")
    (tmp_path / "credentials").write_text(text.format("AKIDOLD"))
    with botocore() as aws:
        assert aws.keys(anew=False) == Keys("AKIDOLD", "secret")
        (tmp_path / "credentials").write_text(text.format("AKIDNEW"))
        assert aws.keys(anew=False) == Keys("AKIDOLD", "secret")
        assert aws.keys(anew=True) == Keys("AKIDNEW", "secret")


def test_credentials_of_a_role_are_renewed_ahead_of_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Those that end within a quarter of an hour are renewed whenever they are looked at.
    short, long = timedelta(minutes=14), timedelta(hours=6)
    roles = [of_a_role(1, short), of_a_role(2, short), of_a_role(3, long), of_a_role(4, long)]
    with answering(*roles) as (url, asked):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
        with botocore() as aws:
            assert aws.keys(anew=False) == Keys("ASIAROLE2", "secret", "token-2")
            assert aws.keys(anew=False) == Keys("ASIAROLE3", "secret", "token-3")
            assert aws.keys(anew=False) == Keys("ASIAROLE3", "secret", "token-3")
            assert len(asked) == 3
            assert aws.keys(anew=True) == Keys("ASIAROLE4", "secret", "token-4")


def test_credentials_of_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    status, role = of_a_role(1, timedelta(hours=6))
    told = status, json.dumps({"Code": "Success", **json.loads(role)})
    with answering((200, "v2-token"), (200, "relay"), told) as (url, asked):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        with botocore() as aws:
            assert aws.keys(anew=False) == Keys("ASIAROLE1", "secret", "token-1")
            assert aws.keys(anew=False) == Keys("ASIAROLE1", "secret", "token-1")
    assert len(asked) == 3


def test_credentials_of_a_web_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in Kubernetes: a token in a file, and no region but the account's."""
    (tmp_path / "token").write_text("web-token")
    status, answer = assumed(1, timedelta(hours=1))
    taken = status, answer.replace("AssumeRole", "AssumeRoleWithWebIdentity")
    with answering(taken) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE.arn)
        with botocore() as aws:
            assert aws.keys(anew=False) == Keys("ASIAROLE1", "secret", "token-1")
    (body,) = asked
    assert b"WebIdentityToken=web-token" in body


def test_where_there_are_no_credentials_the_next_look_sees_what_has_come(tmp_path: Path) -> None:
    with botocore() as aws:
        assert aws.keys(anew=False) is None
        (tmp_path / "credentials").write_text(
            "[default]\naws_access_key_id = AKIDLATE\naws_secret_access_key = secret\n"
        )
        assert aws.keys(anew=False) == Keys("AKIDLATE", "secret")


def test_a_profile_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with botocore() as aws, pytest.raises(ProfileNotFound):
        aws.keys(anew=False)


# --- an assumed role ------------------------------------------------------------------------------


@pytest.fixture
def _some_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


POLICY = session_policy(["billing@example.com", "@invoices.example.com"]).text
ROLE = Role("arn:aws:iam::123456789012:role/relay", "ses-relay-host", POLICY, "partner/7")
ASSUMED = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
    "<Credentials><AccessKeyId>ASIAROLE{0}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
    "<SessionToken>token-{0}</SessionToken><Expiration>{1:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
    "</Credentials><AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/relay/x</Arn>"
    "<AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
)


def assumed(number: int, lifetime: timedelta) -> tuple[int, str]:
    return 200, ASSUMED.format(number, datetime.now(UTC) + lifetime)


@pytest.mark.usefixtures("_some_credentials")
def test_a_role_is_assumed_for_sending_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moto's STS, which is not ours, takes the call and gives the keys."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        with botocore(role=ROLE) as aws:
            keys = aws.keys(anew=False)
            assert keys is not None
            assert keys.access_key.startswith("ASIA")
            assert keys.token
            assert aws.keys(anew=False) == keys, "every look assumed the role anew"
        # What other tests assumed is there too.
        (session,) = [
            one
            for one in sts_backends["123456789012"]["global"].assumed_roles
            if one.access_key_id == keys.access_key
        ]
    finally:
        server.stop()
    assert session.role_arn == ROLE.arn
    assert session.session_name == ROLE.session_name
    assert session.external_id == ROLE.external_id
    assert session.policy == POLICY


@pytest.mark.usefixtures("_some_credentials")
def test_a_role_limited_anew_is_assumed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    changed = replace(ROLE, policy=session_policy(["@example.com"]).text)
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        with botocore(role=ROLE) as aws:
            before = aws.keys(anew=False)
            aws.assume(ROLE)
            assert aws.keys(anew=False) == before, "it was assumed anew for nothing"
            aws.assume(changed)
            after = aws.keys(anew=False)
            assert after is not None
            assert after != before
            assert aws.keys(anew=False) == after
        sessions = {
            session.access_key_id: session.policy
            for session in sts_backends["123456789012"]["global"].assumed_roles
        }
    finally:
        server.stop()
    assert sessions[after.access_key] == changed.policy


@pytest.mark.usefixtures("_some_credentials")
def test_an_assumed_role_is_renewed_a_quarter_of_an_hour_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short, long = timedelta(minutes=14), timedelta(minutes=60)
    with answering(assumed(1, short), assumed(2, long), assumed(3, long)) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        with botocore(role=Role(ROLE.arn, "relay", POLICY)) as aws:
            assert aws.keys(anew=False) == Keys("ASIAROLE1", "secret", "token-1")
            # What would end within a quarter of an hour is renewed as it is looked at.
            assert aws.keys(anew=False) == Keys("ASIAROLE2", "secret", "token-2")
            assert aws.keys(anew=False) == Keys("ASIAROLE2", "secret", "token-2")
            assert aws.keys(anew=True) == Keys("ASIAROLE3", "secret", "token-3")
    assert len(asked) == 3
    assert all(b"DurationSeconds=3600" in body for body in asked)
    assert not any(b"ExternalId" in body for body in asked)


@pytest.mark.P8
@pytest.mark.usefixtures("_some_credentials")
def test_a_role_that_may_not_be_assumed_is_told_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with answering((403, REFUSED), assumed(1, timedelta(hours=1))) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        with botocore(role=ROLE) as aws:
            with pytest.raises(ClientError, match=r"AssumeRole.*not authorized"):
                aws.keys(anew=False)
            assert aws.keys(anew=False) == Keys("ASIAROLE1", "secret", "token-1")
    assert len(asked) == 2


def test_without_credentials_no_role_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering((200, "")) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        with botocore(role=ROLE) as aws:
            assert aws.keys(anew=False) is None
    assert not asked


# --- endpoint -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "configured", "environment", "expected"),
    [
        ("eu-west-1", None, {}, "https://email.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", None, {}, "https://email.us-gov-west-1.amazonaws.com"),
        ("eu-west-1", "http://127.0.0.1:8005", {}, "http://127.0.0.1:8005"),
        (
            "eu-west-1",
            None,
            {"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_SES": "http://b:2"},
            "http://b:2",
        ),
        ("eu-west-1", None, {"AWS_ENDPOINT_URL": "http://a:1"}, "http://a:1"),
        ("eu-west-1", "http://c:3", {"AWS_ENDPOINT_URL_SES": "http://b:2"}, "http://c:3"),
        (
            "eu-west-1",
            None,
            {"AWS_USE_FIPS_ENDPOINT": "true"},
            "https://email-fips.eu-west-1.amazonaws.com",
        ),
        (
            "us-east-1",
            None,
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "https://email.us-east-1.api.aws",
        ),
        (
            "us-gov-west-1",
            None,
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "https://email-fips.us-gov-west-1.api.aws",
        ),
    ],
)
def test_the_endpoint_needs_no_credentials_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch,
    region: str,
    configured: str | None,
    environment: dict[str, str],
    expected: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with botocore(region, configured) as aws:
        assert aws.endpoint_url("ses") == expected
        own = expected if "AWS_ENDPOINT_URL_SES" not in environment or configured else None
        if own is not None:
            assert aws.endpoint_url("sesv2") == own


def test_v2_has_an_endpoint_variable_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SES", "http://a:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SESV2", "http://b:2")
    with botocore() as aws:
        assert aws.endpoint_url("ses") == "http://a:1"
        assert aws.endpoint_url("sesv2") == "http://b:2"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "proxy:3128"),
        ({"HTTP_PROXY": "http://plain:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".amazonaws.com"}, None),
    ],
)
def test_the_proxy_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with botocore() as aws:
        assert aws.proxy("https://email.eu-west-1.amazonaws.com") == expected


def test_a_plain_endpoint_has_the_proxy_of_plain_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://plain:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    with botocore() as aws:
        assert aws.proxy("http://ses.internal") == "http://plain:3128"
        monkeypatch.setenv("NO_PROXY", ".internal")
        assert aws.proxy("http://ses.internal") is None


def test_the_certificates_of_the_aws_configuration_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with botocore() as aws:
        assert aws.ca_bundle() is None
    monkeypatch.setenv("AWS_CA_BUNDLE", "/etc/corporate.pem")
    with botocore() as aws:
        assert aws.ca_bundle() == "/etc/corporate.pem"


# --- cost -----------------------------------------------------------------------------------------


def test_botocore_is_not_imported_with_the_account() -> None:
    script = (
        "import sys, relay.ses.account\n"
        "assert not {'botocore', 'boto3', 'aiohttp'} & set(sys.modules), 'imported too early'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
