"""The newest warning or error of each kind, for whoever asks what went wrong last.

Knows events as they are logged, addresses masked and all. Does not know what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

_TOLD: Final = frozenset({"warning", "error"})
# Event names are a closed set; this is for the day one is not.
_KINDS: Final = 100


class Recent:
    """Remembers one event of each name, and how often it came."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[int, Mapping[str, Any]]] = {}

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Look at an event on its way into the log."""
        if event["level"] in _TOLD:
            name = event["event"]
            # Put last again: the oldest is what is forgotten.
            count, _ = self._events.pop(name, (0, event))
            self._events[name] = count + 1, dict(event)
            if len(self._events) > _KINDS:
                del self._events[next(iter(self._events))]
        return event

    def newest(self, count: int) -> Sequence[Mapping[str, Any]]:
        """Return so many, the newest first, each with how often it came (`times`)."""
        found = list(self._events.values())[: -count - 1 : -1]
        return [{**event, "times": times} for times, event in found]
