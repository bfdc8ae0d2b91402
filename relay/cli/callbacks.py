"""What the verbs about callbacks do: ask the daemon, show the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay.cli.exits import FOUND_BAD, USAGE
from relay.cli.verbs import asking
from relay.cli.words import fail, say, show_json, show_table


def list_all(admin: Path, *, dead: bool, as_json: bool) -> None:
    """List what applications have not been told yet."""
    with asking(admin) as daemon:
        found = daemon.pages("callbacks", "callbacks", {"dead": "true"} if dead else None)
        if as_json:
            show_json(found)
            return
        show_table(
            ("ID", "SENDER", "KIND", "MADE", "TRIED", "NEXT", "COMPLAINT"),
            (
                [
                    one["id"],
                    one["sender"],
                    one["kind"],
                    one["made_at"][:19],
                    str(one["attempts"]),
                    "dead" if one["due_at"] is None else one["due_at"][:19],
                    one["complaint"],
                ]
                for one in found
            ),
        )


def replay(admin: Path, ids: Sequence[str], sender: str, *, everything: bool) -> None:
    """Tell dead ones again."""
    if [bool(ids), bool(sender), everything].count(True) != 1:
        fail("say which: ids, --sender, or --all; one of them", USAGE)
    body: dict[str, Any] = {"ids": list(ids)} if ids else {"all": True}
    if sender:
        body = {"sender": sender}
    with asking(admin) as daemon:
        count = daemon.ask("POST", "callbacks", "replay", body=body)["replayed"]
    if not count:
        fail("there is none that was given up", FOUND_BAD)
    say(f"{count} callbacks are told again")
