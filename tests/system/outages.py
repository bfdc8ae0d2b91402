"""Outages of every kind, each on a relay and a simulated SES of its own, and the alert it raises.

Knows how to cause them, all at once. Does not know Prometheus.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias

from relay.simulator import Fate, Hang, Refuse, Sending, Settings, Simulator
from tests.fault.disks import Filler, small_disk
from tests.system.house import CLI, Relay, configuration
from tests.tls import certificate_pem, key_pem, new_key

WATCHED: Final = [CLI[0], "-m", "tests.system.watched"]
_LARGE: Final = b"x" * 70 + b"\r\n"


@dataclass(kw_only=True)
class Scene:
    """One relay, its SES, and what clients send meanwhile."""

    relay: Relay
    simulator: Simulator
    directory: Path
    recipients: tuple[str, ...] = ("jane@example.net",)
    """Of each mail; `{}` is a number that never comes again."""
    pause: float = 0.5
    """Seconds between two mails."""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    is_sending: bool = True

    async def traffic(self) -> None:
        """Send mail for ever, one after another, whatever becomes of it."""
        for number in itertools.count():
            if self.is_sending:
                with contextlib.suppress(OSError, EOFError):
                    await self.send(number)
            await asyncio.sleep(self.pause)

    async def send(self, number: int, content: bytes = b"Hi\r\n") -> None:
        """Send one mail."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.ports["legacy"])
        try:
            names = [name.format(f"{number}-{place}") for place, name in enumerate(self.recipients)]
            lines = [
                "EHLO test",
                "MAIL FROM:<app@example.com>",
                *(f"RCPT TO:<{name}>" for name in names),
                "DATA",
            ]
            await reader.readuntil(b"\r\n")
            for line in lines:
                writer.write(f"{line}\r\n".encode())
                while (await reader.readuntil(b"\r\n"))[3:4] == b"-":
                    pass
            writer.write(b"From: app@example.com\r\n\r\n" + content + b".\r\n")
            await reader.readuntil(b"\r\n")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


Cause: TypeAlias = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Outage:
    """How a relay is before it, what causes it, and the alert that is to fire, alone."""

    alert: str
    cause: Cause
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the simulator."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Of the configuration."""
    has_events: bool = False
    """Whether SES's events come back."""
    disk: int = 0
    """MiB of the disk that the spool has to itself."""
    scene: Mapping[str, object] = field(default_factory=dict)


async def _unreachable(scene: Scene) -> None:
    await scene.stack.enter_async_context(scene.simulator.unreachable())


async def _throttled(scene: Scene) -> None:
    refusal = Refuse("Throttling", "Maximum sending rate exceeded.")
    scene.simulator.fail(refusal, times=100_000, action="SendRawEmail")


async def _paused(scene: Scene) -> None:
    _change(scene, sending=Sending.PAUSED_BY_AWS)


async def _credentials(scene: Scene) -> None:
    _change(scene, credentials=())


async def _identity(scene: Scene) -> None:
    _change(scene, identities=frozenset({"elsewhere.example"}))


async def _errors(scene: Scene) -> None:
    async def now_and_then() -> None:
        while True:
            scene.simulator.fail(Refuse("ServiceUnavailable", "Try later", 503))
            await asyncio.sleep(4 * scene.pause)

    task = asyncio.create_task(now_and_then())
    scene.stack.callback(task.cancel)


async def _disk_full(scene: Scene) -> None:
    await asyncio.to_thread(Filler(scene.directory / "disk").fill)


async def _nothing(scene: Scene) -> None:
    """The relay is as it is from the start, and mail goes through it."""


async def _quota_near(scene: Scene) -> None:
    await scene.relay.logged("account.quota")
    # 17 of 18.
    for number in range(17):
        await scene.send(1000 + number)


async def _hanging(scene: Scene) -> None:
    scene.simulator.fail(Hang(), times=100_000, action="SendRawEmail")
    # A sender has half the lanes; whatever is beyond that is due, and stays so.
    for number in range(40):
        await scene.send(5000 + number)


async def _reload(scene: Scene) -> None:
    config = scene.relay.config
    config.write_text(config.read_text() + "nonsense: 1\n")
    code, _, err = await scene.relay.cli("reload")
    assert code == 78, err


async def _certificate(scene: Scene) -> None:
    _write_pair(scene.directory, days=13)
    code, _, err = await scene.relay.cli("reload")
    assert code == 0, err


async def _corrupt(scene: Scene) -> None:
    relay = scene.relay
    assert (await relay.cli("sender", "pause", "app", "--reason", "test"))[0] == 0
    await scene.send(9000, _LARGE * 4000)
    await asyncio.to_thread(_damage, scene.directory / "spool" / "content")
    assert (await relay.cli("sender", "resume", "app"))[0] == 0
    await relay.logged("spool.corrupt")


async def _rejected(scene: Scene) -> None:
    refusal = Refuse("MessageRejected", "The message contains a virus")
    scene.simulator.fail(refusal, times=100_000, action="SendRawEmail")


async def _stopped(scene: Scene) -> None:
    scene.is_sending = False
    await scene.relay.stop()


def _damage(contents: Path) -> None:
    (content,) = [path for path in contents.rglob("*") if path.is_file()]
    content.write_bytes(content.read_bytes()[:-2] + b"!!")


def _change(scene: Scene, **changes: object) -> None:
    scene.simulator.change(replace(scene.simulator.settings, **changes))  # type: ignore[arg-type]


def _write_pair(directory: Path, *, days: int) -> None:
    key = new_key()
    (directory / "key.pem").write_bytes(key_pem(key))
    (directory / "certificate.pem").write_bytes(certificate_pem(key, days=days))


FOUR: Final = ("a{}@example.net",) * 4
OUTAGES: Final = {
    "down": Outage(alert="RelayDown", cause=_stopped),
    "unreachable": Outage(alert="RelaySesUnreachable", cause=_unreachable),
    "throttled": Outage(alert="RelaySesThrottled", cause=_throttled),
    "paused": Outage(alert="RelaySesSendingPaused", cause=_paused),
    "credentials": Outage(alert="RelaySesAccessRefused", cause=_credentials),
    "identity": Outage(alert="RelaySesAccessRefused", cause=_identity),
    "errors": Outage(alert="RelaySesErrors", cause=_errors),
    "hanging": Outage(alert="RelayDeliveryStalled", cause=_hanging),
    "disk-full": Outage(alert="RelaySpoolRefusing", cause=_disk_full, disk=160),
    "corrupt": Outage(alert="RelaySpoolCorrupt", cause=_corrupt, scene={"is_sending": False}),
    "quota-near": Outage(
        alert="RelaySesDailyQuotaLow",
        cause=_quota_near,
        settings={"daily_quota": 18},
        scene={"is_sending": False},
    ),
    "quota-used-up": Outage(
        alert="RelaySesDailyQuotaUsedUp", cause=_nothing, settings={"daily_quota": 10}
    ),
    "silent": Outage(
        alert="RelayFeedbackSilent", cause=_nothing, scene={"recipients": FOUR, "pause": 0.25}
    ),
    "bounces": Outage(
        alert="RelayBounceRateHigh",
        cause=_nothing,
        has_events=True,
        scene={"recipients": (*FOUR, "b{}@bounces.example"), "pause": 0.25},
        settings={"fates": {"@bounces.example": Fate.BOUNCED}},
    ),
    "complaints": Outage(
        alert="RelayComplaintRateHigh",
        cause=_nothing,
        has_events=True,
        scene={"recipients": (*FOUR, "c{}@complains.example"), "pause": 0.25},
        settings={"fates": {"@complains.example": Fate.COMPLAINED}},
    ),
    "rejected": Outage(
        alert="RelayRecipientsFailed",
        cause=_rejected,
        has_events=True,
        scene={"recipients": FOUR, "pause": 0.25},
    ),
    "reload": Outage(alert="RelayConfigReloadFailed", cause=_reload),
    "certificate": Outage(
        alert="RelayCertificateExpiresSoon",
        cause=_certificate,
        parts={
            "listeners": '  - {name: smtps, address: "127.0.0.1:0", tls: implicit, auth: off}\n',
            "tls": "tls: {certificate: certificate.pem, key: key.pem}",
        },
    ),
    "probe": Outage(
        alert="RelayProbeFailing",
        cause=_nothing,
        parts={"spool": "probe: {every: 1h}"},
        has_events=True,
        scene={"is_sending": False},
        settings={"fates": {}},
    ),
}


@asynccontextmanager
async def staged(name: str, outage: Outage, directory: Path) -> AsyncIterator[Scene]:
    """Begin a scene: all is well, and mail flows."""
    directory.mkdir()  # noqa: ASYNC240 - a test has nothing else to do
    settings = Settings(
        **{"max_send_rate": 1000.0, "daily_quota": -1, "control_rate": None, **outage.settings}  # type: ignore[arg-type]
    )
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(settings))
        spool = directory
        if outage.disk:
            spool = stack.enter_context(small_disk(directory / "disk", outage.disk))
        _write_pair(directory, days=90)
        parts = dict(outage.parts)
        if outage.has_events:
            topic = settings.topic_arn
            parts |= {
                "feedback": f'feedback: {{sns: {{topics: ["{topic}"]}}}}',
                "webhook": ', webhook: "127.0.0.1:0"',
            }
        text = configuration(directory, simulator.url, **parts)
        text = text.replace(f"{directory}/spool", f"{spool}/spool")
        config = directory / "relay.yaml"
        config.write_text(text)
        relay = Relay(config, WATCHED)
        relay.env["RELAY_TEST_SIMULATOR"] = simulator.url
        stack.push_async_callback(relay.end)
        # Else it would wait for answers.
        stack.callback(simulator.release)
        stack.callback(simulator.clear_faults)
        await relay.start()
        if outage.has_events and name != "probe":
            simulator.subscribe(f"http://127.0.0.1:{relay.ports['webhook']}/sns")
            await simulator.settled()
        scene = Scene(relay=relay, simulator=simulator, directory=directory, **outage.scene)  # type: ignore[arg-type]
        await stack.enter_async_context(scene.stack)
        sending = asyncio.create_task(scene.traffic())
        stack.callback(sending.cancel)
        yield scene
