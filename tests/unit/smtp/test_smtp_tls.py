"""The TLS context, and what is said when the files do not serve."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from relay.smtp.tls import expires_at, renew, server_context
from tests.tls import certificate_pem, key_pem, new_key, self_signed


def test_a_context_speaks_tls_1_2_and_newer(tmp_path: Path) -> None:
    path = self_signed(tmp_path)
    context = server_context(path, path)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not context.options & ssl.OP_NO_TICKET
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert "ECDHE-RSA-AES128-GCM-SHA256" in names
    assert not any("CBC" in name or name.startswith("AES") for name in names)


def write(directory: Path, name: str, octets: bytes) -> Path:
    path = directory / name
    path.write_bytes(octets)
    return path


def test_complaints_name_the_file_and_the_fault(tmp_path: Path) -> None:
    key, other = new_key(), new_key()
    certificate = write(tmp_path, "certificate.pem", certificate_pem(key))
    good = write(tmp_path, "key.pem", key_pem(key))
    wrong = write(tmp_path, "other.pem", key_pem(other))
    locked = write(tmp_path, "locked.pem", key_pem(key, b"passphrase"))
    junk = write(tmp_path, "junk.pem", b"junk\n")
    server_context(certificate, good)
    for pair, complaint in {
        (tmp_path / "none.pem", good): "certificate .*none.pem cannot be read: No such file",
        (certificate, tmp_path): "key .* cannot be read: Is a directory",
        (certificate, wrong): "key .*other.pem is not the key of .*certificate.pem",
        (certificate, locked): "key .*locked.pem is encrypted",
        (certificate, junk): "junk.pem is not usable PEM",
        (junk, good): "junk.pem or key .* is not usable PEM",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            server_context(*pair)


def served(context: ssl.SSLContext) -> str:
    """Return the certificate a client is shown, in PEM."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    client = anyone.wrap_bio(to_client, to_server)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    der = client.getpeercert(binary_form=True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der)


def test_a_renewed_certificate_is_served_in_new_handshakes(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    certificate = write(tmp_path, "certificate.pem", certificate_pem(old))
    key = write(tmp_path, "key.pem", key_pem(old))
    context = server_context(certificate, key)
    assert served(context).encode() == certificate.read_bytes()
    write(tmp_path, "certificate.pem", certificate_pem(new))
    write(tmp_path, "key.pem", key_pem(new))
    renew(context, certificate, key)
    assert served(context).encode() == certificate.read_bytes()


def test_a_renewal_that_fails_changes_nothing(tmp_path: Path) -> None:
    key, other = new_key(), new_key()
    certificate = write(tmp_path, "certificate.pem", certificate_pem(key))
    good = write(tmp_path, "key.pem", key_pem(key))
    fresh = write(tmp_path, "fresh.pem", certificate_pem(other))
    another_kind: Any = rsa.generate_private_key(65537, 2048)
    kind = write(tmp_path, "kind.pem", certificate_pem(another_kind) + key_pem(another_kind))
    junk = write(tmp_path, "junk.pem", b"junk\n")
    context = server_context(certificate, good)
    for pair, complaint in {
        (fresh, good): "key .*key.pem is not the key of .*fresh.pem",
        (fresh, junk): "not usable PEM",
        (junk, good): "not usable PEM",
        (fresh, tmp_path / "none.pem"): "key .*none.pem cannot be read",
        # With a second kind of key the first certificate would be served on beside it.
        (kind, kind): "kind.pem has another kind of key than the one served",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            renew(context, *pair)
        assert served(context).encode() == certificate.read_bytes()


def test_the_end_of_a_certificate_is_that_of_the_servers_own(tmp_path: Path) -> None:
    path = self_signed(tmp_path)
    left = expires_at(path) - datetime.now(UTC)
    assert timedelta(hours=23) < left < timedelta(days=1)
    assert expires_at(path).utcoffset() == timedelta(0)
    for bad, complaint in (
        (tmp_path / "none.pem", "none.pem cannot be read: No such file"),
        (write(tmp_path, "junk.pem", b"junk\n"), "junk.pem is not usable PEM"),
    ):
        with pytest.raises(ValueError, match=complaint):
            expires_at(bad)
