"""Faults as JSON, for the simulator's HTTP API.

`{"kind": "refuse", "code": "Throttling", "text": "...", "status": 400, "times": 3,
"action": "SendRawEmail", "recipient": "@example.net"}`. Strict: what it does not know it refuses.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from relay.simulator.faults import (
    SERVICE_DOWN_PAGE,
    Act,
    CutAnswer,
    Delay,
    Fault,
    Garble,
    Hang,
    LoseAnswer,
    Refuse,
    ResetUnread,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class _Node:
    """The keys of a JSON object; each is asked for once, and none may be left over."""

    def __init__(self, given: object) -> None:
        if not isinstance(given, dict):
            raise ValueError("a fault is an object")  # noqa: TRY004 - one kind of complaint
        self._left: dict[str, object] = dict(given)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._take(name, default)
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a string")  # noqa: TRY004
        return value

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self._left.get(name) is not None else None

    def integer(self, name: str, default: int) -> int:
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number")  # noqa: TRY004
        return value

    def seconds(self, name: str) -> timedelta:
        value = self._take(name, None)
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} must be a number of seconds")
        return timedelta(seconds=value)

    def flag(self, name: str) -> bool:
        value = self._take(name, default=False)
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false")  # noqa: TRY004
        return value

    def finish(self) -> None:
        if self._left:
            raise ValueError(f"unknown: {', '.join(sorted(self._left))}")

    def _take(self, name: str, default: object) -> object:
        return self._left.pop(name, default)


_READERS: Final[Mapping[str, Callable[[_Node], Act]]] = {
    "refuse": lambda node: Refuse(
        node.text("code"), node.text("text", ""), node.integer("status", 400)
    ),
    "garble": lambda node: Garble(
        node.integer("status", 503),
        node.text("body", SERVICE_DOWN_PAGE),
        node.text("content_type", "text/html"),
    ),
    "delay": lambda node: Delay(node.seconds("by")),
    "hang": lambda node: Hang(accepted=node.flag("accepted")),
    "reset-unread": lambda _: ResetUnread(),
    "lose-answer": lambda _: LoseAnswer(),
    "cut-answer": lambda node: CutAnswer(node.integer("keep", 20)),
}
_KINDS: Final[Mapping[type[Act], str]] = {
    Refuse: "refuse",
    Garble: "garble",
    Delay: "delay",
    Hang: "hang",
    ResetUnread: "reset-unread",
    LoseAnswer: "lose-answer",
    CutAnswer: "cut-answer",
}


def fault_from(given: object) -> Fault:
    """The fault that a JSON object describes; ValueError says what is wrong with it."""
    node = _Node(given)
    reader = _READERS.get(node.text("kind", ""))
    if reader is None:
        raise ValueError(f"kind must be one of {', '.join(_READERS)}")
    fault = Fault(
        act=reader(node),
        times=node.integer("times", 1),
        action=node.optional_text("action"),
        recipient=node.optional_text("recipient"),
    )
    node.finish()
    return fault


def fault_to_json(fault: Fault, left: int) -> dict[str, object]:
    """What `fault_from` would read; `times` is how often it still happens."""
    act = {
        name: value.total_seconds() if isinstance(value, timedelta) else value
        for name, value in asdict(fault.act).items()
    }
    limits = {"action": fault.action, "recipient": fault.recipient}
    given = {name: value for name, value in limits.items() if value is not None}
    return {"kind": _KINDS[type(fault.act)], **act, "times": left, **given}
