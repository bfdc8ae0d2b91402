"""`relay health`: whether the daemon on this machine is well, by an exit code.

Run every few seconds by container engines, so it loads next to nothing.
"""

from __future__ import annotations

from pathlib import Path

from relay.cli.client import AdminClient, AdminError
from relay.cli.exits import FOUND_BAD, OK
from relay.cli.words import say, show


def health(admin: Path, *, live: bool) -> int:
    """Ask whether mail is taken, or with `live` only whether a new start is needed."""
    try:
        answer = AdminClient(admin).ask("GET", "health")
    except AdminError as error:
        say(f"relay: {error}")
        return error.exit_code
    if answer["complaint"]:
        show(f"FAILED {answer['complaint']}")
        return FOUND_BAD
    if live:
        show("ok")
        return OK
    for name, passes in answer["checks"].items():
        show(f"{'ok' if passes else 'FAILED'} {name}")
    return OK if all(answer["checks"].values()) else FOUND_BAD
