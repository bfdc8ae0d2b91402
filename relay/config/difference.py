"""What differs between two configurations, in words. Does not know a single key.

Works on what is shown, with `***` for secrets, so that none is ever told.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from relay.config.configuration import Configuration
from relay.config.shown import spelled, walk

_Flat: TypeAlias = dict[str, Any]

# A line of the log is no place for a thousand senders.
_MOST: Final = 50


def differences(old: Configuration, new: Configuration) -> list[str]:
    """Return what has changed, one short sentence each, without what is secret."""
    said = _changes(_flat(old), _flat(new))
    said += [
        f"senders[{name}]: its secret has changed"
        for name, secret in new.verifiers.items()
        if name in old.verifiers and old.verifiers[name] != secret
    ]
    if len(said) > _MOST:
        said = [*said[:_MOST], f"and {len(said) - _MOST} more"]
    return said


def _flat(configuration: Configuration) -> _Flat:
    return {place: value for place, _, value in walk(configuration.redacted())}


def _changes(was: _Flat, now: _Flat) -> list[str]:
    old_items, new_items = _items(was), _items(now)
    said = [f"{item}: removed" for item in old_items if item not in new_items]
    said += [f"{item}: added" for item in new_items if item not in old_items]
    for place in {**was, **now}:
        item = _item(place)
        if item is not None and not (item in old_items and item in new_items):
            continue
        before, after = was.get(place), now.get(place)
        if before != after:
            said.append(f"{place}: {spelled(before)} -> {spelled(after)}")
    return said


def _items(values: _Flat) -> dict[str, None]:
    """Return the named items there are, in order."""
    return {item: None for place in values if (item := _item(place)) is not None}


def _item(place: str) -> str | None:
    return place[: place.index("]") + 1] if "]" in place else None
