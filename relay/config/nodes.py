"""The grammar of YAML: from text to nodes with their places, aliases resolved.

Refuses what a configuration does not need: tags, several documents, an alias inside its own anchor.
Does not know what a scalar means; relay.config.source does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from relay.config.complaint import Mark
from relay.config.syntax import explain, place

# The deepest key of the model is at 6.
DEPTH_LIMIT: Final = 20

_TEXT_TAG: Final = "tag:yaml.org,2002:str"


class UnreadableError(Exception):
    """Reading ends here; nothing behind this place is known."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


@dataclass(frozen=True, slots=True)
class TextNode:
    """A scalar as it is written; `is_plain` when neither quoted nor in a block."""

    mark: Mark
    text: str
    is_plain: bool


@dataclass(frozen=True, slots=True)
class ListNode:
    """A sequence."""

    mark: Mark
    items: list[Node]


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping; its keys in order, duplicates included."""

    mark: Mark
    items: list[tuple[Node, Node]]


@dataclass(frozen=True, slots=True)
class BadNode:
    """A value that is legal YAML and not accepted here."""

    mark: Mark
    complaint: str


Node: TypeAlias = TextNode | ListNode | MappingNode | BadNode


def compose(text: str) -> Node:
    """Return the one document of a text; an empty text is an empty mapping."""
    return _Composition(text).root()


class _Events(Reader, Scanner, Parser):
    """PyYAML's tokens and grammar, without its ideas of what a scalar means."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


class _Composition:
    def __init__(self, text: str) -> None:
        self._text = text
        self._events = _Events(text)
        # None while the anchored value is still being read.
        self._anchors: dict[str | None, Node | None] = {}

    def root(self) -> Node:
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return MappingNode(Mark(1, 1), [])
        node = self._node(self._next(), 0)
        self._next()  # the end of the document
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            message = "a configuration is one YAML document; a second one starts here"
            raise UnreadableError(place(after.start_mark), message)
        return node

    def _next(self) -> yaml.Event:
        try:
            event: yaml.Event = self._events.get_event()  # type: ignore[no-untyped-call]
        except yaml.MarkedYAMLError as error:
            raise UnreadableError(*explain(error, self._text)) from None
        except (yaml.YAMLError, ValueError, OverflowError):
            # Such as the escape "\UFFFFFFFF", which is no character.
            raise UnreadableError(
                place(self._events.get_mark()), "this escape stands for no character"
            ) from None
        return event

    def _node(self, event: yaml.Event, depth: int) -> Node:
        mark = place(event.start_mark)
        if depth > DEPTH_LIMIT:
            raise UnreadableError(mark, f"values are nested more than {DEPTH_LIMIT} deep")
        if isinstance(event, yaml.AliasEvent):
            unknown = BadNode(mark, "no anchor ('&') of this name stands above")
            node = self._anchors.get(event.anchor, unknown)
            return node or BadNode(mark, "this alias stands inside what it is an alias of")
        anchor = event.anchor if isinstance(event, yaml.NodeEvent) else None
        if anchor is not None:
            self._anchors[anchor] = None
        node = self._content(event, mark, depth)
        tag = getattr(event, "tag", None)
        if tag is not None and not (tag == _TEXT_TAG and isinstance(node, TextNode)):
            node = BadNode(mark, "tags ('!') are not accepted; quote a value that starts with '!'")
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _content(self, event: yaml.Event, mark: Mark, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            is_plain = event.style is None and event.tag is None
            return TextNode(mark, event.value, is_plain)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(after := self._next(), yaml.SequenceEndEvent):
                items.append(self._node(after, depth + 1))
            return ListNode(mark, items)
        pairs: list[tuple[Node, Node]] = []
        while not isinstance(after := self._next(), yaml.MappingEndEvent):
            key = self._node(after, depth + 1)
            pairs.append((key, self._node(self._next(), depth + 1)))
        return MappingNode(mark, pairs)
