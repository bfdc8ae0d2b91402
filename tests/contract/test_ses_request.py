"""Our SendRawEmail request is botocore's, octet for octet.

botocore is asked to send the same mail at the same moment; its request is caught before it leaves
and compared with ours. Not compared, because they do not matter to SES: User-Agent, the amz-sdk-*
fields (botocore's own bookkeeping), and the order of fields.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.session import Session

from relay.mail.address import Address
from relay.ses.endpoint import Endpoint
from relay.ses.request import CONTENT_TYPE, encode, form_fields
from relay.ses.signer import Keys, Signer
from tests.builders import an_address

NOW = datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC)
REGION = "eu-west-1"
AWS = "https://email.eu-west-1.amazonaws.com"
PLAIN = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
WITH_TOKEN = Keys("ASIDEXAMPLE", "secret", "FwoGZXIvYXdzE+/=" * 40)

SENT = (
    b'<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><SendRawEmailResult>'
    b"<MessageId>m-1</MessageId></SendRawEmailResult></SendRawEmailResponse>"
)


@dataclass
class Seen:
    """A request as it would have left."""

    method: str
    url: str
    body: bytes
    fields: dict[str, str]


class Body(io.BytesIO):
    def stream(self) -> Sequence[bytes]:
        return [self.read()]


def of_botocore(
    monkeypatch: pytest.MonkeyPatch, keys: Keys, endpoint_url: str | None, **parameters: Any
) -> Seen:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    session = Session()
    client = session.create_client(
        "ses",
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token or None,
        config=Config(retries={"total_max_attempts": 1}),
    )
    caught: list[Seen] = []

    def catch(request: Any, **_: Any) -> AWSResponse:
        fields = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        caught.append(Seen(request.method, request.url, bytes(request.body, "ascii"), fields))
        return AWSResponse(request.url, 200, {}, Body(SENT))

    client.meta.events.register("before-send.ses.SendRawEmail", catch)
    client.send_raw_email(**parameters)
    client.close()
    return caught[0]


def of_ours(
    keys: Keys,
    endpoint_url: str,
    content: bytes,
    *,
    source: Address | None,
    recipients: Sequence[Address],
    tags: Sequence[tuple[str, str]],
    configuration_set: str,
) -> Seen:
    endpoint = Endpoint.parse(endpoint_url)
    body = form_fields(source, recipients, tags, configuration_set) + encode(content)
    head = Signer(endpoint, REGION, CONTENT_TYPE).head(
        keys, NOW, digest=sha256(body).hexdigest(), length=len(body)
    )
    request_line, *lines = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    method, path, version = request_line.split(" ")
    assert version == "HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in lines)
    scheme = "https" if endpoint.is_tls else "http"
    return Seen(
        method,
        f"{scheme}://{fields['Host']}{path}",
        body,
        {name.lower(): value for name, value in fields.items()},
    )


def compare(ours: Seen, theirs: Seen) -> None:
    assert ours.body == theirs.body
    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    ignored = {"user-agent", "host"}
    told = {
        name: value
        for name, value in theirs.fields.items()
        if name not in ignored and not name.startswith("amz-sdk-")
    }
    assert {name: ours.fields[name] for name in told} == told
    assert set(ours.fields) - ignored == set(told)


CONTENT = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\n" + bytes(range(256)) * 40

CASES = {
    "plain": ({}, b"Subject: x\r\n\r\nhello\r\n"),
    "octets of every value": ({}, CONTENT),
    "empty content": ({}, b""),
    "null reverse-path": ({"source": None}, b"x"),
    "fifty recipients": (
        {"recipients": tuple(Address(f"user+{n}", "example.net") for n in range(50))},
        b"xy",
    ),
    "quoted local part": (
        {"recipients": (an_address('"a b&=+\\"c"@example.net'), an_address("x@[192.0.2.1]"))},
        b"x",
    ),
    "every character of a local part": (
        {"source": an_address("a!#$%&'*+-/?=^_`{|}~@example.com")},
        b"x",
    ),
    "configuration set": ({"configuration_set": "bulk_2"}, b"x"),
    "tags": ({"tags": (("relay-id", "06H04YCY58GVCD1MB7KG"), ("app", "billing_1"))}, b"x"),
    "a tag SES will refuse": ({"tags": (("na me", "ü+&"),)}, b"x"),
    "all of it": (
        {"tags": (("a", "b"),), "configuration_set": "c", "source": an_address("a+b@example.com")},
        CONTENT,
    ),
}


@pytest.mark.P2
@pytest.mark.parametrize("keys", [PLAIN, WITH_TOKEN], ids=["keys", "session token"])
@pytest.mark.parametrize(("given", "content"), CASES.values(), ids=CASES.keys())
def test_our_request_is_botocores(
    monkeypatch: pytest.MonkeyPatch, keys: Keys, given: dict[str, Any], content: bytes
) -> None:
    asked: dict[str, Any] = {
        "source": an_address("billing@example.com"),
        "recipients": (an_address(),),
        "tags": (),
        "configuration_set": "",
    } | given
    # The order in which botocore is told is the order in which it writes.
    told: dict[str, Any] = {}
    if asked["source"] is not None:
        told["Source"] = str(asked["source"])
    told["Destinations"] = [str(recipient) for recipient in asked["recipients"]]
    if asked["tags"]:
        told["Tags"] = [{"Name": name, "Value": value} for name, value in asked["tags"]]
    if asked["configuration_set"]:
        told["ConfigurationSetName"] = asked["configuration_set"]
    told["RawMessage"] = {"Data": content}

    compare(of_ours(keys, AWS, content, **asked), of_botocore(monkeypatch, keys, None, **told))


@pytest.mark.parametrize(
    "url",
    [
        "https://vpce-0a1b.email.eu-west-1.vpce.amazonaws.com",
        "https://ses.example.com:443",
        "http://127.0.0.1:4566",
        "http://127.0.0.1:80/",
        "http://[::1]:8005",
        "http://proxy.example.com:8080/aws/ses",
        "http://proxy.example.com:8080/aws/ses/",
    ],
)
def test_our_request_is_botocores_at_any_endpoint(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    source, recipients = an_address("billing@example.com"), (an_address(),)
    ours = of_ours(
        PLAIN, url, b"x", source=source, recipients=recipients, tags=(), configuration_set=""
    )
    theirs = of_botocore(
        monkeypatch,
        PLAIN,
        url,
        Source=str(source),
        Destinations=[str(recipient) for recipient in recipients],
        RawMessage={"Data": b"x"},
    )
    # botocore leaves a port in the URL that the Host field and the signature do without.
    theirs.url = theirs.url.replace(":443/", "/").replace(":80/", "/")
    compare(ours, theirs)
