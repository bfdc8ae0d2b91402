"""What the verbs do that change the queue: ask first, give the order, tell how far it has come.

Knows what an operator has to confirm. What an order does to mail, the daemon decides.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from relay.cli.client import AdminClient, AdminError
from relay.cli.exits import FOUND_BAD, OK, TRY_LATER, USAGE
from relay.cli.queue import Criteria, find, show_entries
from relay.cli.reach import Whom, asking
from relay.cli.words import fail, say, show_json

# Mails named in one order: what one request holds.
_NAMED: Final = 20_000
_SHOWN: Final = 10
# How often it is told how far it has come, in seconds: on a terminal, and in a log.
_BEAT: Final = 0.2
_SLOW_BEAT: Final = 10.0

_DONE: Final = {"hold": "held", "release": "released", "retry": "due now", "drop": "dropped"}
_MORE: Final = {
    "unchanged": "to which it makes no difference",
    "in-flight": "in flight: not called back; ask again in a moment",
    "on-hold": "held by an operator: release it, or retry it by its id or with --state held",
    "no-sender": "of senders that are configured no more: release --as NAME, or drop",
    "corrupt": "corrupt: see relay queue list --state corrupt",
    "unknown": "not in the queue, or not as the criteria want it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An order as it was typed."""

    verb: str
    criteria: Criteria
    is_all: bool
    reason: str
    new_sender: str = ""
    is_confirmed: bool
    is_dry: bool
    as_json: bool


def give(whom: Whom, asked: Asked) -> int:
    """Have an order carried out; return an exit code."""
    query = asked.criteria.query()
    if bool(query) is asked.is_all:
        either = (
            "--all and a selection: give one of them"
            if query
            else (
                "say which mail: ids, --sender, --address, --state, --older-than, --newer-than, "
                "--reason-matches, or --all"
            )
        )
        fail(either, USAGE)
    with asking(whom) as daemon:
        if asked.is_dry:
            return _foresee(daemon, asked, query)
        if not (asked.is_confirmed or "id" in query) and not _confirmed(daemon, asked, query):
            return OK
        return _carry_out(daemon, asked, query)


def _foresee(daemon: AdminClient, asked: Asked, query: Mapping[str, Any]) -> int:
    results = _results(daemon, asked, query, dry_run=True, as_json=asked.as_json)
    if not asked.as_json:
        show_entries(islice(find(daemon, query), _SHOWN))
        say(_summary(asked.verb, results, would=True))
    return OK


def _confirmed(daemon: AdminClient, asked: Asked, query: Mapping[str, Any]) -> bool:
    """Have the number of mails typed, which shows that it was read; False if there is none."""
    if not _is_somebody_there():
        fail("this is for more mail than was named: see --dry-run, and confirm with --yes", USAGE)
    results = _results(daemon, asked, query, dry_run=True)
    count = results["changed"]
    say(_summary(asked.verb, results, would=True))
    if not count:
        return False
    if not asked.as_json:
        show_entries(islice(find(daemon, query), _SHOWN))
    print(f"Type {count} to {asked.verb} them: ", end="", file=sys.stderr, flush=True)  # noqa: T201
    if sys.stdin.readline().strip().replace(",", "") != str(count):
        fail("not confirmed: nothing was changed", FOUND_BAD)
    return True


def _is_somebody_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _carry_out(daemon: AdminClient, asked: Asked, query: Mapping[str, Any]) -> int:
    results: Counter[str] = Counter()
    try:
        _results(daemon, asked, query, dry_run=False, as_json=asked.as_json, into=results)
    except KeyboardInterrupt:
        _tell_rest(asked, results, "interrupted")
        return TRY_LATER
    except AdminError as error:
        if not results:
            raise
        _tell_rest(asked, results, str(error))
        return error.exit_code
    if not asked.as_json:
        say(_summary(asked.verb, results, would=False))
    if results["in-flight"]:
        return TRY_LATER
    return FOUND_BAD if any(results[one] for one in ("no-sender", "corrupt", "unknown")) else OK


def _tell_rest(asked: Asked, results: Mapping[str, int], why: str) -> None:
    say(f"relay: {why}")
    say(_summary(asked.verb, results, would=False))
    say("the rest is as it was; the same again goes on with it")


def _results(
    daemon: AdminClient,
    asked: Asked,
    query: Mapping[str, Any],
    *,
    dry_run: bool,
    as_json: bool = False,
    into: Counter[str] | None = None,
) -> Counter[str]:
    """Give the order, in parts if it names very many; return what came of it, mail by mail."""
    total: Counter[str] = Counter() if into is None else into
    ids = query.get("id", [])
    parts = [ids[at : at + _NAMED] for at in range(0, len(ids), _NAMED)] or [[]]
    progress = _Progress(asked.verb)
    for part in parts:
        select = {**query, "id": part} if part else query
        so_far = Counter(total)
        body = _body(asked, select, dry_run=dry_run, lists=as_json or bool(part))
        for line in _lines(daemon, asked.verb, body):
            total.clear()
            total.update(so_far)
            total.update(line["results"])
            if not dry_run:
                progress.tell(total)
            if as_json:
                show_json({"type": "mail", **one} for one in line.get("mails", ()))
            else:
                _tell_rest_of(line.get("mails", ()))
            if line.get("ended") is False:
                raise AdminError(line["error"], TRY_LATER)
    progress.end()
    if as_json:
        show_json([{"type": "summary", "verb": asked.verb, "dry_run": dry_run, "results": total}])
    return total


def _body(asked: Asked, select: Mapping[str, Any], *, dry_run: bool, lists: bool) -> dict[str, Any]:
    """Return the order as the admin API has it; `lists` asks what came of each mail."""
    body: dict[str, Any] = {
        "select": select,
        "all": asked.is_all,
        "reason": asked.reason,
        "dry_run": dry_run,
        "mails": lists,
    }
    return {**body, "as": asked.new_sender} if asked.new_sender else body


def _lines(daemon: AdminClient, verb: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the answer's lines; raise AdminError if it breaks off before its end."""
    line: dict[str, Any] = {}
    for line in daemon.lines("POST", "queue", verb, body=body):
        yield line
    if "ended" not in line:
        raise AdminError("the daemon stopped before the end", TRY_LATER)


def _tell_rest_of(mails: Iterable[Mapping[str, Any]]) -> None:
    """Say of mail that was named why it is not as it was wanted."""
    for one in mails:
        if one["result"] in ("in-flight", "no-sender", "corrupt", "unknown"):
            say(f"{one['queue_id']}: {_MORE[one['result']]}")


class _Progress:
    """Says now and then how far an order has come."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._on_terminal = sys.stderr.isatty()
        self._beat = _BEAT if self._on_terminal else _SLOW_BEAT
        self._told_at = time.monotonic()
        self._has_told = False

    def tell(self, results: Mapping[str, int]) -> None:
        if time.monotonic() - self._told_at < self._beat:
            return
        self._told_at = time.monotonic()
        self._has_told = True
        words = f"{results.get('changed', 0)} {_DONE[self._verb]} so far"
        if self._on_terminal:
            print(f"\r{words}", end="", file=sys.stderr, flush=True)  # noqa: T201
        else:
            say(words)

    def end(self) -> None:
        if self._has_told and self._on_terminal:
            say("")


def _summary(verb: str, results: Mapping[str, int], *, would: bool) -> str:
    """Say what came of the mails, or would."""
    if not any(results.values()):
        return "nothing is selected"
    lead = "would be " if would else ""
    parts = [f"{lead}{_DONE[verb]}: {results.get('changed', 0)}"]
    parts += [f"{words}: {results[name]}" for name, words in _MORE.items() if results.get(name)]
    return "\n".join(parts)
