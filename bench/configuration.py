"""The configuration file of the relay for a point. Starts nothing.

The relay is configured as in production: spool, policy, metrics and log are what they are by
default, but for the addresses.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from bench.points import Login, Point, Tls
from relay.smtp.auth import hash_password, new_token

LOGIN: Final = "bench"
PASSWORD, _TOKEN_HASH = new_token()

_RELAY: Final = """
hostname: bench.example
listeners:
  - name: bench
    address: "127.0.0.1:{port}"
    tls: {tls}
    auth: {auth}
    auth_without_tls: loopback
    max_connections: {connections}
senders:
  - name: bench
    {known_by}
    from: ["@example.com"]
{more}
ses:
  accounts: {{main: {{region: eu-west-1, endpoint_url: "{ses}", max_send_rate: 1000000/s}}}}
spool: {{path: {spool}}}
http: {{metrics: "127.0.0.1:0", admin: {admin}}}
log: {{format: json}}
"""
_TLS: Final = "tls: {{certificate: {certificate}, key: {key}}}\n"
# What SES's answer before the 250 asks for.
_RELAYED: Final = """\
    accept: relayed
    limits: {recipients_per_message: 50}
"""


class Places(NamedTuple):
    """Where things are while a point is measured."""

    port: int
    spool: Path
    admin: Path
    ses: str
    certificate: Path
    key: Path


@cache
def _known_by(login: Login) -> str:
    if login is Login.NETWORK:
        return "networks: [127.0.0.0/8]"
    kind, verifier = (
        ("token_hash", _TOKEN_HASH)
        if login is Login.TOKEN
        else ("secret_hash", hash_password(PASSWORD))
    )
    return f'login: {LOGIN}\n    {kind}: "{verifier}"'


def relay_yaml(point: Point, places: Places, *, connections: int = 1000, senders: str = "") -> str:
    """Return the relay's configuration; `senders` are further ones, as they are written there."""
    text = _RELAY.format(
        port=places.port,
        tls=point.tls.value,
        auth="off" if point.login is Login.NETWORK else "required",
        connections=connections,
        known_by=_known_by(point.login),
        more=("" if point.accept == "queued" else _RELAYED) + senders,
        ses=places.ses,
        spool=places.spool,
        admin=places.admin,
    )
    if point.tls is not Tls.OFF:
        text += _TLS.format(certificate=places.certificate, key=places.key)
    return text
