"""The kinds of values as pydantic types, each with the grammar an editor can check.

Every scalar of the model is one of these, so that every complaint about a scalar is in our words.
Does not know which key holds which.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final

from relay.config import mailboxes, measures, names, verifiers
from relay.config.spelling import Spelling, free, patterned
from relay.mail.address import Address
from relay.mail.ses_headers import IDENTITY_ARN, TAG
from relay.policy.sender import Rate

AUTO: Final = "auto"


def _rate_or_auto(text: str) -> Rate | None:
    try:
        return None if text == AUTO else measures.rate(text)
    except ValueError as error:
        raise ValueError(f"{error}; or write auto") from None


Duration = Annotated[
    timedelta,
    patterned(
        "a duration",
        measures.duration,
        measures.DURATION,
        "A duration: a whole number and ms, s, m, h or d, such as 500ms, 90s, 5m, 1h, 4d.",
        show=measures.show_duration,
        takes=(int, float),
    ),
]
Patience = Annotated[
    timedelta,
    patterned(
        "a duration",
        measures.patience,
        measures.DURATION,
        "A duration of at most 5m: a whole number and ms, s or m, such as 20s.",
        show=measures.show_duration,
        takes=(int, float),
    ),
]
MessageSize = Annotated[
    int,
    Spelling(
        "a size",
        measures.message_size,
        {"type": ["string", "integer"], "pattern": measures.SIZE, "minimum": 1024},
        "A size: a whole number and KiB, MiB (1024), KB or MB (1000), or plain octets.",
        show=measures.show_size,
        takes=(int, float),
    ),
]
QueueSize = Annotated[
    int | float,
    Spelling(
        "a size of a queue",
        measures.queue_size,
        {"type": ["string", "integer"], "pattern": measures.SIZE_OR_SHARE, "minimum": 1},
        "A size: a whole number and KiB, MiB, GiB (1024), KB, MB or GB (1000), or plain octets; or "
        "a percentage, such as 25%.",
        show=measures.show_queue_size,
        takes=(int, float),
    ),
]
MessageRate = Annotated[
    Rate,
    patterned(
        "a rate",
        measures.rate,
        measures.RATE,
        "A rate: a whole number per s, min, h or day, such as 10/s, 300/min, 5000/day.",
        show=measures.show_rate,
        takes=(int, float),
    ),
]
RecipientRate = Annotated[
    Rate,
    patterned(
        "a rate of recipients",
        measures.long_rate,
        measures.LONG_RATE,
        "A rate of recipients: a whole number per h or day, such as 1000/h, 20000/day.",
        show=measures.show_rate,
        takes=(int, float),
    ),
]
RateOrAuto = Annotated[
    Rate | None,
    patterned(
        "a rate or auto",
        _rate_or_auto,
        rf"auto|{measures.RATE}",
        "auto, or a rate: a whole number per s, min, h or day, such as 14/s.",
        show=measures.show_rate,
        takes=(int, float),
        none=AUTO,
    ),
]
FreeShare = Annotated[
    float,
    patterned(
        "a percentage",
        measures.free_share,
        measures.PERCENTAGE,
        "A percentage, such as 10%.",
        show=measures.show_percentage,
        takes=(int, float),
    ),
]
Reserve = Annotated[
    float,
    patterned(
        "a percentage",
        measures.reserve,
        measures.PERCENTAGE,
        "A percentage, such as 10%.",
        show=measures.show_percentage,
        takes=(int, float),
    ),
]
Count = Annotated[
    int,
    Spelling(
        "a whole number",
        measures.count,
        {"type": ["integer", "string"], "pattern": measures.COUNT, "minimum": 1},
        "A whole number of at least 1.",
        show=int,
        takes=(int, float),
    ),
]
RecipientCount = Annotated[
    int,
    Spelling(
        "a number of recipients",
        measures.recipient_count,
        {
            "type": ["integer", "string"],
            "pattern": measures.COUNT,
            "minimum": 1,
            "maximum": measures.RECIPIENTS_LIMIT,
        },
        f"A whole number from 1 to {measures.RECIPIENTS_LIMIT}.",
        show=int,
        takes=(int, float),
    ),
]
Switch = Annotated[
    bool,
    Spelling(
        "a boolean",
        measures.boolean,
        {"type": "boolean"},
        "true or false.",
        show=bool,
        takes=(bool,),
    ),
]

Name = Annotated[
    str,
    patterned(
        "a name", names.name, names.NAME, "A name: letters, digits, '-' and '_', at most 64."
    ),
]
Login = Annotated[
    str,
    patterned("a login", names.login, names.LOGIN, "A login: printable ASCII without spaces."),
]
TagName = Annotated[
    str,
    patterned(
        "a tag name",
        names.tag_name,
        TAG,
        "The name of a message tag: letters, digits, '-' and '_', at most 256.",
    ),
]
TagValue = Annotated[
    str,
    patterned(
        "a tag value",
        names.tag_value,
        TAG,
        "The value of a message tag: letters, digits, '-' and '_', at most 256.",
    ),
]
Domain = Annotated[
    str, free("a domain name", names.domain, "A domain name, such as relay.example.com.")
]
FromPattern = Annotated[
    str,
    patterned(
        "an address or domain",
        names.from_pattern,
        r"[^*].*@.+|@[^@]+",
        'user@example.com, "@example.com", or "@.example.com" for all its subdomains.',
    ),
]
ToPattern = Annotated[
    str,
    patterned(
        "an address or domain",
        names.to_pattern,
        r"[^*].*@.+|@[^@]+",
        'user@example.com, "@example.com", or "@.example.com" for all its subdomains.',
    ),
]
Mailbox = Annotated[
    Address,
    patterned(
        "a mail address",
        mailboxes.address,
        r"[^@].*@[^@\[]+",
        "A mail address, such as user@example.com.",
    ),
]
Author = Annotated[
    mailboxes.Author,
    patterned(
        "an author",
        mailboxes.author,
        r".+@[^@\[]+",
        "An address with or without a name: scanner@example.com or Scanner <scanner@example.com>.",
    ),
]
CertificateName = Annotated[
    str,
    patterned(
        "a name in a certificate",
        names.certificate_name,
        names.CERTIFICATE_NAME,
        "A subjectAltName of a certificate: a DNS name, an e-mail address or a URI.",
    ),
]
ListenAddress = Annotated[
    names.SocketAddress,
    patterned(
        "an address",
        names.socket_address,
        r".+:[0-9]{1,5}",
        'Where to listen: "0.0.0.0:587", "[::]:25" or "localhost:25"; port 0: any free one.',
    ),
]
NetworkRange = Annotated[
    IPv4Network | IPv6Network,
    free("a network", names.network, "A network, such as 10.20.0.0/16, or one IP address."),
]
Region = Annotated[
    str, patterned("a region", names.region, names.REGION, "An AWS region, such as eu-west-1.")
]
Topic = Annotated[
    str,
    patterned("a topic", names.topic, names.TOPIC, "The ARN of a standard Amazon SNS topic."),
]
IdentityArn = Annotated[
    str,
    patterned(
        "an identity", names.identity_arn, IDENTITY_ARN, "The ARN of an Amazon SES identity."
    ),
]
RoleArn = Annotated[str, patterned("a role", names.role_arn, names.ROLE, "The ARN of an IAM role.")]
SessionName = Annotated[
    str,
    patterned(
        "a session name",
        names.session_name,
        names.SESSION_NAME,
        "The name of a session: 2 to 64 letters, digits and any of '_+=,.@-'.",
    ),
]
ExternalId = Annotated[
    str,
    patterned(
        "an external id",
        names.external_id,
        names.EXTERNAL_ID,
        "An external id: 2 to 1224 letters, digits and any of '_+=,.@:/-'.",
    ),
]
EndpointUrl = Annotated[
    str,
    patterned(
        "a URL", names.endpoint_url, r"https?://.+", "A URL: http(s)://host or http(s)://host:port."
    ),
]
FilePath = Annotated[
    Path,
    free(
        "a path",
        names.file_path,
        "The path of a file. A relative one is looked for in $CREDENTIALS_DIRECTORY, where systemd "
        "puts credentials, and then beside the configuration file.",
    ),
]
AbsolutePath = Annotated[
    Path,
    patterned(
        "an absolute path", names.absolute_path, r"/.*", "An absolute path, such as /var/lib/mail."
    ),
]
SocketPath = Annotated[
    Path,
    patterned(
        "the path of a socket", names.socket_path, r"/.*", "The absolute path of a Unix socket."
    ),
]

PasswordHash = Annotated[
    verifiers.Secret,
    patterned(
        "an argon2id hash",
        verifiers.argon2id,
        verifiers.ARGON2ID,
        "An argon2id hash, as `relay secret hash` prints it.",
        show=repr,
    ),
]
TokenHash = Annotated[
    verifiers.Secret,
    patterned(
        "a token hash",
        verifiers.token_hash,
        verifiers.TOKEN_HASH,
        "sha256: and 64 hexadecimal digits, as `relay secret token` prints it.",
        show=repr,
    ),
]
