"""A YAML file as plain values, each with the place it stands at.

Scalars are those of YAML 1.2 (core schema): only true and false are booleans, `off`, `no` and `on`
are text, `1:30` is text, `010` is ten, and there are no dates. Does not know which keys mean what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from relay.config.complaint import Complaint, KeyPath, Mark, spell
from relay.config.environment import interpolate
from relay.config.nodes import (
    DEPTH_LIMIT,
    ListNode,
    MappingNode,
    Node,
    TextNode,
    UnreadableError,
    compose,
)

# Aliases of aliases make a few lines stand for billions of values; this many are enough.
VALUE_LIMIT: Final = 200_000

_CONSTANTS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Longer digit strings stay text: no figure of ours is that long, and Python refuses them.
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,300}")
_BASED: Final = re.compile(r"0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
_FLOAT: Final = re.compile(
    r"(?=.*[.eE])[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)

# Control characters, the line breaks only some readers know, and halves of characters.
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNFIT_IN_FILE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Source:
    """What was read. `broken` are the paths whose value is unknown; each has its complaint.

    `tree` is made of dict, list, str, int, float, bool and None; `variables` tells which values
    came from the environment.
    """

    file: str
    tree: object = None
    values: Mapping[KeyPath, Mark] = field(default_factory=dict)
    keys: Mapping[KeyPath, Mark] = field(default_factory=dict)
    variables: Mapping[KeyPath, tuple[str, ...]] = field(default_factory=dict)
    broken: frozenset[KeyPath] = frozenset()
    complaints: tuple[Complaint, ...] = ()

    def complaint(self, path: KeyPath, message: str, *, at_key: bool = False) -> Complaint:
        """Return a complaint about a value, or its key, or what is nearest where neither stands."""
        mark = self.keys.get(path) if at_key else None
        near = path
        while mark is None:
            mark = self.values.get(near, None if near else Mark(1, 1))
            near = near[:-1]
        return Complaint(self.file, *mark, spell(path), message)


def read(text: str, *, file: str, environ: Mapping[str, str]) -> Source:
    """Read a file's text. A syntax error leaves no tree, only complaints."""
    unfit = _UNFIT_IN_FILE.search(text)
    if unfit is not None:
        mark = position(text, unfit.start())
        what = f"the character U+{ord(unfit.group()):04X} has no place in a configuration"
        return Source(file, complaints=(Complaint(file, *mark, "", what),))
    expansion = _Expansion(file, environ)
    try:
        tree = expansion.value(compose(text), ())
    except UnreadableError as error:
        last = Complaint(file, *error.mark, "", error.message)
        return Source(file, complaints=(*expansion.complaints, last))
    return Source(
        file,
        tree,
        expansion.values,
        expansion.keys,
        expansion.variables,
        frozenset(expansion.broken),
        tuple(expansion.complaints),
    )


def position(text: str, index: int) -> Mark:
    """Return where a character stands."""
    line_start = text.rfind("\n", 0, index) + 1
    return Mark(text.count("\n", 0, index) + 1, index - line_start + 1)


def plain(text: str) -> str | int | float | bool | None:
    """Return what an unquoted scalar means in the core schema of YAML 1.2 (section 10.3.2)."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Expansion:
    """From nodes to plain values: aliases spelled out, variables filled in, places noted."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ
        self.values: dict[KeyPath, Mark] = {}
        self.keys: dict[KeyPath, Mark] = {}
        self.variables: dict[KeyPath, tuple[str, ...]] = {}
        self.broken: set[KeyPath] = set()
        self.complaints: list[Complaint] = []

    def value(self, node: Node, path: KeyPath) -> object:
        """Return the plain value of a node."""
        if len(path) > DEPTH_LIMIT or len(self.values) >= VALUE_LIMIT:
            raise UnreadableError(node.mark, "the aliases of this file stand for too much")
        self.values[path] = node.mark
        if isinstance(node, TextNode):
            return self._scalar(node, path)
        if isinstance(node, ListNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.items)]
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        self._break(node.mark, path, node.complaint)
        return None

    def _complain(self, mark: Mark, path: KeyPath, message: str) -> None:
        self.complaints.append(Complaint(self._file, *mark, spell(path), message))

    def _break(self, mark: Mark, path: KeyPath, message: str) -> None:
        self.broken.add(path)
        self._complain(mark, path, message)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, item in node.items:
            if not isinstance(key, TextNode):
                self._complain(key.mark, path, "a key must be plain text")
                continue
            here = (*path, key.text)
            if _UNFIT.search(key.text):
                self._complain(key.mark, path, "a key holds a line break or a control character")
            elif key.text == "<<" and key.is_plain:
                # What it would have brought in is not known, so neither is the mapping.
                message = "merge keys ('<<') are not accepted; write the keys out"
                self._break(key.mark, path, message)
            elif here in self.keys:
                line = self.keys[here].line
                self._complain(key.mark, here, f"this key was given already, in line {line}")
            else:
                self.keys[here] = key.mark
                found[key.text] = self.value(item, here)
        return found

    def _scalar(self, node: TextNode, path: KeyPath) -> object:
        filled = interpolate(node.text, self._environ)
        if filled.names:
            self.variables[path] = filled.names
        for complaint in filled.complaints:
            self._break(node.mark, path, complaint)
        if filled.complaints:
            return None
        if _UNFIT.search(filled.text):
            names = ", ".join(f"${{{name}}}" for name in filled.names)
            what = f"the value of {names}" if names else "the value"
            self._break(node.mark, path, f"{what} holds a line break or a control character")
            return None
        if filled.text != node.text:
            # Never read again as YAML: it stays text. Nothing left of it means "not given".
            return filled.text or None
        return plain(node.text) if node.is_plain else node.text
