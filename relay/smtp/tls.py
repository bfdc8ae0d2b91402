"""The TLS context of a listener, from certificate and key files."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

# Mozilla's "intermediate" profile (wiki.mozilla.org/Security/Server_Side_TLS); TLS 1.3 has its own.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and newer; raise ValueError when the files do not serve.

    `certificate` holds the server's certificate and then its chain, in PEM.
    """
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ValueError(f"TLS {what} {path} cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # Tickets, on by default, spare a client that reconnects for every mail most of a handshake.
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
    return context


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    # Without this OpenSSL would ask on the terminal, and a daemon would wait for ever.
    raise _EncryptedKeyError
