"""What the verbs about the suppression list do: ask the daemon, read and write files.

Knows CSV and JSON lines. What an entry means, the daemon decides.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from relay.cli.client import AdminClient
from relay.cli.exits import FOUND_BAD, OK, TRY_LATER, USAGE
from relay.cli.verbs import asking
from relay.cli.words import clean, fail, say, show, show_json, show_table

_COLUMNS: Final = (
    "address",
    "scope",
    "reason",
    "detail",
    "since",
    "last_seen",
    "until",
    "event_id",
    "spelling",
)
_AT_ONCE: Final = 1000
_COMPLAINTS: Final = 20
# As SES and others call them (SES API v2 Reference, SuppressedDestinationSummary).
_ALSO: Final = {"emailaddress": "address", "email": "address", "lastupdatetime": "since"}


def list_all(admin: Path, *, as_json: bool) -> None:
    """List the suppression list."""
    with asking(admin) as daemon:
        found = daemon.pages("suppressions", "suppressions")
        if as_json:
            show_json(found)
            return
        show_table(
            ("ADDRESS", "SCOPE", "REASON", "SINCE", "UNTIL", "DETAIL"),
            (
                [
                    one["address"],
                    one["scope"] or "everybody",
                    one["reason"],
                    one["since"][:10],
                    (one["until"] or "-")[:10],
                    one["detail"],
                ]
                for one in found
            ),
        )


def show_one(admin: Path, address: str, *, as_json: bool) -> None:
    """Show what the list holds of one address."""
    with asking(admin) as daemon:
        entries = daemon.ask("GET", "suppressions", address)["entries"]
    if as_json:
        show_json(entries)
        return
    for entry in entries:
        for name, value in entry.items():
            shown = value or ("everybody" if name == "scope" else "-")
            show(clean(f"{name.replace('_', ' ') + ':':<12}{shown}"))


def add(admin: Path, address: str, reason: str, scope: str, expires_in: str) -> None:
    """Put an address on the list."""
    body: dict[str, Any] = {"reason": reason, "scope": scope}
    if expires_in:
        body["expires_in"] = _seconds(expires_in)
    with asking(admin) as daemon:
        answer = daemon.ask("PUT", "suppressions", address, body=body)
    say(f"{answer['address']} is suppressed")
    for one in answer.get("ses", ()):
        said = f"not added: {one['complaint']}" if "complaint" in one else "added"
        say(clean(f"SES's own list of account {one['account']}: {said}"))


def remove(admin: Path, address: str, reason: str, scope: str | None) -> None:
    """Take an address off the list."""
    query = {"reason": reason} if scope is None else {"reason": reason, "scope": scope}
    with asking(admin) as daemon:
        answer = daemon.ask("DELETE", "suppressions", address, query=query)
    say(f"{answer['address']} is no longer suppressed here")
    for one in answer["ses"]:
        say(clean(f"SES's own list of account {one['account']}: {_at_ses(one)}"))


def _at_ses(said: Mapping[str, Any]) -> str:
    if "complaint" in said:
        return f"cannot be asked, and may still hold it: {said['complaint']}"
    if "removed" in said:
        return f"removed {', '.join(said['removed'])}" if said["removed"] else "did not hold it"
    if said["listed"] is None:
        return "does not hold it"
    return (
        f"still holds it as {said['listed']} ({said['reason']}, {said['since'][:10]}): SES will "
        "not deliver to it. Remove it there with `aws sesv2 delete-suppressed-destination "
        f"--email-address {said['listed']}`"
    )


# --- files ----------------------------------------------------------------------------------------


def bring_in(admin: Path, file: Path, reason: str, file_format: str) -> int:
    """Add the addresses of a file; return an exit code."""
    is_json = _is_json(file, file_format)
    imported = bad = 0
    with _opened(file, "r") as lines, asking(admin) as daemon:
        entries = _read_json(lines) if is_json else _read_csv(lines)
        while batch := list(islice(entries, _AT_ONCE)):
            body = {"reason": reason, "entries": [entry for _, entry in batch]}
            answer = daemon.ask("POST", "suppressions", "import", body=body)
            imported += answer["imported"]
            for one in answer["complaints"]:
                if bad < _COMPLAINTS:
                    say(clean(f"line {batch[one['entry']][0]}: {one['complaint']}"))
                bad += 1
    say(f"{imported} addresses are suppressed; {bad or 'no'} lines could not be used")
    return FOUND_BAD if bad else OK


def export(admin: Path, file: Path, file_format: str) -> None:
    """Write the whole list."""
    is_json = _is_json(file, file_format)
    with asking(admin) as daemon, _opened(file, "w") as out:
        found = daemon.pages("suppressions", "suppressions")
        if is_json:
            for one in found:
                out.write(json.dumps(one, ensure_ascii=False) + "\n")
        else:
            writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: one[name] or "" for name in _COLUMNS} for one in found)


def _is_json(file: Path, file_format: str) -> bool:
    chosen = file_format or ("jsonl" if file.suffix in (".jsonl", ".ndjson", ".json") else "csv")
    if chosen not in ("csv", "jsonl"):
        fail(f"--format is csv or jsonl, not {chosen}", USAGE)
    return chosen == "jsonl"


@contextmanager
def _opened(file: Path, mode: str) -> Iterator[IO[str]]:
    if str(file) == "-":
        yield sys.stdin if mode == "r" else sys.stdout
        return
    try:
        with file.open(mode, encoding="utf-8", newline="") as opened:
            yield opened
    except OSError as error:
        fail(f"{file}: {error.strerror}", USAGE)


def _read_csv(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield entries with the numbers of their lines; without a header the first column counts."""
    rows = csv.reader(lines)
    names: list[str] | None = None
    for row in rows:
        if not any(row):
            continue
        if names is None:
            names = [_name(cell) for cell in row]
            if "address" in names:
                continue
            names = ["address", "reason", "detail"]
        yield rows.line_num, dict(zip(names, row, strict=False))


def _read_json(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError:
            document = {}
        if isinstance(document, dict):
            document = {_name(key): value for key, value in document.items()}
        yield number, document


def _name(column: str) -> str:
    name = column.strip().lower().lstrip("\ufeff")
    return _ALSO.get(name, name)


# --- SES's own lists ------------------------------------------------------------------------------


def sync(admin: Path, account: str, *, full: bool, as_json: bool) -> int:
    """Copy SES's own lists; return an exit code."""
    body: dict[str, Any] = {"full": full}
    if account:
        body["account"] = account
    try:
        with asking(admin) as daemon, _progress() as tell:
            line = _follow(daemon, body, tell, as_json=as_json)
    except KeyboardInterrupt:
        say("relay: interrupted; the same again goes on with it")
        return TRY_LATER
    if line.get("ended") is True:
        return OK
    say(clean(f"relay: {line.get('error', 'the daemon stopped before the end')}"))
    say("what was copied stays; the same again goes on with it")
    return TRY_LATER


def _follow(daemon: AdminClient, body: Mapping[str, Any], tell: Any, *, as_json: bool) -> Any:
    line: dict[str, Any] = {}
    for line in daemon.lines("POST", "suppressions", "sync", body=body):
        if "ended" in line:
            break
        tell(line)
        if as_json:
            show_json([line])
        elif line["is_done"]:
            kind = "all" if line["is_full"] else "what is new"
            say(
                f"account {line['account']}: {kind} read, {line['seen']} entries, "
                f"{line['changed']} changed, {line['removed']} let go"
            )
    return line


@contextmanager
def _progress() -> Iterator[Any]:
    """Yield what shows how far it has come: a bar on a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _line: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, needed here only
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} read"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        # How long SES's list is, it does not say.
        task = bar.add_task("reading SES's list", total=None)
        yield lambda line: bar.update(
            task, description=f"account {line['account']}", completed=line["seen"]
        )


def _seconds(text: str) -> float:
    from relay.config.measures import duration  # noqa: PLC0415 - needed here only

    try:
        return duration(text).total_seconds()
    except ValueError as error:
        fail(f"--expires-in {text!r} {error}", USAGE)
