"""Who and where: names, logins, domains, address patterns, sockets, networks, AWS names, paths.

One function per kind: it takes the text as written and returns the value, or raises ValueError with
a sentence that goes on from the text ("is not a name: ..."). No sentence repeats the text. Does not
know keys or pydantic, and looks nothing up.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from relay.mail.address import Address, AddressError
from relay.mail.envelope import SENDER_NAME
from relay.mail.ses_headers import IDENTITY_ARN, RESERVED_TAGS, TAG
from relay.policy.sender import Network

# Patterns for editors too (relay.config.schema); see relay.config.measures.
NAME: Final = SENDER_NAME.pattern
LOGIN: Final = r"[!-~]{1,255}"
# One subjectAltName (RFC 5280 section 4.2.1.6) of the kinds that are text: a URI, an e-mail address
# or a DNS name. Underscores are in no DNS name, and in certificates of devices.
CERTIFICATE_NAME: Final = (
    r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[!-~]{1,222}|[!-~]{1,64}@[A-Za-z0-9.-]{1,189}"
    r"|([A-Za-z0-9_-]{1,63}\.){0,120}[0-9]{0,62}[A-Za-z_-][A-Za-z0-9_-]{0,62}"
)
REGION: Final = r"[a-z]{2,8}(-[a-z]{2,16}){1,3}-[0-9]{1,2}"
TOPIC: Final = r"arn:aws[a-z-]{0,16}:sns:[a-z0-9-]{1,32}:[0-9]{12}:[A-Za-z0-9_-]{1,256}"
ROLE: Final = r"arn:aws[a-z-]{0,16}:iam::[0-9]{12}:role/[!-~]{1,512}"
# STS API Reference, AssumeRole: RoleSessionName and ExternalId.
SESSION_NAME: Final = r"[A-Za-z0-9_+=,.@-]{2,64}"
EXTERNAL_ID: Final = r"[A-Za-z0-9_+=,.@:/-]{2,1224}"

# unix(7): sun_path holds 108 octets, the last of which is a NUL.
_SOCKET_PATH_LIMIT: Final = 107

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where to listen: host without brackets, and port. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def may_be_local(self) -> bool:
        """Whether a connection to it can stay on this machine's loopback interface.

        A name is not looked up, so it may.
        """
        is_name = ":" not in self.host and not self.host.replace(".", "").isdigit()
        return self.is_loopback or self.is_wildcard or is_name

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the machine."""
        return self.host in ("0.0.0.0", "::")


def name(text: str) -> str:
    """Read the name of a listener, sender, account or configuration set."""
    if re.fullmatch(NAME, text) is None:
        raise ValueError("is not a name: letters, digits, '-' and '_' are allowed, at most 64")
    return text


def login(text: str) -> str:
    """Read a login, such as a name or a mail address."""
    if re.fullmatch(LOGIN, text) is None:
        raise ValueError("is not a login: printable ASCII without spaces, at most 255 characters")
    return text


def certificate_name(text: str) -> str:
    """Read one of the names in a client certificate; in lower case, as case does not matter."""
    if text.startswith("*."):
        raise ValueError("stands for many names: write each, as the certificates have them")
    if re.fullmatch(CERTIFICATE_NAME, text) is None:
        raise ValueError(
            "is not a name a certificate is known by: write a DNS name, an e-mail address or a URI "
            "of its subjectAltName"
        )
    return text.lower()


def tag_name(text: str) -> str:
    """Read the name of a message tag (SES API Reference, MessageTag)."""
    if text.startswith("ses:"):
        raise ValueError("is not a tag: names that start with 'ses:' belong to Amazon SES")
    if text in RESERVED_TAGS:
        raise ValueError(f"is not free: the relay itself sets {', '.join(RESERVED_TAGS)}")
    return tag_value(text)


def tag_value(text: str) -> str:
    """Read the value of a message tag."""
    if re.fullmatch(TAG, text) is None:
        raise ValueError(
            "is not legal in a tag: Amazon SES allows letters, digits, '-' and '_', at most 256"
        )
    return text


def domain(text: str) -> str:
    """Read a domain name, in lower case."""
    try:
        found = Address.parse(f"postmaster@{text}").domain
    except AddressError:
        found = "["
    if "@" in text or found.startswith("[") or found.rpartition(".")[2].isdigit():
        raise ValueError("is not a domain name, such as relay.example.com")
    return found


def from_pattern(text: str) -> str:
    """Read `user@example.com`, `@example.com`, or `@.example.com` for all its subdomains."""
    return _pattern(text, "send from")


def to_pattern(text: str) -> str:
    """Read the same for recipients."""
    return _pattern(text, "send to")


def _pattern(text: str, use: str) -> str:
    if text.startswith("*@"):
        # A legal local part, and never what was meant.
        raise ValueError("is not how a domain is written here: leave the '*' out")
    try:
        if text.startswith("@"):
            domain(text[1:].removeprefix("."))
        else:
            Address.parse(text)
    except ValueError:
        raise ValueError(
            f"is not an address or domain to {use}: write user@example.com, @example.com, or "
            "@.example.com for all its subdomains"
        ) from None
    return text


def socket_address(text: str) -> SocketAddress:
    """Read `0.0.0.0:587`, `[::]:25`, `localhost:25`."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 - 16 bits
        raise ValueError("is not an address and port, such as 0.0.0.0:587, [::]:25, localhost:25")
    host = match["ipv6"] or match["host"]
    try:
        if match["ipv6"] or host.replace(".", "").isdigit():
            host = str(ipaddress.ip_address(host))
        else:
            host = domain(host)
    except ValueError:
        hint = "; for every address write 0.0.0.0 or [::]" if host == "*" else ""
        raise ValueError(f"does not start with an IP address or a host name{hint}") from None
    return SocketAddress(host, int(match["port"]))


def network(text: str) -> Network:
    """Read a network in CIDR notation, or one address."""
    try:
        # A netmask after the slash is ambiguous (Cisco writes it inverted), so only a length.
        if "%" in text or ("/" in text and not text.partition("/")[2].isdigit()):
            raise ValueError  # noqa: TRY301 - the same complaint
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is not a network, such as 10.20.0.0/16 or 2001:db8::/32") from None
    if ipaddress.ip_address(text.partition("/")[0]) != loose.network_address:
        raise ValueError(f"is an address inside a network; write {loose} for the whole of it")
    if isinstance(loose, ipaddress.IPv6Network) and loose.network_address.ipv4_mapped is not None:
        raise ValueError("would never match: clients with such addresses count as IPv4, write that")
    return loose


def region(text: str) -> str:
    """Read the name of an AWS region."""
    if re.fullmatch(REGION, text) is None:
        raise ValueError("is not an AWS region, such as eu-west-1")
    return text


def topic(text: str) -> str:
    """Read the ARN of an SNS topic."""
    if text.endswith(".fifo"):
        raise ValueError("is a FIFO topic: Amazon SES publishes to standard topics only")
    if re.fullmatch(TOPIC, text) is None:
        raise ValueError(
            "is not the ARN of an SNS topic, such as arn:aws:sns:eu-west-1:123456789012:feedback"
        )
    return text


def identity_arn(text: str) -> str:
    """Read the ARN of an SES identity, an address or a domain."""
    if re.fullmatch(IDENTITY_ARN, text) is None:
        raise ValueError(
            "is not the ARN of an SES identity, such as "
            "arn:aws:ses:eu-west-1:123456789012:identity/example.com"
        )
    return text


def role_arn(text: str) -> str:
    """Read the ARN of an IAM role."""
    if re.fullmatch(ROLE, text) is None:
        raise ValueError(
            "is not the ARN of an IAM role, such as arn:aws:iam::123456789012:role/relay"
        )
    return text


def session_name(text: str) -> str:
    """Read what a session of a role is called."""
    if re.fullmatch(SESSION_NAME, text) is None:
        raise ValueError(
            "is not a session name: 2 to 64 letters, digits and any of '_+=,.@-' are allowed"
        )
    return text


def external_id(text: str) -> str:
    """Read the external id that a role's trust policy asks for."""
    if re.fullmatch(EXTERNAL_ID, text) is None:
        raise ValueError(
            "is not an external id: 2 to 1224 letters, digits and any of '_+=,.@:/-' are allowed"
        )
    return text


def endpoint_url(text: str) -> str:
    """Read the URL of an SES endpoint: scheme, host and perhaps port, nothing else."""
    try:
        url = urlsplit(text)
        fit = url.scheme in ("http", "https") and url.hostname and url.port != 0
        bare = not (url.path.strip("/") or url.query or url.fragment or "@" in url.netloc)
    except ValueError:
        fit = bare = False
    if not (fit and bare):
        raise ValueError(
            "is not an endpoint: write http(s)://host or http(s)://host:port and nothing more"
        )
    return text.rstrip("/")


def file_path(text: str) -> Path:
    """Read the path of a file; a relative one is resolved when the file is loaded."""
    if not text:
        raise ValueError("is not a path")
    return Path(text)


def absolute_path(text: str) -> Path:
    """Read a path that starts at the root."""
    if not text.startswith("/"):
        raise ValueError("is not an absolute path: start it with '/'")
    return Path(text)


def socket_path(text: str) -> Path:
    """Read the path of a Unix socket."""
    path = absolute_path(text)
    if len(bytes(path)) > _SOCKET_PATH_LIMIT:
        raise ValueError(f"is too long for a Unix socket: {_SOCKET_PATH_LIMIT} octets at most")
    return path
