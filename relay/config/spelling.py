"""How one kind of value is written: read, shown again, and described to an editor.

Knows pydantic's side of it. Does not know which kinds there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from relay.config import measures


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """How one kind of value is written: `read` takes the text, `show` gives it back.

    `takes` says whether YAML's own numbers or booleans are taken too; where text is wanted they are
    not, because YAML would already have lost the zeros of `007`. A number or boolean written as
    text is the same value, so that the environment, which knows only text, can give it.
    """

    kind: str
    read: Callable[[str], Any]
    grammar: Mapping[str, Any]
    explanation: str
    show: Callable[[Any], Any] = str
    takes: tuple[type, ...] = ()
    none: str | None = None
    """How None is written, where it is a value and not the lack of one."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self.spell),
        )

    def spell(self, value: object) -> Any:
        """Return a value as the file would have it."""
        return self.none if value is None else self.show(value)

    def validate(self, value: object) -> object:
        """Return what a plain value of the file means here."""
        match value:
            case str():
                return self.read(value)
            case bool() if bool in self.takes:
                return value
            case bool():
                raise ValueError(f"is a boolean, not {self.kind}")
            case int() | float() if int in self.takes:
                return self.read(str(value))
            case int() | float():
                hint = "" if "enum" in self.grammar else ": if it is meant, quote it"
                raise ValueError(f"is a number, not {self.kind}{hint}")
            case _:
                raise ValueError(f"is not {self.kind}")


def patterned(
    kind: str, read: Callable[[str], Any], pattern: str, explanation: str, **more: Any
) -> Spelling:
    """Spell a text that an editor can check by a pattern."""
    return Spelling(kind, read, {"type": "string", "pattern": pattern}, explanation, **more)


def free(kind: str, read: Callable[[str], Any], explanation: str) -> Spelling:
    """Spell a text whose grammar is beyond a pattern."""
    return Spelling(kind, read, {"type": "string", "minLength": 1}, explanation)


def words(choices: type[StrEnum]) -> Spelling:
    """Spell a closed set of words."""
    return Spelling(
        f"one of {', '.join(choices)}",
        lambda text: measures.word(text, choices),
        {"enum": list(choices)},
        "",
    )
