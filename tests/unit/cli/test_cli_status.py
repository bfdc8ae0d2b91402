"""The screen of `relay status`: the verdict first, then what an operator looks at next."""

from __future__ import annotations

from typing import Any

from relay.cli.status import lines

STATUS: dict[str, Any] = {
    "verdict": "SES cannot be reached for account main (timeout); its mail is kept.",
    "conditions": [
        {"alert": "RelaySesUnreachable", "severity": "critical", "words": "SES cannot be reached"}
    ],
    "version": "1.2.3",
    "generation": 4,
    "at": "2026-03-01T12:00:00+00:00",
    "readiness": {"spool": True, "listeners": False},
    "listeners": [
        {
            "listener": "smtps",
            "address": "0.0.0.0:465",
            "sessions": 3,
            "is_stressed": True,
            "certificate_days": 9,
        }
    ],
    "queue": {
        "messages": {"ready": 1200, "held": 0, "failed": 3},
        "oldest": "2026-03-01T10:30:00+00:00",
        "due_for_seconds": 1234.5,
        "relayed_15m": 0.0,
        "waits_for": [{"reason": "its turn", "messages": 1200}],
    },
    "accounts": [
        {
            "account": "main",
            "condition": "suspended: timeout",
            "rate": 14.0,
            "rate_granted": 14.0,
            "daily_quota": 50000.0,
            "daily_used": 1234.0,
            "breaker": "open",
            "calls_under_way": 0,
        },
        {
            "account": "new",
            "condition": "sending",
            "rate": 14.0,
            "rate_granted": None,
            "daily_quota": None,
            "daily_used": None,
            "breaker": "closed",
            "calls_under_way": 1,
        },
    ],
    "senders": [
        {
            "sender": "billing",
            "messages": 1200,
            "octets": 4915200,
            "paused": "since 2026-03-01 11:00 by root: wrong template",
        }
    ],
    "feedback": {"last_event_seconds_ago": 7300, "probe_seconds_ago": 95},
    "log": {"level": "debug", "until": "2026-03-01T12:15:00+00:00", "dropped": 7},
    "last_errors": [
        {
            "event": "account.suspended",
            "level": "error",
            "timestamp": "2026-03-01T11:40:01.5Z",
            "times": 2,
            "account": "main",
            "reason": "timeout",
        }
    ],
}

SCREEN = """\
SES cannot be reached for account main (timeout); its mail is kept.
  critical RelaySesUnreachable: SES cannot be reached
relay 1.2.3, configuration 4, not ready (listeners), log level debug until 12:15, 7 lines lost

listener   smtps          0.0.0.0:465, 3 sessions, nearly full, certificate good for 9 days
queue      1200 ready, 3 failed; 0 recipients relayed in 15 min
           the oldest came 1.5 h ago; the first has been due for 21 min
              1200 wait for its turn
account    main           suspended: timeout
           14 of 14/s, 1234 of 50000 a day, breaker open, 0 calls under way
account    new            sending
           rate unknown, breaker closed, 1 calls under way
sender     billing        1200 messages, 4800 KiB, PAUSED since 2026-03-01 11:00 by root: wrong template
feedback   last event, or start, 2.0 h ago; the probe came back 2 min ago
error      11:40:01 account.suspended (2 times) account=main reason=timeout
"""


def test_the_screen() -> None:
    assert "\n".join(lines(STATUS)) + "\n" == SCREEN


def test_a_relay_of_which_little_is_known_can_be_shown() -> None:
    nothing: dict[str, Any] = {
        "messages": {},
        "oldest": None,
        "due_for_seconds": 0,
        "relayed_15m": 0.0,
    }
    screen = list(
        lines(
            {
                **STATUS,
                "conditions": [],
                "accounts": [],
                "senders": [],
                "listeners": [],
                "last_errors": [],
                "queue": {**nothing, "waits_for": []},
                "feedback": {"last_event_seconds_ago": 172800, "probe_seconds_ago": None},
            }
        )
    )
    assert "queue      empty; 0 recipients relayed in 15 min" in screen
    assert screen[-1] == "feedback   last event, or start, 2.0 days ago"
