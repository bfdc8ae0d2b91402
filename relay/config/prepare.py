"""A file's values brought into the one form the model knows, before it judges them.

Keys without a value go, for they mean what their absence means; one item that stands for a list of
it becomes one. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from relay.config.complaint import KeyPath
from relay.config.model import Settings
from relay.config.shape import Listing, Shape, inside, shapes
from relay.config.source import Source


@dataclass(frozen=True, slots=True)
class Prepared:
    """A copy of a source's tree; `singles` are the paths where an item became a list of one."""

    tree: Any
    singles: frozenset[KeyPath]

    def written(self, path: KeyPath) -> KeyPath:
        """Return the path of a value as the file has it."""
        return path[:-1] if path[:-1] in self.singles else path


def prepare(source: Source) -> Prepared:
    """Copy the values of a source into the form of the model."""
    preparation = _Preparation(source.broken)
    tree = preparation.copy(source.tree, Settings, ())
    return Prepared(tree, frozenset(preparation.singles))


class _Preparation:
    def __init__(self, broken: Collection[KeyPath]) -> None:
        # Where None says that a value is unknown, not that there is none.
        self._broken = broken
        self.singles: set[KeyPath] = set()

    def copy(self, value: Any, shape: Shape | None, path: KeyPath) -> Any:
        match value:
            case list():
                return [
                    self.copy(item, inside(shape, index), (*path, index))
                    for index, item in enumerate(value)
                ]
            case None if isinstance(shape, type) and path not in self._broken:
                return {}
            case None:
                return None
        if isinstance(shape, Listing) and shape.or_one:
            self.singles.add(path)
            return [self.copy(value, shape.item, path)]
        return self._mapping(value, shape, path) if isinstance(value, dict) else value

    def _mapping(
        self, mapping: dict[str, Any], shape: Shape | None, path: KeyPath
    ) -> dict[str, Any]:
        known = shapes(shape) if isinstance(shape, type) else ()
        return {
            key: self.copy(item, inside(shape, key), (*path, key))
            for key, item in mapping.items()
            if item is not None or key not in known or (*path, key) in self._broken
        }
