"""What `relay status` shows: a verdict, and what an operator looks at next.

Part of the composition root. The verdict is made of the conditions that alerts are made of
(relay.policy.conditions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from relay import __version__
from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.observing import Observing
from relay.operators import Axis, Pause, Selection
from relay.policy.conditions import STALLED, conditions, verdict
from relay.ports import Clock, SpoolError
from relay.store import Store
from relay.vitals import Vitals

# What fits on one screen.
_REASONS: Final = 5
_SENDERS: Final = 10
_ERRORS: Final = 5
_WAITING: Final = frozenset({State.READY, State.IN_FLIGHT, State.SCHEDULED, State.AMBIGUOUS})


class Status:
    """Gathers the document. Costs what a scrape costs, and a look at the head of the queue."""

    def __init__(
        self,
        vitals: Vitals,
        store: Store,
        observing: Observing,
        clock: Clock,
        senders: Callable[[], Sequence[SenderName]],
    ) -> None:
        """`senders` are those configured."""
        self._vitals = vitals
        self._store = store
        self._observing = observing
        self._clock = clock
        self._senders = senders

    async def __call__(self) -> Mapping[str, Any]:
        """Return the document. Of a spool that cannot be read it says that, and the rest."""
        vitals, observing, now = self._vitals, self._observing, self._clock.now()
        signs = await vitals.signs()
        found = conditions(signs)
        waiting = sum(count for state, count in signs.queue.items() if state in _WAITING)
        relayed = observing.trend.growth("relayed", STALLED)
        return {
            "verdict": verdict(found, waiting, relayed),
            "conditions": [
                {"alert": one.alert, "severity": one.severity.value, "words": one.words}
                for one in found
            ],
            "version": __version__,
            "generation": vitals.generation,
            "at": _moment(now),
            "readiness": dict(vitals.checks()),
            "listeners": self._listeners(now),
            "queue": {
                "messages": signs.queue,
                "oldest": _moment(signs.oldest),
                "due_for_seconds": round(signs.due_for, 1),
                "relayed_15m": relayed,
                "waits_for": await self._waits_for(now),
            },
            "accounts": vitals.accounts(),
            "senders": self._of_senders(),
            "feedback": {
                "last_event_seconds_ago": round(signs.feedback_age),
                "probe_seconds_ago": signs.probe_age and round(signs.probe_age),
            },
            "log": {
                "level": observing.log_level,
                "until": _moment(observing.log_level_until),
                "dropped": observing.writer.dropped,
            },
            "last_errors": observing.recent.newest(_ERRORS),
        }

    def _listeners(self, now: datetime) -> Sequence[Mapping[str, Any]]:
        front_door = self._vitals.front_door
        certificates = self._vitals.certificates(now)
        return [
            {
                "listener": one.settings.name,
                "address": f"{one.settings.host}:{one.port}",
                "sessions": len(one.sessions),
                "is_stressed": one.places.is_stressed,
                "certificate_days": certificates.get(one.settings.name),
            }
            for one in ([] if front_door is None else front_door.listeners)
        ]

    async def _waits_for(self, now: datetime) -> Sequence[Mapping[str, Any]]:
        """Say why mail waits, most of it first; of a long queue, of its oldest mail."""
        try:
            shape = await self._store.queue.shape(Selection(), Axis.REASON, "", now)
        except SpoolError:
            return ()
        reasons = {name: sum(ages) for name, ages in shape.groups.items()}
        most = sorted(reasons, key=lambda name: -reasons[name])[:_REASONS]
        return [{"reason": name or "its turn", "messages": reasons[name]} for name in most]

    def _of_senders(self) -> Sequence[Mapping[str, Any]]:
        """Return the senders that have mail here or are paused, those with most first."""
        spool, paused = self._store.spool, self._vitals.paused
        found = [(name, spool.backlog(name)) for name in {*self._senders(), *paused}]
        found = [(name, kept) for name, kept in found if kept.messages or name in paused]
        found.sort(key=lambda one: (one[0] not in paused, -one[1].messages, one[0]))
        return [
            {
                "sender": name,
                "messages": kept.messages,
                "octets": kept.octets,
                "paused": _pause(paused.get(name)),
            }
            for name, kept in found[:_SENDERS]
        ]


def _pause(pause: Pause | None) -> str:
    if pause is None:
        return ""
    return f"since {pause.since:%Y-%m-%d %H:%M} by {pause.actor}: {pause.reason}"


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds")
