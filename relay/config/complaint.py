"""What is wrong with a configuration, and where. Does not know YAML, the model or its rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way from the top of the file to a value: `("senders", 0, "limits", "rate")`."""

ANY: Final = "*"
"""Stands for every index of a list in a KeyPath that is used as a pattern."""

_PLAUSIBLE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Mark(NamedTuple):
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """One thing to mend, or to know of. Sorts by position. Never repeats a secret."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.message}"


class ConfigurationError(Exception):
    """A configuration that cannot be used; all that is wrong with it, in order of position."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints: tuple[Complaint, ...] = tuple(sorted(set(complaints)))
        super().__init__("\n".join(map(str, self.complaints)))


class Broken:
    """The paths whose value is unknown, because it could not be read or was not understood."""

    def __init__(self, paths: Iterable[KeyPath] = ()) -> None:
        exact = frozenset(paths)
        self._paths = exact | {
            tuple(ANY if isinstance(step, int) else step for step in path) for path in exact
        }
        self._above = {path[:length] for path in self._paths for length in range(len(path) + 1)}

    def touches(self, path: KeyPath) -> bool:
        """Whether what stands at a path (or pattern) is, holds, or is part of an unknown value."""
        return path in self._above or any(
            path[:length] in self._paths for length in range(len(path))
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says of a value, before it is given a position.

    `relies` names the values (or patterns of them) the check looked at: if one of those is unknown,
    the finding would be a guess, and is not told.
    """

    at: KeyPath
    message: str
    relies: tuple[KeyPath, ...]
    is_warning: bool = False

    def is_sound(self, broken: Broken) -> bool:
        """Whether all the finding relies on is known."""
        return not any(broken.touches(path) for path in self.relies)


def is_plausible(key: str) -> bool:
    """Whether a text may have been meant as a key.

    In `{login: x, secret_hash:$argon2id$...}` a space is missing and the "key" holds a secret, so
    what is not plausible is not repeated.
    """
    return _PLAUSIBLE_KEY.fullmatch(key) is not None


def spell(path: KeyPath) -> str:
    """Write a path as people do: `senders[0].limits.rate`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if is_plausible(step) else "?")
    return text
