"""Our requests are botocore's, octet for octet: SendRawEmail of v1, SendEmail of v2.

botocore is asked to send the same mail at the same moment; its request is caught before it leaves
and compared with ours. Not compared, because they do not matter to SES: User-Agent, the amz-sdk-*
fields (botocore's own bookkeeping), and the order of fields.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.session import Session

from relay.mail.address import Address
from relay.mail.envelope import AccountName, Envelope
from relay.policy.sender import Route
from relay.ports import Consignment
from relay.ses import quota
from relay.ses.api import V1, V2, Api
from relay.ses.lines import Lines, Operation
from relay.ses.pool import Deadlines
from relay.ses.signer import Keys
from tests.builders import a_mail, an_address
from tests.unit.ses.service import Somewhere

NOW = datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC)
REGION = "eu-west-1"
AWS = "https://email.eu-west-1.amazonaws.com"
PLAIN = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
WITH_TOKEN = Keys("ASIDEXAMPLE", "secret", "FwoGZXIvYXdzE+/=" * 40)

SENT = {
    "ses": b'<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/">'
    b"<SendRawEmailResult><MessageId>m-1</MessageId></SendRawEmailResult></SendRawEmailResponse>",
    "sesv2": b'{"MessageId": "m-1"}',
}
MAIN = Route(AccountName("main"))
BOTH = pytest.mark.parametrize("api", [V1, V2], ids=["v1", "v2"])


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


@dataclass(frozen=True)
class Asked:
    """What one call is to say."""

    source: Address | None = field(default_factory=lambda: an_address("billing@example.com"))
    recipients: tuple[Address, ...] = field(default_factory=lambda: (an_address(),))
    tags: tuple[tuple[str, str], ...] = ()
    route: Route = MAIN
    content: bytes = b"Subject: x\r\n\r\nhello\r\n"

    def consignment(self) -> Consignment:
        mail = a_mail(*self.recipients, size=len(self.content))._replace(
            envelope=Envelope(self.source, self.recipients)
        )
        return Consignment(mail, self.content, self.recipients, self.route, self.tags)


def told_v1(asked: Asked) -> dict[str, Any]:
    """Return botocore's parameters, in the order in which they are to be written."""
    route = asked.route
    return given(
        Source=asked.source and str(asked.source),
        Destinations=[str(recipient) for recipient in asked.recipients],
        Tags=[{"Name": name, "Value": value} for name, value in asked.tags],
        ConfigurationSetName=route.configuration_set,
        SourceArn=route.source_arn,
        FromArn=route.from_arn,
        ReturnPathArn=route.return_path_arn,
    ) | {"RawMessage": {"Data": asked.content}}


def told_v2(asked: Asked) -> dict[str, Any]:
    route, source = asked.route, asked.source
    return given(
        FromEmailAddressIdentityArn=route.from_arn or route.source_arn,
        Destination={"ToAddresses": [str(recipient) for recipient in asked.recipients]},
        FeedbackForwardingEmailAddress=source and str(source),
        FeedbackForwardingEmailAddressIdentityArn=source
        and (route.return_path_arn or route.source_arn),
        EmailTags=[{"Name": name, "Value": value} for name, value in asked.tags],
        ConfigurationSetName=route.configuration_set,
        TenantName=route.tenant,
        ListManagementOptions=given(ContactListName=route.contact_list, TopicName=route.topic),
    ) | {"Content": {"Raw": {"Data": asked.content}}}


def given(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value}


TOLD: dict[str, Callable[[Asked], dict[str, Any]]] = {"ses": told_v1, "sesv2": told_v2}
SESSION = Session()
METHOD = {"ses": "send_raw_email", "sesv2": "send_email"}


@cache
def client_of(service: str, keys: Keys, endpoint_url: str | None) -> Any:
    """Return a client; to make one takes a third of a second."""
    return SESSION.create_client(
        service,
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token or None,
        config=Config(retries={"total_max_attempts": 1}),
    )


def of_botocore(
    monkeypatch: pytest.MonkeyPatch, api: Api, keys: Keys, endpoint_url: str | None, asked: Asked
) -> Seen:
    def ask(client: Any) -> None:
        getattr(client, METHOD[api.service])(**TOLD[api.service](asked))

    return caught_from(monkeypatch, api.service, keys, endpoint_url, SENT, ask)


def caught_from(
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    keys: Keys,
    endpoint_url: str | None,
    answers: dict[str, bytes],
    ask: Callable[[Any], object],
) -> Seen:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    client = client_of(service, keys, endpoint_url)
    caught: list[Seen] = []

    def catch(request: Any, **_: Any) -> AWSResponse:
        fields = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        body = request.body or b""
        body = body if isinstance(body, bytes) else body.encode("ascii")
        caught.append(Seen(request.method, request.url, body, fields))
        return AWSResponse(request.url, 200, {}, Body(answers[service]))

    event = f"before-send.{service}.*"
    client.meta.events.register(event, catch)
    try:
        ask(client)
    finally:
        client.meta.events.unregister(event, catch)
    return caught[0]


def of_ours(api: Api, keys: Keys, endpoint_url: str, asked: Asked) -> Seen:
    body = api.frame(asked.consignment()).around(asked.content)
    return signed(api, keys, endpoint_url, body)


def signed(of: Operation, keys: Keys, endpoint_url: str, body: bytes) -> Seen:
    with ThreadPoolExecutor(1) as threads:
        lines = Lines(
            lambda: Somewhere(endpoint_url), region=REGION, deadlines=Deadlines(), threads=threads
        )
        line = lines.draw(of)
    head = line.signer.head(keys, NOW, digest=sha256(body).hexdigest(), length=len(body))
    request_line, *rest = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    method, path, version = request_line.split(" ")
    assert version == "HTTP/1.1"
    fields = {name.lower(): value for name, value in (one.split(": ", 1) for one in rest)}
    scheme = endpoint_url.partition(":")[0]
    return Seen(method, f"{scheme}://{fields['host']}{path}", body, fields)


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


ANSWERED = {
    "ses": b'<GetSendQuotaResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/">'
    b"<GetSendQuotaResult/></GetSendQuotaResponse>",
    "sesv2": b"{}",
}


@pytest.mark.parametrize("question", [quota.V1, quota.V2], ids=["v1", "v2"])
@pytest.mark.parametrize("keys", [PLAIN, WITH_TOKEN], ids=["keys", "session token"])
def test_our_question_for_the_quota_is_botocores(
    monkeypatch: pytest.MonkeyPatch, question: quota.Question, keys: Keys
) -> None:
    method = {"ses": "get_send_quota", "sesv2": "get_account"}[question.service]
    theirs = caught_from(
        monkeypatch,
        question.service,
        keys,
        None,
        ANSWERED,
        lambda client: getattr(client, method)(),
    )
    ours = signed(question, keys, AWS, question.body)
    # Botocore says of a request without a body nothing at all, and we that it has none.
    if not question.body:
        assert ours.fields.pop("content-length") == "0"
    compare(ours, theirs)


CONTENT = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n\r\n" + bytes(range(256)) * 40
ARN = "arn:aws:ses:eu-west-1:123456789012:identity/"
SHARED = replace(MAIN, source_arn=f"{ARN}example.com")
ARNS = replace(SHARED, from_arn=f"{ARN}a@b.example", return_path_arn=f"{ARN}r.example")

CASES = {
    "plain": Asked(),
    "octets of every value": Asked(content=CONTENT),
    "empty content": Asked(content=b""),
    "null reverse-path": Asked(source=None, content=b"x"),
    "fifty recipients": Asked(
        recipients=tuple(Address(f"user+{n}", "example.net") for n in range(50)), content=b"xy"
    ),
    "quoted local part": Asked(
        recipients=(an_address('"a b&=+\\"c"@example.net'), an_address("x@[192.0.2.1]"))
    ),
    "every character of a local part": Asked(source=an_address("a!#$%&'*+-/?=^_`{|}~@example.com")),
    "configuration set": Asked(route=replace(MAIN, configuration_set="bulk_2")),
    "tags": Asked(tags=(("relay-id", "06H04YCY58GVCD1MB7KG"), ("app", "billing_1"))),
    "a tag SES will refuse": Asked(tags=(("na me", "ü+&"),)),
    "a shared identity": Asked(route=SHARED),
    "identities of three others": Asked(route=ARNS),
    "the null reverse-path of a shared identity": Asked(source=None, route=SHARED),
    "tenant": Asked(route=replace(MAIN, tenant="acme-1")),
    "contact list": Asked(route=replace(MAIN, contact_list="readers")),
    "topic of a list": Asked(route=replace(MAIN, contact_list="readers", topic="news")),
    "all of it": Asked(
        tags=(("a", "b"),),
        source=an_address("a+b@example.com"),
        content=CONTENT,
        route=replace(ARNS, configuration_set="c", tenant="acme-1"),
    ),
}


@pytest.mark.P2
@BOTH
@pytest.mark.parametrize("keys", [PLAIN, WITH_TOKEN], ids=["keys", "session token"])
@pytest.mark.parametrize("asked", CASES.values(), ids=CASES.keys())
def test_our_request_is_botocores(
    monkeypatch: pytest.MonkeyPatch, api: Api, keys: Keys, asked: Asked
) -> None:
    compare(of_ours(api, keys, AWS, asked), of_botocore(monkeypatch, api, keys, None, asked))


@BOTH
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
    monkeypatch: pytest.MonkeyPatch, api: Api, url: str
) -> None:
    ours = of_ours(api, PLAIN, url, Asked())
    theirs = of_botocore(monkeypatch, api, PLAIN, url, Asked())
    # botocore leaves a port in the URL that the Host field and the signature do without.
    theirs.url = theirs.url.replace(":443/", "/").replace(":80/", "/")
    compare(ours, theirs)
