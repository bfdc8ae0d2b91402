"""`relay status`: the daemon's own account of itself on one screen, once or again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from relay.cli.client import AdminClient, AdminError
from relay.cli.exits import FOUND_BAD, OK
from relay.cli.words import clean, fail, show, show_json

_CLEAR: Final = "\x1b[H\x1b[2J"
_AGAIN: Final = 2.0  # seconds
_WIDTH: Final = 100
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def status(admin: Path, *, as_json: bool, watch: bool) -> int:
    """Show it; return an exit code: 1 while something is critical."""
    client = AdminClient(admin)
    while True:
        try:
            answer = client.ask("GET", "status")
        except AdminError as error:
            fail(str(error), error.exit_code)
        if as_json:
            show_json([answer])
        else:
            screen = "\n".join(clean(line) for line in lines(answer))
            show(f"{_CLEAR}{screen}" if watch and sys.stdout.isatty() else screen)
        if not watch:
            is_bad = any(one["severity"] == "critical" for one in answer["conditions"])
            return FOUND_BAD if is_bad else OK
        sys.stdout.flush()
        try:
            time.sleep(_AGAIN)
        except KeyboardInterrupt:
            return OK


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the screen."""
    yield found["verdict"]
    for one in found["conditions"]:
        yield f"  {one['severity']:<9}{one['alert']}: {one['words']}"
    failed = [name for name, passes in found["readiness"].items() if not passes]
    ready = f"not ready ({', '.join(failed)})" if failed else "ready"
    yield (
        f"relay {found['version']}, configuration {found['generation']}, {ready}, "
        f"log level {found['log']['level']}{_until(found['log'])}"
    )
    yield ""
    yield from _listeners(found["listeners"])
    yield from _queue(found["queue"], found["at"])
    for account in found["accounts"]:
        yield from _account(account)
    yield from _senders(found["senders"])
    yield from _feedback(found["feedback"])
    yield from _errors(found["last_errors"])


def _until(log: Mapping[str, Any]) -> str:
    lost = f", {log['dropped']} lines lost" if log["dropped"] else ""
    return (f" until {log['until'][11:16]}" if log["until"] else "") + lost


def _listeners(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in found:
        days = one["certificate_days"]
        tls = "" if days is None else f", certificate good for {days} days"
        crowd = ", nearly full" if one["is_stressed"] else ""
        yield (
            f"listener   {one['listener']:<14} {one['address']}, {one['sessions']} sessions"
            f"{crowd}{tls}"
        )


def _queue(queue: Mapping[str, Any], at: str) -> Iterator[str]:
    counts = {state: count for state, count in queue["messages"].items() if count}
    states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "empty"
    yield f"queue      {states}; {queue['relayed_15m']:.0f} recipients relayed in 15 min"
    if queue["oldest"]:
        age = datetime.fromisoformat(at) - datetime.fromisoformat(queue["oldest"])
        yield (
            f"           the oldest came {_span(age.total_seconds())} ago; "
            f"the first has been due for {_span(queue['due_for_seconds'])}"
        )
    for one in queue["waits_for"]:
        yield f"           {one['messages']:>7} wait for {one['reason']}"


def _account(account: Mapping[str, Any]) -> Iterator[str]:
    granted, quota = account["rate_granted"], account["daily_quota"]
    rate = "rate unknown" if granted is None else f"{account['rate']:.4g} of {_figure(granted)}/s"
    used = account["daily_used"]
    day = ""
    if quota is not None:
        day = f", {'' if used is None else f'{used:.0f} of '}{_figure(quota)} a day"
    yield f"account    {account['account']:<14} {account['condition']}"
    yield (
        f"           {rate}{day}, breaker {account['breaker']}, "
        f"{account['calls_under_way']} calls under way"
    )


def _figure(number: float | str) -> str:
    """Write a number, which may be the word unlimited."""
    return number if isinstance(number, str) else f"{number:.10g}"


def _senders(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in found:
        paused = f", PAUSED {one['paused']}" if one["paused"] else ""
        yield (
            f"sender     {one['sender']:<14} {one['messages']} messages, "
            f"{one['octets'] / 1024:.0f} KiB{paused}"
        )


def _feedback(found: Mapping[str, Any]) -> Iterator[str]:
    probe = found["probe_seconds_ago"]
    probed = "" if probe is None else f"; the probe came back {_span(probe)} ago"
    yield f"feedback   last event, or start, {_span(found['last_event_seconds_ago'])} ago{probed}"


def _errors(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    left_out = ("event", "timestamp", "level", "times", "exception")
    for one in found:
        words = " ".join(f"{name}={item}" for name, item in one.items() if name not in left_out)
        times = f" ({one['times']} times)" if one["times"] > 1 else ""
        yield f"{one['level']:<10} {one['timestamp'][11:19]} {one['event']}{times} {words}"[:_WIDTH]


def _span(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < _DAY else f"{seconds / _DAY:.1f} days"
