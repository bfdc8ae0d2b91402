"""`relay log-level`, `trace-smtp` and `selftest`: what operators watch a running daemon with."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from relay.cli.client import AdminClient, AdminError
from relay.cli.exits import FOUND_BAD, OK, USAGE
from relay.cli.words import clean, fail, say, show, show_json
from relay.config.measures import duration

_STEPS: Final = {
    "queued": "is on disk",
    "ambiguous": "may have been taken by SES",
    "deferred": "was deferred",
    "relayed": "was taken by SES",
    "sent": "was accepted, says SES",
    "delivered": "was delivered, says SES",
}


def log_level(admin: Path, level: str, length: str) -> None:
    """Show the level of the log, or change it for a while."""
    try:
        client = AdminClient(admin)
        if not level:
            answer = client.ask("GET", "log-level")
        elif level == "reset":
            answer = client.ask("DELETE", "log-level")
        else:
            body = {"level": level, "seconds": _seconds(length)}
            answer = client.ask("PUT", "log-level", body=body)
    except AdminError as error:
        fail(str(error), error.exit_code)
    until = f" until {answer['until'][:19]}Z" if answer["until"] else ""
    show(f"{answer['level']}{until}")


def trace_smtp(admin: Path, client: str, length: str, *, as_json: bool) -> None:
    """Show what clients say and hear, until the time is over or Ctrl-C."""
    query: dict[str, str | float] = {"client": client, "seconds": _seconds(length)}
    say(f"watching {client}; Ctrl-C ends it. C: client, S: relay, ***: what happens")
    try:
        for line in AdminClient(admin).lines("GET", "dialogues", query=query):
            if "missed" in line:
                say(f"relay: {line['missed']} lines came too fast to be shown")
            elif as_json and line:
                show_json([line])
            elif line:
                show(clean(_spoken(line)))
            sys.stdout.flush()
    except AdminError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return


def _spoken(line: Mapping[str, Any]) -> str:
    speaker = line["speaker"]
    mark = "***" if speaker == "*" else f"{speaker}:"
    return f"{line['session_id']} {line['peer']} +{line['at']:.3f} {mark} {line['text']}"


def selftest(admin: Path, sender: str, address: str, length: str, *, as_json: bool) -> int:
    """Send a mail to the mailbox simulator and see it come back; return an exit code."""
    body = {"sender": sender, "address": address, "seconds": _seconds(length)}
    end: Mapping[str, Any] = {"ended": False, "complaint": "the daemon went away in the middle"}
    try:
        for line in AdminClient(admin).lines("POST", "selftest", body=body):
            if not line:
                continue
            if as_json:
                show_json([line])
            if "ended" in line:
                end = line
            elif not as_json:
                words = _STEPS.get(line["step"], line["step"])
                more = line.get("queue_id") or line.get("detail", "")
                show(clean(f"{line['seconds']:>8.3f} s  {words}  {more}".rstrip()))
    except AdminError as error:
        fail(str(error), error.exit_code)
    if end["complaint"] and not as_json:
        say(f"relay: {clean(end['complaint'])}")
    return OK if end["ended"] else FOUND_BAD


def _seconds(length: str) -> float:
    try:
        found: timedelta = duration(length)
    except ValueError as error:
        fail(f"{length} {error}", USAGE)
    return found.total_seconds()
