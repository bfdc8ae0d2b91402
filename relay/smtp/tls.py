"""The TLS context of the listeners, from certificate and key files, and how both are renewed."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

# Mozilla's "intermediate" profile (wiki.mozilla.org/Security/Server_Side_TLS); TLS 1.3 has its own.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"


class ServerContext(ssl.SSLContext):
    """A context that knows what kind of key its certificate has."""

    kind_of_key: type


def server_context(certificate: Path, key: Path) -> ServerContext:
    """Return a context for TLS 1.2 and newer; raise ValueError when the files do not serve.

    `certificate` holds the server's certificate and then its chain, in PEM.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # Tickets, on by default, spare a client that reconnects for every mail most of a handshake.
    _load(context, certificate, key)
    context.kind_of_key = type(_server_certificate(certificate).public_key())
    return context


def renew(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Serve another certificate in new handshakes; sessions under way go on with the old one.

    All or nothing: ValueError says why the files do not serve, and the context is as it was.
    """
    fresh = server_context(certificate, key)
    # OpenSSL keeps a certificate for each kind of key and lets the client choose (SSL_CTX_use_
    # certificate(3)): of another kind, the new one would leave the old one served until it expires.
    if isinstance(context, ServerContext) and context.kind_of_key is not fresh.kind_of_key:
        raise ValueError(
            f"TLS certificate {certificate} has another kind of key than the one served; "
            "that needs a restart"
        )
    _load(context, certificate, key)


def expires_at(certificate: Path) -> datetime:
    """Return when the server's certificate ends, UTC; raise ValueError when it cannot be read."""
    return _server_certificate(certificate).not_valid_after_utc


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


def _server_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of the file: the server's own."""
    octets = _read("certificate", path)
    try:
        return x509.load_pem_x509_certificate(octets)
    except ValueError:
        raise ValueError(f"TLS certificate {path} is not usable PEM") from None


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
