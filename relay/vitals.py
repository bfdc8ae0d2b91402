"""How the daemon is doing: readiness, the gauges of a scrape, the signs conditions are judged by.

Looks, and changes nothing. Part of the composition root: it sees the concrete adapters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import Any, cast

from relay.delivery.gate import Condition, Gate
from relay.feedback.circuit import Circuits
from relay.mail.envelope import AccountName, SenderName
from relay.observe.instruments import value_of
from relay.observing import Observing
from relay.operators import Pause
from relay.policy.breaker import BreakerState
from relay.policy.conditions import AccountSigns, Signs
from relay.policy.day import Hold
from relay.policy.reputation import NOTHING
from relay.ports import Clock, SpoolError
from relay.pulse import Pulse
from relay.ses.account import SesAccount
from relay.smtp.frontdoor import FrontDoor
from relay.smtp.session import Session
from relay.smtp.tls import TlsInForce
from relay.store import Store
from relay.store.measure import Measure


class Vitals:
    """Reads the parts of a running daemon, which change under it.

    `front_door` is set once the listeners are open, `pulse` once there is one.
    """

    def __init__(
        self,
        store: Store,
        accounts: Collection[SesAccount],
        gates: Mapping[AccountName, Gate],
        observing: Observing,
        tls: Mapping[str, TlsInForce],
        clock: Clock,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._gates = gates
        self._observing = observing
        self._metrics = observing.metrics
        self._tls = tls
        self._clock = clock
        self.paused: Mapping[SenderName, Pause] = {}
        """Set once it is known."""
        self.probed_at: Callable[[], float | None] = lambda: None
        """Reads when a probe last came back, in Unix time; None where there is no probe."""
        self.circuits: Circuits | None = None
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

    def sessions(self) -> Iterator[Session]:
        """Return the sessions that are open."""
        for listener in [] if self.front_door is None else self.front_door.listeners:
            yield from cast("Iterator[Session]", iter(listener.sessions))

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

    def certificates(self, now: datetime) -> Mapping[str, int]:
        """Return for how many days more the certificate of each listener is valid."""
        return {name: (tls.current.expires_at - now).days for name, tls in self._tls.items()}

    async def signs(self) -> Signs:
        """Return what is known of the relay now, for its conditions."""
        observing, store, now = self._observing, self._store, self._clock.now()
        observing.look(self._gates)
        moment, probed_at, metrics = now.timestamp(), self.probed_at(), self._metrics
        signs = Signs(
            trend=observing.trend,
            minute=observing.minute,
            accounts=[self._account_signs(account) for account in self._accounts],
            certificates={name: tls.current.expires_at - now for name, tls in self._tls.items()},
            is_reloaded=value_of(metrics.reload_successful) > 0,
            feedback_age=moment - observing.facts.feedback_at,
            held_long=int(value_of(metrics.held_long)),
            clock_in_doubt=value_of(metrics.clock_in_doubt) > 0,
            probe_age=None if probed_at is None else moment - probed_at,
        )
        try:
            counts, found = await store.queue.counts(), await store.measure()
        except (SpoolError, OSError):
            # Of a spool that cannot be read nothing else is known, and that is what must be said.
            return replace(signs, spool_is_well=False)
        due = self._due_since(found)
        return replace(
            signs,
            has_room=found.free > found.floor and found.reserve > 0,
            spool_is_well=found.spool_is_well,
            record_is_well=found.record_is_well,
            queue={state.value: count for state, count in counts.items()},
            due_for=0.0 if due is None else max(0.0, moment - due),
            oldest=found.backlog.oldest,
        )

    def _account_signs(self, account: SesAccount) -> AccountSigns:
        found, name = self._gates[account.name].condition(), account.name
        share = 0.0 if not found.daily or found.used is None else found.used / found.daily
        return AccountSigns(
            name=name,
            complaint=account.complaint,
            suspended=found.reason,
            may_send=name not in self._observing.facts.paused,
            held=found.hold is Hold.ALL,
            is_short=found.hold is not Hold.NOBODY,
            quota_share=share,
        )

    def _due_since(self, found: Measure) -> float | None:
        """Return since when the mail is due that is due longest, paused senders left out."""
        moments = [at for name, at in found.backlog.due.items() if name not in self.paused]
        return min(moments).timestamp() if moments else None

    async def exposition(self) -> bytes:
        """Return the metrics, the gauges among them as of now."""
        metrics = self._metrics
        for name, passes in self.checks().items():
            metrics.readiness[name].set(passes)
        for listener in [] if self.front_door is None else self.front_door.listeners:
            metrics.stressed[listener.settings.name].set(listener.places.is_stressed)
        metrics.senders_paused.set(len(self.paused))
        # A reload may have taken some away, and an alert on what is gone would never end.
        metrics.certificate_expiry.keep(self._tls)
        metrics.keep_accounts({account.name for account in self._accounts})
        for account in self._accounts:
            found = self._gates[account.name].condition()
            metrics.credentials[account.name].set(not account.complaint)
            metrics.rate_used[account.name].set(found.rate)
            if found.used is not None:
                # What SES said when last asked, and what it took from us since.
                metrics.quota_used[account.name].set(found.used)
        self._observing.count_dropped()
        try:
            for state, count in (await self._store.queue.counts()).items():
                metrics.queue[state.value].set(count)
            self._show(await self._store.measure())
        except (SpoolError, OSError):
            # A spool that cannot be read must not take all other numbers with it.
            metrics.readiness["spool"].set(False)
        await self._measure_aftermath()
        for reason, count in self._store.suppressions.counts().items():
            metrics.suppressed[reason.value].set(count)
        return await asyncio.to_thread(metrics.exposition)

    async def _measure_aftermath(self) -> None:
        metrics, circuits = self._metrics, self.circuits
        if circuits is not None:
            for sender, counters in metrics.usage.senders.items():
                for (window, fate), gauge in counters.received.items():
                    gauge.set(getattr(circuits.windows[window].get(sender, NOTHING), fate))
                counters.suspect.set(sender in circuits.suspects)
        with suppress(SpoolError):
            for state, count in (await self._store.callbacks.waiting()).items():
                metrics.callbacks_waiting[state].set(count)

    def _show(self, found: Measure) -> None:
        metrics, now = self._metrics.store, self._clock.now().timestamp()
        metrics.free.set(found.free)
        metrics.floor.set(found.floor)
        metrics.put_by.set(found.reserve)
        metrics.kept.set(found.kept)
        metrics.outbox.set(found.backlog.outbox)
        oldest, due = found.backlog.oldest, self._due_since(found)
        metrics.oldest.set(now if oldest is None else oldest.timestamp())
        metrics.oldest_due.set(now if due is None else min(due, now))
        for database, octets, is_well in (
            ("spool", found.spool_log, found.spool_is_well),
            ("record", found.record_log, found.record_is_well),
        ):
            metrics.log_size[database].set(octets)
            metrics.available[database].set(is_well)


def _number(found: float | None) -> float | str | None:
    """Return a number as JSON can have it; None is what is not known."""
    return "unlimited" if found == inf else found
