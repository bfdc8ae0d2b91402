"""The TLS context, and what is said when the files do not serve."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from relay.smtp.tls import server_context
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
