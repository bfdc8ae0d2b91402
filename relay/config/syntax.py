"""What PyYAML says of a file it cannot read, in words that say what to do about it.

No more of the file is repeated than a single character: more could be a secret.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

import yaml

from relay.config.complaint import Mark

_TAB: Final = "a tab stands where YAML wants spaces; use spaces"
_INDENTATION: Final = (
    "this does not fit what stands above it: check the indentation, and that nothing follows a "
    "quoted value or a closed list on its line"
)
_COLON: Final = (
    "a ':' does not fit here: check the indentation, that every ':' above is followed by a space, "
    "and that values containing ': ' are quoted"
)
_ONE_DOCUMENT: Final = (
    "this does not belong to what stands above it: check its indentation; a configuration is one "
    "YAML document"
)
_ESCAPE: Final = "inside double quotes a backslash starts an escape; write \\\\, or single quotes"
_DIRECTIVE: Final = "lines that start with '%' mean something to YAML; remove this one"

# Tried in this order on PyYAML's "context: problem". PyYAML has no codes, only texts; each row is
# tested against the release installed.
_WORDS: Final = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"scanning a directive|directive$|incompatible YAML|duplicate tag handle", _DIRECTIVE),
        (r"scanning an alias", "a value cannot start with '*' unless it is quoted"),
        (r"scanning an anchor", "a value cannot start with '&' unless it is quoted"),
        (r"(parsing|scanning) a tag|tag handle", "a value cannot start with '!' unless quoted"),
        (r"block scalar", "a value cannot start with '|' or '>' unless it is quoted"),
        (r"escape", _ESCAPE),
        (r"mapping values are not allowed", _COLON),
        (r"mapping keys are not allowed", "a value cannot start with '? ' unless it is quoted"),
        (r"sequence entries are not allowed", "a '- ' must stand at the start of its own line"),
        (r"expected <block end>", _INDENTATION),
        (r"document (start|separator)", _ONE_DOCUMENT),
        (
            r"expected the node content",
            "a value is missing here, or it starts with a character that must be quoted",
        ),
    )
)
_UNKNOWN: Final = "this is not YAML"


class _Counted(Protocol):
    line: int
    column: int


def place(mark: _Counted | None) -> Mark:
    """Return a PyYAML mark as people count."""
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[Mark, str]:
    """Return where to look and what to do."""
    context, problem = error.context or "", error.problem or ""
    mark = error.problem_mark
    if mark is None:
        return Mark(1, 1), _UNKNOWN
    start = error.context_mark or mark
    if "cannot start any token" in problem:
        return place(mark), _cannot_start(text[mark.index : mark.index + 1])
    if problem.startswith("expected ',' or"):
        if text.startswith("${", mark.index - 1):
            return place(mark), "quote ${...} inside [ ] and { }"
        if mark.line != start.line:
            return place(start), f"this '{text[start.index]}' is never closed"
        return place(mark), "a ',' is missing here, or a value in this list must be quoted"
    if "could not find expected ':'" in problem:
        return place(start), "a key must be followed by ':' and a space"
    if "quoted scalar" in context and "end of stream" in problem:
        return place(start), "this quote is never closed"
    if "node content" in problem and text.startswith("[::]", mark.index - 1):
        return place(mark), 'quote an address with brackets, as in "[::]:25"'
    said = f"{context}: {problem}"
    words = (words for pattern, words in _WORDS if pattern.search(said))
    return place(mark), next(words, _UNKNOWN)


def _cannot_start(char: str) -> str:
    if char == "\t":
        return _TAB
    example = ', as in "@example.com"' if char == "@" else ""
    return f"a value cannot start with '{char}' unless it is quoted{example}"
