"""Certificates of a running daemon: renewed all or none, shown by clients, and behind a proxy."""

from __future__ import annotations

import asyncio
import re
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from relay.simulator import Simulator
from tests.system.conftest import StartRelay
from tests.system.house import Relay, run
from tests.tls import Authority, certificate_pem, key_pem, new_key, new_rsa_key

LISTENERS = """\
  - {{name: smtps, address: "127.0.0.1:0", tls: implicit, auth: required, client_ca: {clients}}}
  - name: own
    address: "127.0.0.1:0"
    tls: implicit
    certificate: [{own}]
    key: [{own}]
    auth: off
"""
SENDERS = """\
  - name: billing
    certificates: [erp.example.com]
    from: [billing@example.com]
"""


def renew(path: Path, *, rsa: bool = False) -> str:
    """Write a fresh certificate and its key; return the certificate."""
    key = new_rsa_key() if rsa else new_key()
    pem = certificate_pem(key)
    path.write_bytes(pem + key_pem(key))
    return pem.decode()


def scrape(port: int) -> str:
    """Return the metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text: bytes = answer.read()
        return text.decode()


async def shown(relay: Relay, listener: str) -> str:
    """Return the certificate a listener shows."""
    address = ("127.0.0.1", relay.ports[listener])
    return await asyncio.to_thread(ssl.get_server_certificate, address)


async def test_all_certificates_are_renewed_or_none(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    shared, own = tmp_path / "shared.pem", tmp_path / "own.pem"
    clients = tmp_path / "clients.pem"
    await asyncio.to_thread(clients.write_bytes, Authority().pem)
    old = [renew(shared), renew(own)]
    relay = await start_relay(
        listeners=LISTENERS.format(own=own, clients=clients),
        tls=f"tls: {{certificate: {shared}, key: {shared}}}",
        senders=SENDERS,
    )
    names = ("smtps", "own")
    assert [await shown(relay, name) for name in names] == old

    renew(shared, rsa=True)
    await asyncio.to_thread(own.write_text, "junk")
    code, _, said = await relay.cli("reload")
    assert code == 78
    assert re.search(r"listener own: TLS certificate .*own.pem .*is not usable PEM", said), said
    assert [await shown(relay, name) for name in names] == old

    # Of another kind of key, and at another path.
    new = [renew(shared, rsa=True), renew(tmp_path / "moved.pem")]
    text = await asyncio.to_thread(relay.config.read_text)
    await asyncio.to_thread(relay.config.write_text, text.replace("own.pem", "moved.pem"))
    code, _, said = await relay.cli("reload")
    assert code == 0, said
    assert [await shown(relay, name) for name in names] == new

    metrics = await asyncio.to_thread(scrape, relay.ports["metrics"])
    assert 'relay_smtp_stressed{listener="own"} 0.0' in metrics
    assert 'relay_tls_sessions_total{listener="own",version="1.0"} 0.0' in metrics
    assert re.search(r'relay_tls_sessions_total{listener="own",version="1.3"} [1-9]', metrics)

    await asyncio.to_thread(clients.unlink)
    code, _, said = await relay.cli("reload")
    assert code == 78
    assert "listener smtps: TLS client_ca" in said
    code, _, said = await relay.cli("check", "--config", str(relay.config))
    assert code == 78
    assert "clients.pem cannot be read: No such file or directory" in said


@pytest.mark.P7
async def test_swaks_shows_a_certificate(
    start_relay: StartRelay, simulator: Simulator, needs: Callable[[str], str], tmp_path: Path
) -> None:
    shared, own = tmp_path / "shared.pem", tmp_path / "own.pem"
    clients, authority = tmp_path / "clients.pem", Authority()
    await asyncio.to_thread(clients.write_bytes, authority.pem)
    renew(shared)
    renew(own)
    relay = await start_relay(
        listeners=LISTENERS.format(own=own, clients=clients),
        tls=f"tls: {{certificate: {shared}, key: {shared}}}",
        senders=SENDERS,
    )
    issued = str(authority.issue(tmp_path, x509.DNSName("erp.example.com")))
    code, said = await run(
        needs("swaks"),
        *("--server", "127.0.0.1", "--port", str(relay.ports["smtps"]), "--tls-on-connect"),
        *("--tls-cert", issued, "--tls-key", issued),
        *("--from", "billing@example.com", "--to", "jane@example.net"),
        *("--h-From", "billing@example.com", "--body", "Pay."),
    )
    assert code == 0, said[-2000:]
    await simulator.received(1)
    await relay.logged("auth.succeeded", mechanism="certificate", sender="billing")


@pytest.mark.parametrize("version", ["1", "2"])
async def test_swaks_comes_through_a_proxy(
    start_relay: StartRelay, simulator: Simulator, needs: Callable[[str], str], version: str
) -> None:
    relay = await start_relay(
        listeners='  - {name: balanced, address: "127.0.0.1:0", tls: off, auth: off, '
        "proxy_protocol: {trusted: [127.0.0.1/32]}}",
        senders="  - {name: printers, networks: [192.0.2.0/24], from: [scanner@example.com]}",
    )
    family = "TCP4" if version == "1" else "AF_INET"
    code, said = await run(
        needs("swaks"),
        *("--server", "127.0.0.1", "--port", str(relay.ports["balanced"])),
        *("--proxy-version", version, "--proxy-family", family),
        *("--proxy-source", "192.0.2.7", "--proxy-source-port", "40000"),
        *("--proxy-dest", "198.51.100.1", "--proxy-dest-port", "25"),
        *("--from", "scanner@example.com", "--to", "jane@example.net"),
        *("--h-From", "scanner@example.com", "--body", "A scan."),
    )
    assert code == 0, said[-2000:]
    await simulator.received(1)
    assert b"[192.0.2.7]" in simulator.messages[0].raw
    assert (await relay.logged("mail.queued"))["sender"] == "printers"
    await relay.logged("session.opened", peer="192.0.2.7", listener="balanced")
