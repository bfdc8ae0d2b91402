"""Whether a request carries a valid AWS Signature Version 4.

Written from the specification ("Create a signed AWS API request", IAM User Guide), without an SDK.
Does not know what the request asks for, nor the clock: callers pass `now`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from relay.simulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.simulator.settings import Credential

ALGORITHM: Final = "AWS4-HMAC-SHA256"
MAX_CLOCK_SKEW: Final = timedelta(minutes=15)
_TERMINATOR: Final = "aws4_request"
_PARTS: Final = ("Credential", "Signature", "SignedHeaders")

# Texts as the query services give them; codes and statuses from "Common errors" of the SES API
# Reference.
_MISSING: Final = ApiError(
    "MissingAuthenticationToken", "Request is missing Authentication Token", 403
)
_UNKNOWN_KEY: Final = ApiError(
    "InvalidClientTokenId", "The security token included in the request is invalid.", 403
)
_TOKEN_EXPIRED: Final = ApiError(
    "ExpiredToken", "The security token included in the request is expired", 403
)
_MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came over the wire, as far as a signature covers it."""

    method: str
    #: The request target, still percent-encoded, with its query.
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header; several of one name are joined by commas, as they are signed."""
        values = [" ".join(value.split()) for key, value in self.headers if key.lower() == name]
        return ",".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for: one day, one region, one service."""

    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{_TERMINATOR}"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parsed Authorization header."""

    access_key: str
    scope: Scope
    signed_headers: tuple[str, ...]
    signature: str


def verify(
    request: SignedRequest,
    credentials: Iterable[Credential],
    *,
    region: str,
    service: str,
    now: datetime,
) -> Credential | ApiError:
    """The credential that signed the request, or why the signature does not count."""
    authorization = parse_authorization(request)
    if isinstance(authorization, ApiError):
        return authorization
    credential = next((c for c in credentials if c.access_key == authorization.access_key), None)
    if credential is None or not _token_matches(request, credential):
        return _UNKNOWN_KEY
    if credential.expires_at is not None and now >= credential.expires_at:
        return _TOKEN_EXPIRED
    stamp = request.header("x-amz-date") or ""
    return (
        _stale(stamp, now)
        or _wrongly_scoped(authorization.scope, stamp, region=region, service=service)
        or _unsigned_headers(request, authorization)
        or _forged(request, authorization, credential, stamp)
        or credential
    )


def parse_authorization(request: SignedRequest) -> Authorization | ApiError:
    """Read the Authorization header, or say what is missing from it in AWS's words."""
    header = request.header("authorization")
    if header is None:
        return _MISSING
    algorithm, _, rest = header.partition(" ")
    parts = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        parts[name] = value
    missing = [
        f"Authorization header requires '{name}' parameter."
        for name in _PARTS
        if not parts.get(name)
    ]
    if not request.header("x-amz-date"):
        missing.append(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    if algorithm != ALGORITHM or missing:
        # AWS repeats the whole header here; a simulator's log is no place for it.
        return ApiError("IncompleteSignature", " ".join(missing) or f"Unsupported: {algorithm}")
    match parts["Credential"].rsplit("/", 4):
        case [key, date, region, service, "aws4_request"] if key:
            scope = Scope(date, region, service)
        case _:
            return ApiError(
                "IncompleteSignature",
                "Credential must have exactly 5 slash-delimited elements, "
                "e.g. keyid/date/region/service/term",
            )
    signed = tuple(parts["SignedHeaders"].lower().split(";"))
    return Authorization(key, scope, signed, parts["Signature"])


def sign(
    request: SignedRequest, secret: str, *, scope: Scope, signed_headers: Iterable[str]
) -> str:
    """The signature the request must carry to be believed."""
    stamp = request.header("x-amz-date") or ""
    digest = hashlib.sha256(canonical_request(request, signed_headers).encode()).hexdigest()
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for step in (scope.date, scope.region, scope.service, _TERMINATOR):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def canonical_request(request: SignedRequest, signed_headers: Iterable[str]) -> str:
    """The request in the one form that both sides hash."""
    path, _, query = request.target.partition("?")
    names = sorted(signed_headers)
    return "\n".join(
        (
            request.method,
            # Every service but S3 encodes the path a second time.
            quote(path or "/", safe="/~"),
            _canonical_query(query),
            *(f"{name}:{request.header(name) or ''}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )


def _canonical_query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    return "&".join(
        f"{name}={value}"
        for name, value in sorted(
            (quote(unquote(name), safe="~"), quote(unquote(value), safe="~"))
            for name, _, value in pairs
        )
    )


def _token_matches(request: SignedRequest, credential: Credential) -> bool:
    given = request.header("x-amz-security-token") or ""
    return hmac.compare_digest(given.encode(), (credential.session_token or "").encode())


def _stale(stamp: str, now: datetime) -> ApiError | None:
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return ApiError(
            "IncompleteSignature",
            f"Date must be in ISO-8601 'basic format'. Got '{stamp}'. See "
            "http://en.wikipedia.org/wiki/ISO_8601",
        )
    if abs(now - signed_at) <= MAX_CLOCK_SKEW:
        return None
    return ApiError(
        "RequestExpired", f"Request has expired. Timestamp date is {signed_at:%Y-%m-%dT%H:%M:%SZ}"
    )


def _wrongly_scoped(scope: Scope, stamp: str, *, region: str, service: str) -> ApiError | None:
    if scope.date != stamp[:8]:
        return ApiError(
            "SignatureDoesNotMatch",
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{scope.date}' != '{stamp[:8]}', from '{stamp}'.",
            403,
        )
    if scope.region != region:
        return ApiError(
            "SignatureDoesNotMatch", "Credential should be scoped to a valid region.", 403
        )
    if scope.service != service:
        return ApiError(
            "SignatureDoesNotMatch",
            f"Credential should be scoped to correct service: '{service}'.",
            403,
        )
    return None


def _unsigned_headers(request: SignedRequest, authorization: Authorization) -> ApiError | None:
    # "You must include the host header and any x-amz-* headers" (canonical headers).
    present = {name.lower() for name, _ in request.headers}
    required = {"host", *(name for name in present if name.startswith("x-amz-"))}
    if required <= set(authorization.signed_headers):
        return None
    return ApiError("SignatureDoesNotMatch", _MISMATCH, 403)


def _forged(
    request: SignedRequest, authorization: Authorization, credential: Credential, stamp: str
) -> ApiError | None:
    expected = sign(
        request,
        credential.secret_key,
        scope=Scope(stamp[:8], authorization.scope.region, authorization.scope.service),
        signed_headers=authorization.signed_headers,
    )
    if hmac.compare_digest(expected.encode(), authorization.signature.encode()):
        return None
    return ApiError("SignatureDoesNotMatch", _MISMATCH, 403)
