"""The model seen as a tree of keys: for the schema, for suggestions, for the reference file's test.

Reads the model's annotations; does not know any file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from relay.config.complaint import KeyPath
from relay.config.model import Settings
from relay.config.part import OrOne, Part
from relay.config.spelling import Spelling


@dataclass(frozen=True, slots=True)
class Listing:
    """A list; all its items have one shape. `or_one`: one item may stand for a list of it."""

    item: Shape
    or_one: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping whose keys the operator chooses."""

    key: Spelling
    value: Shape


Shape: TypeAlias = Spelling | type[Part] | Listing | Table


@cache
def keys(part: type[Part]) -> Mapping[str, FieldInfo]:
    """Return the keys of a mapping as the file spells them, in order."""
    return {field.alias or name: field for name, field in part.model_fields.items()}


@cache
def shapes(part: type[Part]) -> Mapping[str, Shape]:
    """Return what stands behind each key of a mapping."""
    return {key: shape_of(field) for key, field in keys(part).items()}


def shape_of(field: FieldInfo) -> Shape:
    """Return what stands behind a key."""
    return _shape(field.annotation, field.metadata)


def inside(shape: Shape | None, step: str | int) -> Shape | None:
    """Return what the model expects one step further, or None where it expects nothing."""
    match shape:
        case Listing() if isinstance(step, int):
            return shape.item
        case Table() if isinstance(step, str):
            return shape.value
        case type():
            return shapes(shape).get(str(step))
    return None


def shape_at(path: KeyPath) -> Shape | None:
    """Return what the model expects at a path, or None where it expects nothing."""
    shape: Shape | None = Settings
    for step in path:
        shape = inside(shape, step)
    return shape


def default_of(field: FieldInfo) -> str | int | bool | None:
    """Return a key's default as the file would spell it; None where it has none of its own.

    Sections and lists have none: theirs are the defaults of their keys, and nothing.
    """
    shape = shape_of(field)
    if field.is_required() or not isinstance(shape, Spelling):
        return None
    default: str | int | bool | None = shape.spell(field.default)
    return default


def _shape(annotation: Any, metadata: Sequence[object] = ()) -> Shape:
    for item in metadata:
        if isinstance(item, Spelling):
            return item
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shape(args[0], args[1:])
    if origin in (Union, UnionType):
        return _shape(next(arg for arg in args if arg is not NoneType))
    if origin is tuple:
        return Listing(_shape(args[0]), any(isinstance(item, OrOne) for item in metadata))
    if origin is Mapping:
        key = _shape(args[0])
        if isinstance(key, Spelling):
            return Table(key, _shape(args[1]))
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    raise TypeError(f"the model holds {annotation}, which no file can spell")
