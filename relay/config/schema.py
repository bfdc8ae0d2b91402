"""The JSON Schema of the file, for editors: completion, hover texts, errors while typing.

Draft 7, the newest that yaml-language-server reads in full. Made of the model, so it cannot say
anything else; `python -m relay.config.schema` prints it. Cannot express how keys must fit together.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final

from pydantic.fields import FieldInfo

from relay.config.model import Settings
from relay.config.part import Part
from relay.config.shape import Listing, Shape, Table, default_of, keys, shape_of
from relay.config.spelling import Spelling

# A value with a variable in it has any form until it is loaded; `$$` stands for one `$`.
_VARIABLE: Final = {
    "type": "string",
    "pattern": r"\$(\$|\{)",
    "description": "${NAME} or ${NAME:-default}: filled in from the environment.",
}
_OR_VARIABLE: Final = {"$ref": "#/definitions/variable"}


def json_schema() -> dict[str, Any]:
    """Return the schema of the whole file."""
    definitions: dict[str, Any] = {"variable": _VARIABLE}
    section = _section(Settings, definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "SES relay configuration",
        **section,
        "definitions": dict(sorted(definitions.items())),
    }


def render() -> str:
    """Return the schema as it stands in config/relay.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _section(part: type[Part], definitions: dict[str, Any]) -> dict[str, Any]:
    fields = keys(part)
    schema: dict[str, Any] = {
        "description": part.__doc__,
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _property(field, definitions) for key, field in fields.items()},
    }
    required = [key for key, field in fields.items() if field.is_required()]
    return {**schema, "required": required} if required else schema


def _property(field: FieldInfo, definitions: dict[str, Any]) -> dict[str, Any]:
    shape = shape_of(field)
    schema = _schema(shape, definitions)
    least = max((getattr(item, "min_length", 0) for item in field.metadata), default=0)
    if isinstance(shape, Listing) and least:
        # Where one item may stand for the list, the list is the last of the choices.
        schema.get("anyOf", [schema])[-1]["minItems"] = least
    if not field.is_required():
        schema = _or_nothing(schema)
    default = default_of(field)
    shown = {} if default is None else {"default": default}
    return {**schema, "description": field.description, **shown}


def _or_nothing(schema: dict[str, Any]) -> dict[str, Any]:
    """Let a key stand without a value: it means the same as no key."""
    nothing = {"type": "null"}
    match schema:
        case {"type": str() as kind}:
            return {**schema, "type": [kind, "null"]}
        case {"anyOf": [*choices]}:
            return {**schema, "anyOf": [*choices, nothing]}
    return {"anyOf": [schema, nothing]}


def _schema(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    match shape:
        case Spelling():
            return _scalar(shape, definitions)
        case Listing():
            item = _schema(shape.item, definitions)
            several = {"type": "array", "items": item}
            return {"anyOf": [item, several]} if shape.or_one else several
        case Table():
            item = _schema(shape.value, definitions)
            return {
                "type": "object",
                "propertyNames": _grammar(shape.key),
                "additionalProperties": item
                if isinstance(shape.value, Spelling)
                else _or_nothing(item),
            }
        case _:
            return _section(shape, definitions)


def _scalar(spelling: Spelling, definitions: dict[str, Any]) -> dict[str, Any]:
    if "enum" in spelling.grammar:
        return {"anyOf": [_grammar(spelling), _OR_VARIABLE]}
    name = re.sub(r"^an? ", "", spelling.kind).replace(" ", "-")
    definitions[name] = {
        "anyOf": [_grammar(spelling), _OR_VARIABLE],
        "description": spelling.explanation,
    }
    # In draft 7 nothing beside a $ref counts, so it stands in a list of one.
    return {"allOf": [{"$ref": f"#/definitions/{name}"}]}


def _grammar(spelling: Spelling) -> dict[str, Any]:
    grammar = dict(spelling.grammar)
    if "pattern" in grammar:
        grammar["pattern"] = f"^(?:{grammar['pattern']})$"
    return grammar


if __name__ == "__main__":
    sys.stdout.write(render())
