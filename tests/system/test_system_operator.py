"""What only an operator can mend holds mail and is told; once it is mended all of it is delivered.

One relay with two accounts: the machine's own credentials, from a file, by v1; and a role that is
assumed with them, from moto's STS, by v2 for a tenant.
"""

from __future__ import annotations

import asyncio
import itertools
import smtplib
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from relay.simulator import DEMO_CREDENTIAL, Credential, Sending, Settings, Simulator
from relay.simulator.submission import Api
from tests.system.house import Relay, configuration, environment

ACCOUNTS = """\
  accounts:
    main: {{region: eu-west-1, endpoint_url: "{ses}"}}
    lent:
      region: eu-west-1
      endpoint_url: "{ses}"
      role_arn: "arn:aws:iam::123456789012:role/relay"
      external_id: partner/7
"""
SENDERS = """\
  - name: acme
    networks: [127.0.0.2/32]
    from: ["@example.com"]
    ses: {account: lent, tenant: acme}
"""
KEYS = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"
TENANTS = {"acme": frozenset({"example.com", "default"})}


@dataclass
class House:
    """A relay, its simulator, and the file with the machine's credentials."""

    relay: Relay
    simulator: Simulator
    keys: Path
    sessions: dict[str, Credential] = field(default_factory=dict)
    sent: int = 0

    def write_keys(self, credential: Credential) -> None:
        self.keys.write_text(KEYS.format(credential.access_key, credential.secret_key))

    async def send(self) -> None:
        """Hand in one mail for each account."""
        port = self.relay.ports["legacy"]

        def hand_in() -> None:
            for host in ("127.0.0.1", "127.0.0.2"):
                with smtplib.SMTP("127.0.0.1", port, source_address=(host, 0)) as client:
                    client.sendmail("app@example.com", ["jane@example.net"], MAIL)

        await asyncio.to_thread(hand_in)
        self.sent += 2

    async def deferred(self, account: str, reason: str) -> None:
        """Wait until a mail of that account is held for that reason, where an operator sees it."""
        line = await self.relay.logged("mail.deferred", account=account, reason=reason)
        assert line["level"] == "warning", line
        assert line["reply"].startswith("451 4.3"), line

    async def all_arrived(self) -> None:
        """Wait until all that was handed in is taken, each mail once and by its own API."""
        await self.simulator.received(self.sent)
        for api in Api:
            taken = [message for message in self.simulator.messages if message.api is api]
            assert len(taken) == self.sent // 2, api
        await self.relay.logged("mail.relayed", count=self.sent)

    async def know_sessions(self) -> None:
        """Let SES know every session that the relay is given, as AWS does."""
        for number in itertools.count(1):
            await self.relay.logged("relay.credentials_found", count=number, account="lent")
            self.tell_ses()

    def tell_ses(self, *, until: datetime | None = None) -> None:
        """Let SES know the sessions there are; with a time, those end then."""
        for session in sts_backends["123456789012"]["global"].assumed_roles:
            if until is not None or session.access_key_id not in self.sessions:
                self.sessions[session.access_key_id] = Credential(
                    access_key=session.access_key_id,
                    secret_key=session.secret_access_key,
                    session_token=session.session_token,
                    expires_at=until,
                )
        known = (DEMO_CREDENTIAL, *self.sessions.values())
        self.simulator.change(replace(self.simulator.settings, credentials=known))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    settings = Settings(
        max_send_rate=10_000.0,
        daily_quota=-1,
        control_rate=None,
        tenants=TENANTS,
    )
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    sts = f"http://{host}:{port}"
    await asyncio.to_thread(urllib.request.urlopen, f"{sts}/moto-api/reset", b"")
    async with Simulator(settings) as simulator:
        config, keys = tmp_path / "relay.yaml", tmp_path / "credentials"
        text = configuration(tmp_path, simulator.url, senders=SENDERS, first_retry="800ms")
        before, _, rest = text.partition("  accounts: ")
        config.write_text(before + ACCOUNTS.format(ses=simulator.url) + rest.partition("\n")[2])
        env = environment(AWS_SHARED_CREDENTIALS_FILE=str(keys), AWS_ENDPOINT_URL_STS=sts)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del env[name]
        house = House(Relay(config, env=env), simulator, keys)
        house.write_keys(replace(DEMO_CREDENTIAL, secret_key=DEMO_CREDENTIAL.secret_key[:-1]))
        try:
            await house.relay.start()
            knowing = asyncio.create_task(house.know_sessions())
            yield house
            knowing.cancel()
            await asyncio.gather(knowing, return_exceptions=True)
        finally:
            await house.relay.end()
            moto.stop()
            (tmp_path / "spool" / "reserve").unlink(missing_ok=True)


@pytest.mark.P8
async def test_nothing_bounces_and_all_is_delivered_once_it_is_mended(house: House) -> None:
    relay, simulator = house.relay, house.simulator
    # The right keys but for a letter of the secret, as they are copied by hand.
    await house.send()
    await house.deferred("main", "credentials")
    told = await relay.logged("relay.credentials_missing", account="main")
    assert told["level"] == "warning"
    assert told["complaint"] == "the credentials found are those SES refused"
    house.write_keys(DEMO_CREDENTIAL)
    await house.all_arrived()

    # The role's session has ended at SES before its time: another one is asked for.
    sessions = len(house.sessions)
    house.tell_ses(until=datetime.now(UTC))
    await house.send()
    await house.deferred("lent", "credentials")
    await house.all_arrived()
    assert len(house.sessions) > sessions

    usual = simulator.settings
    faults: dict[str, dict[str, Any]] = {
        "configuration": {"configuration_sets": frozenset()},
        "not_verified": {"identities": frozenset(), "tenants": {}},
        "paused": {"sending": Sending.PAUSED_BY_CUSTOMER},
    }
    for reason, changes in faults.items():
        simulator.change(replace(usual, **changes))
        await house.send()
        for account in ("main", "lent"):
            await house.deferred(account, reason)
        simulator.change(usual)
        await house.all_arrived()

    # A tenant that is not there keeps nobody else's mail.
    simulator.change(replace(usual, tenants={}))
    await house.send()
    await simulator.received(house.sent - 1)
    await relay.logged("mail.deferred", count=2, account="lent", reason="configuration")
    simulator.change(usual)
    await house.all_arrived()

    said = {line["event"] for line in relay.lines}
    assert not said & {"mail.failed", "mail.expired", "mail.ambiguous", "fault"}, said
    _, listing, _ = await relay.cli("queue", "list", "--json")
    assert listing == ""
