"""Environment variables in text: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar sign.

Not recursive: what a variable holds is not looked into. Does not know YAML or where the text
stands. A dollar sign followed by neither `$` nor `{` is itself, so password hashes need no care.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_REFERENCE: Final = re.compile(r"\$(?:\$|\{(?P<body>[^}]*)(?P<end>\}?))")
_BODY: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)

MALFORMED: Final = (
    "'${' must be followed by a name and '}', as in ${NAME} or ${NAME:-default}; "
    "write $${ for the characters themselves"
)
NESTED: Final = "the default in ${NAME:-default} is taken as it stands and cannot hold another ${"


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A text with its variables filled in. `names` are those it mentions."""

    text: str
    names: tuple[str, ...]
    complaints: tuple[str, ...]


def interpolate(text: str, environ: Mapping[str, str]) -> Interpolated:
    """Fill in the variables of `text`; a complaint for each that has neither value nor default.

    As in a shell, a default also stands in for a variable that is set but empty.
    """
    names: list[str] = []
    complaints: list[str] = []

    def value(reference: re.Match[str]) -> str:
        body = reference["body"]
        if body is None:
            return "$"
        parts = _BODY.fullmatch(body)
        if "${" in body:
            complaints.append(NESTED)
        elif parts is None or not reference["end"]:
            complaints.append(MALFORMED)
        else:
            name, default = parts.group("name", "default")
            names.append(name)
            found = environ.get(name)
            if default is not None:
                return found or default
            if found is not None:
                return found
            complaints.append(
                f"the environment variable {name} is not set; "
                f"set it, or give a default with ${{{name}:-default}}"
            )
        return ""

    filled = _REFERENCE.sub(value, text)
    return Interpolated(filled, tuple(names), tuple(complaints))
