"""A configuration as operators read it: each value, where it stands, and why it is that.

Works on what is shown, with `***` for secrets, so that none is ever told. Knows no key but those
whose default is not in the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from relay.config.complaint import KeyPath
from relay.config.configuration import Configuration

_NONE: Final = "none"


class Shown(NamedTuple):
    """One value. `is_set`: the file or the environment says so, and not the default."""

    place: str
    value: Any
    origin: str
    is_set: bool


def shown(configuration: Configuration) -> Iterator[Shown]:
    """Yield all that is in force."""
    marks, variables = configuration.marks, configuration.variables
    for place, path, value in walk(configuration.redacted()):
        mark = marks.get(path)
        if value is None or mark is None:
            origin = _from_elsewhere(path) if value is not None else ""
            yield Shown(place, value, origin or "default", bool(origin))
            continue
        items = range(len(value)) if isinstance(value, list) else ()
        parts = [path, *((*path, index) for index in items)]
        names = "".join(f", ${{{name}}}" for part in parts for name in variables.get(part, ()))
        yield Shown(place, value, f"{configuration.file}:{mark.line}{names}", is_set=True)


def walk(tree: Mapping[str, Any]) -> Iterator[tuple[str, KeyPath, Any]]:
    """Yield the single values of what is shown: where each stands, in words and as a path.

    Items of lists that have a name stand under it: `senders[billing].limits.rate`.
    """
    yield from _walk(tree, "", ())


def spelled(value: Any) -> str:
    """Return a single value as a file would have it."""
    match value:
        case None:
            return _NONE
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(spelled, value))}]"
    return str(value)


def _from_elsewhere(path: KeyPath) -> str:
    match path:
        case ("hostname",):
            return "the name of the machine"
        case ("ses", "accounts", _, "region"):
            # Or ses.region, which is short for it.
            return "ses.region, AWS_REGION or AWS_DEFAULT_REGION"
    return ""


def _walk(value: Any, place: str, path: KeyPath) -> Iterator[tuple[str, KeyPath, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _walk(item, f"{place}.{key}" if place else str(key), (*path, key))
    elif _is_of_named(value):
        for index, item in enumerate(value):
            rest = {key: one for key, one in item.items() if key != "name"}
            yield from _walk(rest, f"{place}[{item['name']}]", (*path, index))
    else:
        yield place, path, value


def _is_of_named(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(item, Mapping) and "name" in item for item in value)
    )
