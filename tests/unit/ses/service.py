"""What SES says, a server that says it, and a verifier of what it was asked."""

from __future__ import annotations

import hashlib
import hmac
import re

from relay.mail.envelope import AccountName
from relay.policy.sender import Route
from relay.ports import Consignment, Content
from relay.ses.sdk import Role
from tests.builders import a_mail
from tests.unit.ses.wire import Peer

TAKEN = (
    '<SendRawEmailResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/">\n'
    "  <SendRawEmailResult>\n    <MessageId>{}</MessageId>\n  </SendRawEmailResult>\n"
    "  <ResponseMetadata>\n    <RequestId>8c2f7a52</RequestId>\n  </ResponseMetadata>\n"
    "</SendRawEmailResponse>\n"
)
REFUSED = (
    '<ErrorResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><Error><Type>Sender</Type>'
    "<Code>{}</Code><Message>{}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
)
QUOTA = (
    '<GetSendQuotaResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><GetSendQuotaResult>'
    "<SentLast24Hours>{used}</SentLast24Hours><Max24HourSend>{daily}</Max24HourSend>"
    "<MaxSendRate>{rate}</MaxSendRate></GetSendQuotaResult></GetSendQuotaResponse>"
)
CONTENT = b"Subject: x\r\n\r\n\xff\x00+/=\r\n"


def http(status: int, body: str) -> bytes:
    octets = body.encode()
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(octets), octets)


class Teller:
    """Answers in turn and remembers what it was asked; the last answer is given for ever."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            head = await peer.reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            self.heads.append(head)
            self.bodies.append(await peer.reader.readexactly(length))
            await peer.say(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


class Somewhere:
    """An AWS configuration that says where SES is, and nothing else."""

    def __init__(self, url: str) -> None:
        self._url = url

    def endpoint_url(self, service: str) -> str:
        del service
        return self._url

    def proxy(self, url: str) -> None:
        del url

    def ca_bundle(self) -> None:
        return None

    def assume(self, role: Role) -> None:
        raise NotImplementedError

    def keys(self, *, anew: bool) -> None:
        raise NotImplementedError


def a_consignment(content: Content = CONTENT, *, size: int | None = None) -> Consignment:
    found = len(content) if isinstance(content, bytes) else content.size
    mail = a_mail("jane@example.net", "o'neil+1@example.net", size=found if size is None else size)
    return Consignment(
        mail,
        content,
        mail.envelope.recipients,
        Route(AccountName("main"), "bulk", (("not", "these"),)),
        (("relay-id", mail.queue_id), ("app", "billing")),
    )


def is_valid(head: bytes, body: bytes, secret: str) -> bool:
    """Verify a signature the long way, from what is on the wire alone."""
    request_line, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = request_line.split(" ")
    fields = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=\w+/(\d{8})/([\w-]+)/(\w+)/aws4_request, "
        r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        fields["authorization"],
    )
    assert match
    date, region, service, names, signature = match.groups()
    assert fields["x-amz-date"].startswith(date)
    canonical = "\n".join(
        [
            method,
            target,
            "",
            *(f"{name}:{fields[name]}" for name in names.split(";")),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{date}/{region}/{service}/aws4_request"
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            fields["x-amz-date"],
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest() == signature
