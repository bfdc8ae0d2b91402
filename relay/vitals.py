"""How the daemon is doing: readiness, the status an operator reads, the gauges of a scrape.

Looks, and changes nothing. Part of the composition root: it sees the concrete adapters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Any

from relay import __version__
from relay.delivery.gate import Condition, Gate
from relay.mail.envelope import AccountName, SenderName
from relay.observe.metrics import Metrics
from relay.observe.sink import LogWriter
from relay.operators import Pause
from relay.policy.breaker import BreakerState
from relay.policy.day import Hold
from relay.ports import SpoolError
from relay.pulse import Pulse
from relay.ses.account import SesAccount
from relay.smtp.frontdoor import FrontDoor
from relay.store import Store


class Vitals:
    """Reads the parts of a running daemon, which change under it.

    `front_door` is set once the listeners are open, `pulse` once there is one.
    """

    def __init__(
        self,
        store: Store,
        accounts: Collection[SesAccount],
        gates: Mapping[AccountName, Gate],
        metrics: Metrics,
        log: LogWriter,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._gates = gates
        self._metrics = metrics
        self._log = log
        self.paused: Mapping[SenderName, Pause] = {}
        """Set once it is known."""
        self._told_dropped = 0
        self.front_door: FrontDoor | None = None
        self.pulse: Pulse | None = None
        self.is_draining = False
        self.generation = 1

    def complaint(self) -> str:
        """Return why only a new start would help, or nothing; SES has no say in it."""
        stuck = () if self.pulse is None else self.pulse.stuck
        return f"stuck: {', '.join(stuck)}" if stuck else ""

    def checks(self) -> Mapping[str, bool]:
        """Return the readiness checks; SES has no say in them."""
        spool = self._store.spool
        return {
            "spool": spool.is_well,
            # Where mail cannot be kept it is not known what there would be room for.
            "disk": not spool.is_well or spool.has_room_for(0),
            "listeners": self.front_door is not None,
            "draining": not self.is_draining,
        }

    def health(self) -> Mapping[str, Any]:
        """Return what `relay health` judges by."""
        return {"complaint": self.complaint(), "checks": self.checks()}

    async def status(self) -> Mapping[str, Any]:
        """Return what `relay status` shows."""
        counts = await self._store.queue.counts()
        listeners = [] if self.front_door is None else self.front_door.listeners
        return {
            "version": __version__,
            "generation": self.generation,
            "readiness": {name: "ok" if ok else "failed" for name, ok in self.checks().items()},
            "listeners": {
                one.settings.name: f"{one.settings.host}:{one.port}, {len(one.sessions)} sessions"
                for one in listeners
            },
            "queue": {state.value: count for state, count in counts.items()},
            "accounts": {account.name: self._account_words(account) for account in self._accounts},
            "paused senders": {
                pause.sender: f"since {pause.since:%Y-%m-%d %H:%M} by {pause.actor}: {pause.reason}"
                for pause in self.paused.values()
            },
        }

    def accounts(self) -> Sequence[Mapping[str, Any]]:
        """Return what `relay account show` shows. Rates are recipients a second."""
        return [self._account(account) for account in self._accounts]

    def _account(self, account: SesAccount) -> Mapping[str, Any]:
        found, keys = self._gates[account.name].condition(), account.keys
        expires_at = None if keys is None else keys.expires_at
        return {
            "account": account.name,
            "condition": self._condition(account, found),
            "rate": _number(found.rate),
            "rate_granted": _number(found.granted),
            "daily_quota": _number(found.daily),
            "daily_used": _number(found.used),
            "daily_quota_holds": found.hold.value,
            "breaker": found.breaker.value,
            "breaker_reason": found.reason,
            "probe_in_seconds": round(found.probe_in, 1),
            "calls_under_way": found.under_way,
            "access_key": "" if keys is None else keys.access_key,
            "credentials_expire_at": None
            if expires_at is None
            else expires_at.isoformat(timespec="seconds"),
            "credentials_complaint": account.complaint,
        }

    def _account_words(self, account: SesAccount) -> str:
        found = self._gates[account.name].condition()
        rate = "rate unknown" if found.granted is None else f"{found.granted:g}/s"
        return f"{rate}, {found.under_way} calls under way, {self._condition(account, found)}"

    @staticmethod
    def _condition(account: SesAccount, found: Condition) -> str:
        """Say in a word or two how the account is doing, the worst first."""
        if account.complaint:
            return f"no credentials: {account.complaint}"
        if found.breaker is not BreakerState.CLOSED:
            return f"suspended: {found.reason}"
        if found.hold is not Hold.NOBODY:
            return f"the daily quota holds {found.hold} mail"
        return f"slowed to {found.rate:.3g}/s" if found.is_slowed else "sending"

    async def exposition(self) -> bytes:
        """Return the metrics, the gauges among them as of now."""
        metrics = self._metrics
        for name, passes in self.checks().items():
            metrics.readiness[name].set(passes)
        for listener in [] if self.front_door is None else self.front_door.listeners:
            metrics.stressed[listener.settings.name].set(listener.places.is_stressed)
        metrics.senders_paused.set(len(self.paused))
        for name, gate in self._gates.items():
            metrics.rate_used[name].set(gate.condition().rate)
        dropped = self._log.dropped
        metrics.log_dropped.inc(dropped - self._told_dropped)
        self._told_dropped = dropped
        try:
            for state, count in (await self._store.queue.counts()).items():
                metrics.queue[state.value].set(count)
            await self._measure_store()
        except (SpoolError, OSError):
            # A spool that cannot be read must not take all other numbers with it.
            metrics.readiness["spool"].set(False)
        for reason, count in self._store.suppressions.counts().items():
            metrics.suppressed[reason.value].set(count)
        return await asyncio.to_thread(metrics.exposition)

    async def _measure_store(self) -> None:
        metrics, found = self._metrics.store, await self._store.measure()
        metrics.free.set(found.free)
        metrics.floor.set(found.floor)
        metrics.put_by.set(found.reserve)
        metrics.outbox.set(found.outbox)
        for database, octets, is_well in (
            ("spool", found.spool_log, found.spool_is_well),
            ("record", found.record_log, found.record_is_well),
        ):
            metrics.log_size[database].set(octets)
            metrics.available[database].set(is_well)


def _number(found: float | None) -> float | str | None:
    """Return a number as JSON can have it; None is what is not known."""
    return "unlimited" if found == inf else found
