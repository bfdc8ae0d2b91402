"""The TLS of a listener: its context, made of files, and the names in its clients' certificates.

Does not know sockets, nor which sender a name stands for.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.smtp.settings import TlsProfile

# Mozilla's profiles, version 5.7 (wiki.mozilla.org/Security/Server_Side_TLS). Those of TLS 1.3
# are fewer, and OpenSSL's defaults.
_INTERMEDIATE: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)
# "Old". Below 1.2 a handshake is signed over MD5 and SHA-1, which OpenSSL 3 does at level 0 only.
_LEGACY: Final = (
    f"{_INTERMEDIATE}:"
    "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:"
    "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:"
    "ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:DHE-RSA-AES128-SHA256:DHE-RSA-AES256-SHA256:"
    "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA:"
    "DES-CBC3-SHA:@SECLEVEL=0"
)
# The lowest OpenSSL has is 1.0, as Python leaves out SSL; to name 1.0 itself would be a warning.
_PROFILES: Final[Mapping[TlsProfile, tuple[ssl.TLSVersion, str]]] = {
    TlsProfile.MODERN: (ssl.TLSVersion.TLSv1_3, _INTERMEDIATE),
    TlsProfile.INTERMEDIATE: (ssl.TLSVersion.TLSv1_2, _INTERMEDIATE),
    TlsProfile.LEGACY: (ssl.TLSVersion.MINIMUM_SUPPORTED, _LEGACY),
}

VERSIONS: Final[Mapping[str, str]] = {
    "TLSv1": "1.0",
    "TLSv1.1": "1.1",
    "TLSv1.2": "1.2",
    "TLSv1.3": "1.3",
}
"""What we call each version, by what OpenSSL calls it."""

# Of a subjectAltName: what can name a client. The common name cannot: it is of no certain kind.
_KINDS: Final = ("DNS", "email", "URI")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What one listener's TLS is made of; each key is that of the certificate in its place.

    Each of `certificates` holds a certificate of the server and then its chain, in PEM; they are of
    different kinds (RSA, ECDSA), and the client takes the one it knows. `client_ca` holds the
    authorities, in PEM, that clients' certificates are checked with; None: clients are not asked.
    """

    certificates: tuple[Path, ...]
    keys: tuple[Path, ...]
    profile: TlsProfile = TlsProfile.INTERMEDIATE
    client_ca: Path | None = None


class ServerContext(ssl.SSLContext):
    """A context that knows when the first of its certificates to end does, and whom it believes."""

    expires_at: datetime
    authorities: frozenset[bytes]
    """The certificates, in DER, that clients' certificates are checked with."""


class TlsInForce:
    """What new handshakes of one listener take; swapped whole by a reload."""

    def __init__(self, context: ServerContext) -> None:
        self.current = context


def server_context(files: TlsFiles) -> ServerContext:
    """Return a context; raise ValueError, with file and reason, when the files do not serve."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, ciphers = _PROFILES[files.profile]
    context.set_ciphers(ciphers)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # Tickets, on by default, spare a client that reconnects for every mail most of a handshake.
    ends, kinds = [], dict[type, Path]()
    for certificate, key in zip(files.certificates, files.keys, strict=True):
        _load(context, certificate, key)
        own = _certificates("certificate", certificate)[0]
        # OpenSSL keeps one for each kind of key: the second would silently take the first's place.
        other = kinds.setdefault(type(own.public_key()), certificate)
        if other is not certificate:
            raise ValueError(f"TLS certificates {other} and {certificate} have one kind of key")
        ends.append(own.not_valid_after_utc)
    context.expires_at = min(ends)
    context.authorities = frozenset()
    if files.client_ca is not None:
        _ask_clients(context, files.client_ca)
    return context


def version_of(tls: ssl.SSLObject) -> str:
    """Return the version of TLS agreed on: 1.0, 1.1, 1.2 or 1.3."""
    return VERSIONS[tls.version() or ""]


def names_of_client(tls: ssl.SSLObject) -> tuple[str, ...]:
    """Return the names in the client's certificate, which was verified; none without one."""
    try:
        certificate = tls.getpeercert() or {}
    except ValueError:
        return ()  # with a name that is no text
    found = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    return tuple(name for kind, name in found if kind in _KINDS)


def _ask_clients(context: ServerContext, client_ca: Path) -> None:
    """Ask clients for a certificate, which they need not have."""
    found = _certificates("client_ca", client_ca)
    authorities = [one.public_bytes(Encoding.DER) for one in found]
    context.load_verify_locations(cadata=b"".join(authorities))
    context.verify_mode = ssl.CERT_OPTIONAL
    # What is in the file is believed, be it a root, what a root has signed, or one client's own.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.authorities = frozenset(authorities)


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _read("certificate", certificate)
    _read("key", key)
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except _EncryptedKeyError:
        raise ValueError(f"TLS key {key} is encrypted; it must not need a passphrase") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"TLS key {key} is not the key of {certificate}") from None
        raise ValueError(
            f"TLS certificate {certificate} or key {key} is not usable PEM "
            f"({error.reason or 'no PEM block found'})"
        ) from None


def _certificates(what: str, path: Path) -> list[x509.Certificate]:
    """Return the certificates of a file, of which there is at least one."""
    octets = _read(what, path)
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError:
        raise ValueError(f"TLS {what} {path} is not usable PEM") from None


def _read(what: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"TLS {what} {path} cannot be read: {error.strerror}") from None


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    # Without this OpenSSL would ask on the terminal, and a daemon would wait for ever.
    raise _EncryptedKeyError
