"""What questions about the queue do: list, show, shape, trace. Knows how answers are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from relay.cli.client import AdminClient, Query
from relay.cli.exits import FOUND_BAD, USAGE
from relay.cli.reach import Whom, asking
from relay.cli.words import clean, fail, say, show, show_json, show_table

# Ids that fit into the address of one request.
_IDS: Final = 200
# Mails in the queue that a trace shows.
_TRACED: Final = 1000
# Groups of a shape that are kept apart: beyond, the smallest become one.
_GROUPS: Final = 20_000
OTHERS: Final = "(others)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Which mail, as it was typed; empty where it was not."""

    ids: Sequence[str] = ()
    sender: str = ""
    address: str = ""
    states: Sequence[str] = ()
    older_than: str = ""
    newer_than: str = ""
    why: str = ""

    def query(self) -> dict[str, Any]:
        """Return the criteria as the admin API has them."""
        words: dict[str, Any] = {
            "id": _ids(self.ids),
            "sender": self.sender,
            "address": self.address,
            "state": list(self.states),
            "older_than": _seconds("--older-than", self.older_than),
            "newer_than": _seconds("--newer-than", self.newer_than),
            "why": self.why,
        }
        return {name: value for name, value in words.items() if value}


def list_queue(whom: Whom, criteria: Criteria, limit: int, *, as_json: bool) -> None:
    """List mail."""
    query = criteria.query()
    with asking(whom) as daemon:
        entries = find(daemon, query)
        if as_json:
            show_json(entries)
            return
        show_entries(islice(entries, limit))
        if next(entries, None) is not None:
            say(f"the first {limit}; --limit shows more, --json all, and criteria what matters")


def find(daemon: AdminClient, query: Query) -> Iterator[dict[str, Any]]:
    """Yield the entries meant, oldest first."""
    ids = query.get("id")
    if not isinstance(ids, list):
        yield from daemon.pages("queue", "entries", query)
        return
    for at in range(0, len(ids), _IDS):
        yield from daemon.pages("queue", "entries", {**query, "id": ids[at : at + _IDS]})


def show_entries(entries: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of entries."""
    show_table(
        ("QUEUE ID", "STATE", "DUE", "SENDER", "FROM", "TO", "SIZE", "REASON"),
        (_entry_row(entry) for entry in entries),
    )


def _entry_row(entry: Mapping[str, Any]) -> list[str]:
    addresses = [one["address"] for one in entry["recipients"]]
    more = f" +{len(addresses) - 1}" if len(addresses) > 1 else ""
    return [
        entry["queue_id"],
        entry["state"],
        (entry["due_at"] or "-")[:19],
        entry["sender"],
        entry["reverse_path"] or "<>",
        addresses[0] + more if addresses else "-",
        str(entry["size"]),
        entry["reason"],
    ]


def show_entry(whom: Whom, queue_id: str, *, as_json: bool) -> None:
    """Show one entry."""
    with asking(whom) as daemon:
        entry = daemon.ask("GET", "queue", queue_id)
    if as_json:
        show_json([entry])
    else:
        _show_entry(entry)


def _show_entry(entry: Mapping[str, Any]) -> None:
    names = ("queue_id", "state", "reason", "due_at", "sender", "reverse_path", "message_id")
    for name in (*names, "arrived_at"):
        show(f"{name + ':':<14}{clean(entry[name] or '-')}")
    show(f"{'size:':<14}{entry['size']} octets")
    for name, value in entry["ses_headers"].items():
        show(f"{'asks SES:':<14}{clean(f'{name}: {value}')}")
    for one in entry["recipients"]:
        reason = f" ({one['reason']})" if one["reason"] else ""
        told = f"{one['address']} {one['state']}, {one['attempts']} tried{reason}"
        show(f"{'recipient:':<14}{clean(told)}")


def trace(whom: Whom, key: str, *, as_json: bool) -> None:
    """Tell the life of a mail."""
    with asking(whom) as daemon:
        answer = daemon.ask("GET", "trace", key)
        entries, lines = answer["entries"], answer["lines"]
        for query in answer["search"]:
            entries = entries or list(islice(find(daemon, query), _TRACED))
    if as_json:
        show_json({"type": "entry", **entry} for entry in entries)
        show_json({"type": "fact", **line} for line in lines)
        show_json({"type": "standing", **one} for one in answer["standings"])
    else:
        for entry in entries:
            _show_entry(entry)
        if lines:
            _show_lines(lines)
            show("")
        for one in answer["standings"]:
            show(clean(f"{one['queue_id']} to {one['recipient']}: {one['standing']}"))
    if not entries and not lines:
        fail("nothing is known of it", FOUND_BAD)


def _show_lines(lines: Sequence[Mapping[str, Any]]) -> None:
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


# --- shape ----------------------------------------------------------------------------------------


def shape(whom: Whom, criteria: Criteria, by: str, top: int, *, as_json: bool) -> None:
    """Show how much mail is how old."""
    query = {**criteria.query(), "by": by}
    with asking(whom) as daemon:
        ages, total, groups = _add_up(daemon, query)
    largest = sorted(groups.items(), key=lambda item: (-sum(item[1]), item[0]))
    columns = [str(age) for age in ages] + [f"{ages[-1]}+"] if ages else []
    if as_json:
        rows = [("total", "", total), *(("group", name, counts) for name, counts in largest)]
        show_json(
            {
                "type": kind,
                "by": by,
                "name": name,
                "mails": sum(counts),
                "minutes": dict(zip(columns, counts, strict=True)),
            }
            for kind, name, counts in rows
        )
        return
    shown = [("TOTAL", total), *largest[:top]]
    show_table(
        (by.upper(), "T", *columns),
        ([name or "-", *map(str, (sum(counts), *counts))] for name, counts in shown),
    )
    if len(largest) > top:
        say(f"the largest {top} of {len(largest)}; --top shows more, --json all")


def _add_up(daemon: AdminClient, query: Query) -> tuple[list[int], list[int], dict[str, list[int]]]:
    """Ask for the shape stretch by stretch; return ages, the total and the groups."""
    ages: list[int] = []
    total: list[int] = []
    groups: dict[str, list[int]] = {}
    after: str | None = ""
    while after is not None:
        answer = daemon.ask("GET", "queue", "shape", query={**query, "after": after})
        ages, after = answer["ages"], answer["after"]
        total = _sum(total, answer["total"])
        for name, counts in answer["groups"].items():
            groups[name] = _sum(groups.get(name, []), counts)
        if len(groups) > 2 * _GROUPS:
            _fold(groups)
    return ages, total, groups


def _fold(groups: dict[str, list[int]]) -> None:
    """Make one group of the smallest, so that a million domains do not fill the memory."""
    for name in sorted(groups, key=lambda name: sum(groups[name]))[: len(groups) - _GROUPS]:
        counts = groups.pop(name)
        groups[OTHERS] = _sum(groups.get(OTHERS, []), counts)


def _sum(counts: Sequence[int], more: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(counts or [0] * len(more), more, strict=True)]


# --- criteria -------------------------------------------------------------------------------------


def _ids(words: Sequence[str]) -> list[str]:
    """Return the ids given, those on standard input where a hyphen stands for them."""
    ids: list[str] = []
    for word in words:
        ids += sys.stdin.read().split() if word == "-" else [word]
    if words and not ids:
        fail("there is no id on standard input", USAGE)
    return ids


def _seconds(option: str, text: str) -> float:
    """Read an age as the configuration writes durations."""
    from relay.config.measures import duration  # noqa: PLC0415 - needed here only

    if not text:
        return 0.0
    try:
        return duration(text).total_seconds()
    except ValueError as error:
        fail(f"{option} {text!r} {error}", USAGE)
