"""What the verbs do: ask the daemon, show the answer. Knows no daemon internals."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay.cli.client import AdminClient, AdminError
from relay.cli.exits import CONFIGURATION, FOUND_BAD, USAGE
from relay.cli.words import fail, say, show, show_json, show_table


@contextmanager
def _asking(admin: Path) -> Iterator[AdminClient]:
    try:
        yield AdminClient(admin)
    except AdminError as error:
        fail(str(error), error.exit_code)


def reload(admin: Path) -> None:
    """Ask the daemon to load its configuration again."""
    with _asking(admin) as daemon:
        answer = daemon.ask("POST", "reload")
    for warning in answer["warnings"]:
        say(f"warning: {warning}")
    for complaint in answer["complaints"]:
        say(complaint)
    if answer["complaints"]:
        fail("the configuration was refused; the previous one is still in force", CONFIGURATION)
    say("the new configuration is in force")


def status(admin: Path, *, as_json: bool) -> None:
    """Show what the daemon says of itself."""
    with _asking(admin) as daemon:
        answer = daemon.ask("GET", "status")
    if as_json:
        show_json([answer])
        return
    for name, value in answer.items():
        if isinstance(value, dict):
            show(f"{name}:")
            for key, item in value.items():
                show(f"  {key}: {item}")
        else:
            show(f"{name}: {value}")


def list_queue(admin: Path, *, as_json: bool) -> None:
    """List the spool."""
    with _asking(admin) as daemon:
        entries = daemon.pages("queue", "entries", "queue_id")
        if as_json:
            show_json(entries)
            return
        show_table(
            ("QUEUE ID", "STATE", "DUE", "SENDER", "FROM", "TO", "SIZE", "REASON"),
            ([e[k] or "" for k in ("queue_id", "state")] + _entry_row(e) for e in entries),
        )


def _entry_row(entry: dict[str, Any]) -> list[str]:
    addresses = [one["address"] for one in entry["recipients"]]
    more = f" +{len(addresses) - 1}" if len(addresses) > 1 else ""
    due = (entry["due_at"] or "-")[:19]
    to = addresses[0] + more if addresses else "-"
    return [
        due,
        entry["sender"],
        entry["reverse_path"] or "<>",
        to,
        str(entry["size"]),
        entry["reason"],
    ]


def show_entry(admin: Path, queue_id: str, *, as_json: bool) -> None:
    """Show one entry."""
    with _asking(admin) as daemon:
        entry = daemon.ask("GET", "queue", queue_id)
    if as_json:
        show_json([entry])
    else:
        _show_entry(entry)


def _show_entry(entry: dict[str, Any]) -> None:
    for name in ("queue_id", "state", "reason", "due_at", "sender", "reverse_path", "arrived_at"):
        show(f"{name + ':':<14}{entry[name] or '-'}")
    show(f"{'size:':<14}{entry['size']} octets")
    for one in entry["recipients"]:
        reason = f" ({one['reason']})" if one["reason"] else ""
        show(f"{'recipient:':<14}{one['address']} {one['state']}, {one['attempts']} tried{reason}")


def retry(admin: Path, queue_ids: Sequence[str]) -> None:
    """Make entries due now; one that cannot be does not keep the others from it."""
    worst = 0
    for queue_id in queue_ids:
        try:
            answer = AdminClient(admin).ask("POST", "queue", queue_id, "retry")
        except AdminError as error:
            say(f"{queue_id}: {error}")
            worst = max(worst, error.exit_code)
        else:
            say(f"{answer['queue_id']}: {answer['state']}")
    if worst:
        sys.exit(worst)


def trace(admin: Path, key: str, *, as_json: bool) -> None:
    """Tell the life of a mail."""
    with _asking(admin) as daemon:
        answer = daemon.ask("GET", "trace", key)
    entries, lines = answer["entries"], answer["lines"]
    if as_json:
        show_json({"type": "entry", **entry} for entry in entries)
        show_json({"type": "fact", **line} for line in lines)
    else:
        for entry in entries:
            _show_entry(entry)
        if lines:
            _show_lines(lines)
    if not entries and not lines:
        fail("nothing is known of it", FOUND_BAD)


def _show_lines(lines: Sequence[dict[str, Any]]) -> None:
    show_table(
        ("AT", "FACT", "QUEUE ID", "RECIPIENT", "SES MESSAGE ID", "DETAIL"),
        (
            [
                line["at"][:19],
                line["fact"],
                line["queue_id"],
                line["recipient"],
                line["ses_message_id"],
                line["detail"],
            ]
            for line in lines
        ),
    )


def list_suppressions(admin: Path, *, as_json: bool) -> None:
    """List the suppression list."""
    with _asking(admin) as daemon:
        found = daemon.pages("suppressions", "suppressions", "address")
        if as_json:
            show_json(found)
            return
        show_table(
            ("ADDRESS", "REASON", "SINCE", "DETAIL"),
            ([one["address"], one["reason"], one["since"][:10], one["detail"]] for one in found),
        )


def show_suppression(admin: Path, address: str, *, as_json: bool) -> None:
    """Show one entry of the suppression list."""
    with _asking(admin) as daemon:
        found = daemon.ask("GET", "suppressions", address)
    if as_json:
        show_json([found])
        return
    for name, value in found.items():
        show(f"{name + ':':<10}{value or '-'}")


def suppress(admin: Path, address: str, reason: str) -> None:
    """Put an address on the list."""
    with _asking(admin) as daemon:
        answer = daemon.ask("PUT", "suppressions", address, body={"reason": reason})
    say(f"{answer['address']} is suppressed")


def unsuppress(admin: Path, address: str, reason: str) -> None:
    """Take an address off the list."""
    with _asking(admin) as daemon:
        answer = daemon.ask("DELETE", "suppressions", address, query={"reason": reason})
    say(f"{answer['address']} is no longer suppressed here; SES's own list may still hold it")


def hash_secret() -> None:
    """Hash a password for the configuration."""
    from relay.smtp.auth import hash_password  # noqa: PLC0415 - loads argon2

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            fail("the passwords differ", USAGE)
    else:
        password = sys.stdin.read().rstrip("\r\n")
    if not password:
        fail("an empty password is no secret", USAGE)
    show(f'secret_hash: "{hash_password(password)}"')


def new_token() -> None:
    """Make a token and its digest."""
    from relay.smtp.auth import new_token as make  # noqa: PLC0415

    token, digest = make()
    say("The application's password, shown this once:")
    show(token)
    say("For the configuration:")
    show(f'token_hash: "{digest}"')
