"""Certificates made on the spot: for relay.test at 127.0.0.1, and for its clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def new_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def key_pem(key: Key, passphrase: bytes = b"") -> bytes:
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def certificate_pem(key: Key, *, days: int = 1) -> bytes:
    names = [x509.DNSName("relay.test"), x509.IPAddress(ip_address("127.0.0.1"))]
    return _certificate("relay.test", key, "relay.test", key, names, days).public_bytes(
        Encoding.PEM
    )


def _certificate(
    name: str, key: Key, issuer: str, issuer_key: Key, names: list[x509.GeneralName], days: int = 1
) -> x509.Certificate:
    now = datetime.now(UTC)
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(
            x509.BasicConstraints(ca=name == issuer, path_length=None),
            critical=True,
        )
    )
    if names:
        unsigned = unsigned.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return unsigned.sign(issuer_key, SHA256())


class Authority:
    """Somebody who says who clients are."""

    def __init__(self, name: str = "authority.test") -> None:
        self._name = name
        self._key = new_key()
        self.pem = _certificate(name, self._key, name, self._key, []).public_bytes(Encoding.PEM)

    def issue(
        self, directory: Path, *names: x509.GeneralName, common_name: str = "anybody"
    ) -> Path:
        """Write a certificate with these names, and its key, into one file."""
        key = new_key()
        certificate = _certificate(common_name, key, self._name, self._key, list(names))
        path = directory / f"{certificate.serial_number:x}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM) + key_pem(key))
        return path


@cache
def _pems() -> tuple[bytes, bytes]:
    key = new_key()
    return certificate_pem(key), key_pem(key)


@cache
def _rsa_pem() -> bytes:
    key = new_rsa_key()
    return certificate_pem(key) + key_pem(key)


def self_signed(directory: Path) -> Path:
    """Write a certificate for relay.test and its key into one file."""
    path = directory / "relay.test.pem"
    path.write_bytes(b"".join(_pems()))
    return path


def self_signed_rsa(directory: Path) -> Path:
    """Write the same with an RSA key."""
    path = directory / "relay.test.rsa.pem"
    path.write_bytes(_rsa_pem())
    return path


def certificate_files(directory: Path) -> tuple[Path, Path]:
    """Write the certificate and the key into a file each; return their paths."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    for path, pem in zip((certificate, key), _pems(), strict=True):
        path.write_bytes(pem)
    return certificate, key
