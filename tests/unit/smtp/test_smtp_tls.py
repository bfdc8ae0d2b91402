"""The TLS context: versions, ciphers, keys of both kinds, and what is said of files that fail."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509

from relay.smtp.settings import TlsProfile
from relay.smtp.tls import TlsFiles, names_of_client, server_context, version_of
from tests.tls import (
    Authority,
    certificate_pem,
    key_pem,
    new_key,
    new_rsa_key,
    self_signed,
    self_signed_rsa,
)


def write(directory: Path, name: str, octets: bytes) -> Path:
    path = directory / name
    path.write_bytes(octets)
    return path


def files(*paths: Path, profile: TlsProfile = TlsProfile.INTERMEDIATE) -> TlsFiles:
    return TlsFiles(paths, paths, profile)


def shake_hands(
    context: ssl.SSLContext,
    client: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends after a handshake; raise ssl.SSLError where there is none."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    caller = (client or anyone()).wrap_bio(to_client, to_server, session=session)
    for side in (caller, server, caller, server, caller):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return server, caller


def anyone(ciphers: str = "") -> ssl.SSLContext:
    """A client that believes every server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        context.set_ciphers(ciphers)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def served(context: ssl.SSLContext, ciphers: str = "") -> str:
    """Return the certificate a client is shown, in PEM."""
    _, caller = shake_hands(context, anyone(ciphers))
    der = caller.getpeercert(binary_form=True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der)


@pytest.mark.parametrize(
    ("profile", "lowest"),
    [
        (TlsProfile.MODERN, ssl.TLSVersion.TLSv1_3),
        (TlsProfile.INTERMEDIATE, ssl.TLSVersion.TLSv1_2),
        (TlsProfile.LEGACY, ssl.TLSVersion.MINIMUM_SUPPORTED),
    ],
)
def test_a_profile_is_a_lowest_version(
    profile: TlsProfile, lowest: ssl.TLSVersion, tmp_path: Path
) -> None:
    context = server_context(files(self_signed(tmp_path), profile=profile))
    assert context.minimum_version is lowest
    assert not context.options & ssl.OP_NO_TICKET
    assert context.options & ssl.OP_NO_SSLv3
    assert context.verify_mode is ssl.CERT_NONE


def test_the_ciphers_are_mozillas(tmp_path: Path) -> None:
    context = server_context(files(self_signed(tmp_path)))
    names = [cipher["name"] for cipher in context.get_ciphers()]
    assert [name for name in names if not name.startswith("TLS_")] == [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "DHE-RSA-AES128-GCM-SHA256",
        "DHE-RSA-AES256-GCM-SHA384",
        "DHE-RSA-CHACHA20-POLY1305",
    ]
    old = server_context(files(self_signed(tmp_path), profile=TlsProfile.LEGACY))
    assert "AES128-SHA" in {cipher["name"] for cipher in old.get_ciphers()}


def test_a_client_is_shown_the_kind_of_certificate_it_knows(tmp_path: Path) -> None:
    ecdsa, rsa = self_signed(tmp_path), self_signed_rsa(tmp_path)
    context = server_context(files(rsa, ecdsa))
    assert served(context, "ECDHE+aRSA+AESGCM") in rsa.read_text()
    assert served(context, "ECDHE+aECDSA+AESGCM") in ecdsa.read_text()
    left = context.expires_at - datetime.now(UTC)
    assert timedelta(hours=23) < left < timedelta(days=1)


def test_the_first_certificate_to_end_is_the_one_that_counts(tmp_path: Path) -> None:
    key, rsa = new_key(), self_signed_rsa(tmp_path)
    long = write(tmp_path, "long.pem", certificate_pem(key, days=90) + key_pem(key))
    assert server_context(files(long)).expires_at > server_context(files(long, rsa)).expires_at


def test_complaints_name_the_file_and_the_fault(tmp_path: Path) -> None:
    key, other = new_key(), new_key()
    certificate = write(tmp_path, "certificate.pem", certificate_pem(key))
    good = write(tmp_path, "key.pem", key_pem(key))
    wrong = write(tmp_path, "other.pem", key_pem(other))
    locked = write(tmp_path, "locked.pem", key_pem(key, b"passphrase"))
    junk = write(tmp_path, "junk.pem", b"junk\n")
    server_context(TlsFiles((certificate,), (good,)))
    for (one, its_key), complaint in {
        (tmp_path / "none.pem", good): "certificate .*none.pem cannot be read: No such file",
        (certificate, tmp_path): "key .* cannot be read: Is a directory",
        (certificate, wrong): "key .*other.pem is not the key of .*certificate.pem",
        (certificate, locked): "key .*locked.pem is encrypted",
        (certificate, junk): "junk.pem is not usable PEM",
        (junk, good): "junk.pem or key .* is not usable PEM",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            server_context(TlsFiles((one,), (its_key,)))
    for authorities, complaint in {
        tmp_path / "none.pem": "client_ca .*none.pem cannot be read: No such file",
        junk: "client_ca .*junk.pem is not usable PEM",
        good: "client_ca .*key.pem is not usable PEM",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            server_context(TlsFiles((certificate,), (good,), client_ca=authorities))


def test_two_certificates_of_one_kind_are_a_mistake(tmp_path: Path) -> None:
    pairs = []
    for name in ("one.pem", "two.pem"):
        key = new_rsa_key()
        pairs.append(write(tmp_path, name, certificate_pem(key) + key_pem(key)))
    with pytest.raises(ValueError, match=r"certificates .*one.pem and .*two.pem have one kind"):
        server_context(files(*pairs))


# --- clients' certificates ---


def showing(path: Path) -> ssl.SSLContext:
    context = anyone()
    # In TLS 1.3 the client has done its part before the server looks at its certificate.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(path)
    return context


def asking(directory: Path, *authorities: Authority) -> ssl.SSLContext:
    path = self_signed(directory)
    pem = b"".join(one.pem for one in authorities)
    client_ca = write(directory, "clients.pem", pem)
    return server_context(TlsFiles((path,), (path,), client_ca=client_ca))


@pytest.mark.P7
def test_a_client_is_known_by_its_alternative_names_only(tmp_path: Path) -> None:
    authority = Authority()
    context = asking(tmp_path, Authority("other.test"), authority)
    names: Sequence[x509.GeneralName] = (
        x509.DNSName("App.Example.com"),
        x509.RFC822Name("app@example.com"),
        x509.UniformResourceIdentifier("spiffe://example.com/app"),
        x509.DirectoryName(x509.Name([])),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    path = authority.issue(tmp_path, *names, common_name="billing.example.com")
    server, _ = shake_hands(context, showing(path))
    assert names_of_client(server) == (
        "App.Example.com",
        "app@example.com",
        "spiffe://example.com/app",
    )
    nameless = authority.issue(tmp_path, common_name="billing.example.com")
    assert names_of_client(shake_hands(context, showing(nameless))[0]) == ()
    assert names_of_client(shake_hands(context)[0]) == ()


@pytest.mark.P7
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_resumes_a_session_is_still_known(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    authority = Authority()
    context = asking(tmp_path, authority)
    client = showing(authority.issue(tmp_path, x509.DNSName("app.example.com")))
    client.maximum_version = version
    server, caller = shake_hands(context, client)
    server.write(b"220 ")
    assert caller.read(10) == b"220 "  # and what is needed to resume
    again, caller = shake_hands(context, client, caller.session)
    assert caller.session_reused
    assert names_of_client(again) == ("app.example.com",)
    # A reload makes a context of its own, which knows nothing of what was before it.
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(asking(tmp_path, Authority()), client, caller.session)


@pytest.mark.P7
def test_a_certificate_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    path = Authority("other.test").issue(tmp_path, x509.DNSName("app.example.com"))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(asking(tmp_path, Authority()), showing(path))


def test_a_clients_own_certificate_can_be_the_authority(tmp_path: Path) -> None:
    """An appliance that signs its own certificate has no other authority."""
    own, server = self_signed_rsa(tmp_path), self_signed(tmp_path)
    pem = own.read_bytes().partition(b"-----BEGIN PRIVATE")[0]
    client_ca = write(tmp_path, "clients.pem", pem)
    context = server_context(TlsFiles((server,), (server,), client_ca=client_ca))
    assert "relay.test" in names_of_client(shake_hands(context, showing(own))[0])


def test_a_name_that_is_no_text_names_nobody() -> None:
    class Odd:
        def getpeercert(self) -> None:
            b"\xff".decode()

    assert names_of_client(cast("ssl.SSLObject", Odd())) == ()


def test_versions_have_short_names(tmp_path: Path) -> None:
    context = server_context(files(self_signed(tmp_path)))
    assert version_of(shake_hands(context)[0]) == "1.3"
    assert version_of(shake_hands(context, anyone("ECDHE+AESGCM"))[0]) == "1.2"
