"""The mail log as sentences, for `relay demo`: one readable line per fact. Knows event names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

_GREEN: Final = "32"
_YELLOW: Final = "33"
_RED: Final = "31"
_BLUE: Final = "36"


def _accepted(event: Mapping[str, Any]) -> str:
    to = ", ".join(event["recipients"])
    return f"from {event['reverse_path']} to {to}, {event['size']} octets, safe on disk"


def _relayed(event: Mapping[str, Any]) -> str:
    return f"to {event['recipient']}: SES took it as {event['ses_message_id']}"


def _answered(event: Mapping[str, Any]) -> str:
    due = f"; tried again at {event['due_at'][11:19]} UTC" if event.get("due_at") else ""
    return f"to {event['recipient']}: {event['reply']}{due}"


def _refused(event: Mapping[str, Any]) -> str:
    who = f" {event['address']}" if event["address"] else ""
    return f"{event['phase'].upper()}{who}: {event['reply']}"


def _feedback(event: Mapping[str, Any]) -> str:
    said = event["diagnostic"] or event["detail"]
    return f"{event['recipient']}: {said}" if said else str(event["recipient"])


def _suppressed(event: Mapping[str, Any]) -> str:
    return f"{event['recipient']} will be refused from now on: {event['detail']}"


# Event name -> the word its line starts with, its colour, and its sentence.
_STORY: Final[dict[str, tuple[str, str, Callable[[Mapping[str, Any]], str]]]] = {
    "mail.queued": ("accepted", _BLUE, _accepted),
    "mail.relayed": ("relayed", _GREEN, _relayed),
    "mail.deferred": ("deferred", _YELLOW, _answered),
    "mail.failed": ("failed", _RED, _answered),
    "mail.expired": ("expired", _RED, _answered),
    "mail.refused": ("refused", _RED, _refused),
    "feedback.delivery": ("delivered", _GREEN, _feedback),
    "feedback.bounce": ("bounced", _RED, _feedback),
    "feedback.complaint": ("complained", _RED, _feedback),
    "feedback.reject": ("rejected", _RED, _feedback),
    "feedback.delivery_delay": ("delayed", _YELLOW, _feedback),
    "suppression.added": ("suppressed", _YELLOW, _suppressed),
    "suppression.removed": ("unsuppressed", _YELLOW, lambda event: str(event["recipient"])),
    "feedback.refused": ("refused", _RED, lambda event: f"feedback: {event['complaint']}"),
    "relay.subscribed": ("subscribed", _BLUE, lambda event: str(event["topic"])),
    "relay.draining": (
        "draining",
        _BLUE,
        lambda event: (
            "no new connections; what is under way is finished, "
            f"calls to SES among it: {event['in_flight']}"
        ),
    ),
    "relay.stopped": ("stopped", _BLUE, lambda event: f"mail left in the spool: {event['queued']}"),
}
_ID_LENGTH: Final = 20


def sentence(event: MutableMapping[str, Any], *, colour: bool) -> str:
    """Return the line of one log event; empty for what the story leaves out."""
    told = _STORY.get(str(event["event"]))
    if told is None:
        return _plain(event) if event["level"] in ("warning", "error") else ""
    word, paint, words = told
    shown = f"\x1b[{paint}m{word:<12}\x1b[0m" if colour else f"{word:<12}"
    return f"{shown} {event.get('queue_id') or '':<{_ID_LENGTH}} {words(event)}"


def _plain(event: Mapping[str, Any]) -> str:
    left_out = {"event", "level", "timestamp", "exc_info"}
    words = " ".join(f"{key}={value}" for key, value in event.items() if key not in left_out)
    error = event.get("exc_info")
    return f"{event['event']:<12} {words}{f' {error!r}' if error else ''}"
