"""The head of a request, signed with AWS Signature Version 4.

Knows the signature (IAM User Guide, "Create a signed AWS API request"). Does not know what is
asked, nor the clock: callers pass the digest of the body and `now`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final

from relay import __version__
from relay.ses.endpoint import Endpoint
from relay.ses.proxy import Proxy

_SERVICE: Final = "ses"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_BLOCK: Final = 64  # octets that SHA-256 takes at a time
_SECOND: Final = timedelta(seconds=1)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Keys:
    """What requests are signed with: one reading of credentials that may change at any time."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires_at: datetime | None = field(default=None, repr=False, compare=False)
    """When SES believes them no more; None: never, or it is not known."""

    def __post_init__(self) -> None:
        # Both go into headers; a stray line end in an environment variable must not.
        for text in (self.access_key, self.token):
            if not (text.isascii() and text.isprintable()):
                raise ValueError("the access key or session token has unprintable characters")


class Signer:
    """Signs the requests for one operation at one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        region: str,
        content_type: str,
        *,
        method: str = "POST",
        proxy: Proxy | None = None,
    ) -> None:
        """Without a content type there is no body. `proxy`: the one requests are handed to."""
        host, path = endpoint.authority, endpoint.path
        target = path if proxy is None else f"http://{host}{path}"
        shown = f"Content-Type: {content_type}\r\n" if content_type else ""
        kind = f"content-type:{content_type}\n" if content_type else ""
        # All that is the same in every request, made once.
        self._canonical = f"{method}\n{path}\n\n{kind}host:{host}\nx-amz-date:"
        self._signed = "content-type;host;x-amz-date" if content_type else "host;x-amz-date"
        self._head = (
            f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ses-relay/{__version__}\r\n"
            f"{'' if proxy is None else proxy.authorization}"
            f"{shown}X-Amz-Date: "
        )
        self._region = region
        self._key = b""
        self._key_of = ("", "")
        # What the requests of one second, signed with the same keys, have in common.
        self._from = self._until = _NEVER
        self._keys: Keys | None = None
        self._before = b""
        self._canonical_begun = self._inner = self._outer = sha256()

    def head(self, keys: Keys, now: datetime, *, digest: str, length: int) -> bytes:
        """Return request line and header fields for a body of that SHA-256 and length.

        `now` is UTC; SES refuses a signature more than a few minutes from its own clock.
        """
        if keys is not self._keys or not self._from <= now < self._until:
            self._begin(keys, now)
        canonical = self._canonical_begun.copy()
        canonical.update(digest.encode())
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(canonical.hexdigest().encode())
        outer.update(inner.digest())
        return b"%b%b\r\nContent-Length: %d\r\n\r\n" % (
            self._before,
            outer.hexdigest().encode(),
            length,
        )

    def _begin(self, keys: Keys, now: datetime) -> None:
        """Write down, hash and sign what stands before all that differs within a second."""
        self._keys = keys
        self._from = now.replace(microsecond=0)
        self._until = self._from + _SECOND
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self._region}/{_SERVICE}/aws4_request"
        canonical_token = token = ""
        signed = self._signed
        if keys.token:
            canonical_token = f"x-amz-security-token:{keys.token}\n"
            token = f"X-Amz-Security-Token: {keys.token}\r\n"
            signed = f"{signed};x-amz-security-token"
        self._canonical_begun = sha256(
            f"{self._canonical}{stamp}\n{canonical_token}\n{signed}\n".encode()
        )
        # HMAC by its definition (RFC 2104), for it is two hashes that can be begun beforehand.
        key = self._signing_key(keys.secret_key, stamp[:8]).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(octet ^ 0x36 for octet in key))
        self._inner.update(f"{_ALGORITHM}\n{stamp}\n{scope}\n".encode())
        self._outer = sha256(bytes(octet ^ 0x5C for octet in key))
        self._before = (
            f"{self._head}{stamp}\r\n{token}"
            f"Authorization: {_ALGORITHM} Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature="
        ).encode("ascii")

    def _signing_key(self, secret: str, date: str) -> bytes:
        """Derive the key of that secret and day; the last one is kept."""
        if self._key_of != (secret, date):
            key = f"AWS4{secret}".encode()
            for step in (date, self._region, _SERVICE, "aws4_request"):
                key = hmac_digest(key, step.encode(), "sha256")
            self._key, self._key_of = key, (secret, date)
        return self._key
