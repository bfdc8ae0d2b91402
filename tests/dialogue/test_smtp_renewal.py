"""What TLS a listener speaks: certificates of two kinds, their renewal, versions old and new."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from relay.smtp.settings import TlsMode, TlsProfile
from relay.smtp.tls import TlsFiles, server_context
from tests.dialogue.house import Caller, House, a_house, a_listener, in_force, trusting
from tests.tls import self_signed_rsa

MODES = [TlsMode.IMPLICIT, TlsMode.STARTTLS]


def is_shown(caller: Caller, path: Path) -> bool:
    der = caller.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(der) in path.read_text()


async def call(house: House, tls: ssl.SSLContext, mode: TlsMode) -> Caller:
    caller = await Caller.at(house.port, tls=tls if mode is TlsMode.IMPLICIT else None)
    await caller.greet()
    if mode is TlsMode.STARTTLS:
        await caller.ask("STARTTLS")
        await caller.start_tls(tls)
    return caller


@pytest.mark.parametrize("mode", MODES)
async def test_a_renewal_is_for_new_handshakes_and_of_any_kind_of_key(
    mode: TlsMode, certificate: Path, tmp_path: Path
) -> None:
    rsa = self_signed_rsa(tmp_path)
    async with (
        a_house(listener=a_listener(mode), certificate=certificate) as house,
        await call(house, trusting(certificate), mode) as before,
    ):
        assert is_shown(before, certificate)
        house.tls["legacy"].current = server_context(TlsFiles((rsa,), (rsa,)))
        async with await call(house, trusting(rsa), mode) as after:
            assert is_shown(after, rsa)
            assert (await after.ask("EHLO app.test")).startswith("250-")
        # Whoever was there goes on.
        assert (await before.ask("EHLO app.test")).startswith("250-")


async def test_a_client_that_knows_only_rsa_is_shown_rsa(certificate: Path, tmp_path: Path) -> None:
    rsa = self_signed_rsa(tmp_path)
    house = House()
    house.tls = {"legacy": in_force(TlsFiles((certificate, rsa), (certificate, rsa)))}
    await house.open(a_listener(TlsMode.IMPLICIT))
    old = trusting(rsa)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("ECDHE+aRSA+AESGCM")
    try:
        async with await Caller.at(house.port, tls=old) as caller:
            assert is_shown(caller, rsa)
            await caller.greet()
        async with await Caller.at(house.port, tls=trusting(certificate)) as caller:
            assert is_shown(caller, certificate)
            await caller.greet()
        told = [(listener, version) for _, listener, version in house.told("encrypted")]
        assert told == [("legacy", "1.2"), ("legacy", "1.3")]
    finally:
        await house.door.drain(0.5)
        house.verifier.close()


# What openssl calls each version, and the oldest it may be with each profile.
VERSIONS = {"-tls1": "1.0", "-tls1_1": "1.1", "-tls1_2": "1.2", "-tls1_3": "1.3"}
OLDEST = {TlsProfile.LEGACY: "1.0", TlsProfile.INTERMEDIATE: "1.2", TlsProfile.MODERN: "1.3"}


@pytest.mark.parametrize("profile", list(TlsProfile))
@pytest.mark.parametrize("mode", MODES)
async def test_each_profile_speaks_its_versions(
    mode: TlsMode, profile: TlsProfile, tmp_path: Path
) -> None:
    """Asked by openssl, as Python has no old versions without a warning."""
    rsa = self_signed_rsa(tmp_path)
    house = House()
    house.tls = {"legacy": in_force(TlsFiles((rsa,), (rsa,), profile))}
    await house.open(a_listener(mode))
    starttls = ("-starttls", "smtp") if mode is TlsMode.STARTTLS else ()
    try:
        for option in VERSIONS:
            client = await asyncio.create_subprocess_exec(
                "openssl",
                *("s_client", "-connect", f"127.0.0.1:{house.port}", option, *starttls),
                *("-cipher", "DEFAULT@SECLEVEL=0"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            assert await client.wait() in (0, 1)
            await house.gone()
        spoken = [version for *_, version in house.told("encrypted")]
        assert spoken == [version for version in VERSIONS.values() if version >= OLDEST[profile]]
    finally:
        await house.door.drain(0.5)
        house.verifier.close()
