"""Every event of the log: its name, its fields and what it means; an interface, like the metrics.

docs/logs.md is written from it: `python -m relay.observe.events`. A test holds it and what is
logged together.
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

_HEAD: Final = """\
# Log events

One JSON object a line on standard output (`log.format: json`), or columns on a terminal. Made by
`make docs`; do not edit.

Every line has `timestamp` (ISO 8601, UTC), `level` and `event`. Names and fields are an interface:
they change with a note in the changelog. Every line about a mail has its `queue_id`, everything
about a connection its `session_id`, so `grep` tells the life of either. There is never content, a
password, or anything a client typed but addresses. With `log.addresses: hashed` every address, in
SES's answers too, is replaced by `addr-` and 20 hexadecimal digits, the same in every line. A log
that nobody reads never holds up mail: lines are dropped and counted
(`relay_log_events_dropped_total`).

`relay log-level debug --for 15m` shows the levels below without a restart.

| event | level | fields | meaning |
|---|---|---|---|
"""


class Event(NamedTuple):
    """One kind of line. `level` is one, or several where it depends."""

    level: str
    fields: str
    meaning: str


_MAIL: Final = "queue_id sender recipient account reason reply"
_WHENCE: Final = "session_id listener peer"

EVENTS: Final[dict[str, Event]] = {
    # Connections.
    "session.opened": Event("debug", _WHENCE, "A client connected."),
    "session.closed": Event("debug", "session_id", "A session ended, however it ended."),
    "session.refused": Event(
        "info",
        "listener peer reason untold",
        "A client was not served. At most one a second for each listener and reason; `untold` "
        "counts those since the last line.",
    ),
    "session.encrypted": Event(
        "debug, info", f"{_WHENCE} version", "A TLS handshake was done; info for TLS 1.0 and 1.1."
    ),
    "session.hung_up": Event("info", f"{_WHENCE} reply", "The relay ended a session."),
    "session.line_endings_mended": Event(
        "info",
        f"{_WHENCE} sender",
        "Content had line endings other than CRLF, which its listener or sender mends; told once a "
        "session.",
    ),
    "auth.succeeded": Event(
        "debug, info",
        f"{_WHENCE} mechanism sender tls",
        "A client proved which sender it is; info where the password was not encrypted.",
    ),
    "auth.failed": Event("warning", f"{_WHENCE} mechanism reason", "A login failed."),
    "auth.certificate_unknown": Event(
        "info", f"{_WHENCE} names", "A client's certificate verified and stands for no sender."
    ),
    # Mail.
    "mail.refused": Event(
        "info",
        f"{_WHENCE} phase reason reply sender address",
        "MAIL, RCPT or the content was refused.",
    ),
    "mail.queued": Event(
        "info",
        "queue_id session_id listener sender reverse_path recipients size commit_seconds",
        "A mail was answered 250: it is on disk.",
    ),
    "mail.answered": Event(
        "info",
        "queue_id session_id listener sender mode outcome reply recipients size seconds",
        "A client that waits for SES was answered (`accept: relayed` or `relayed-or-queued`).",
    ),
    "mail.dropped": Event(
        "info", "queue_id sender recipient", "A suppressed recipient was left out, as configured."
    ),
    "mail.relayed": Event(
        "info",
        "queue_id sender recipient account ses_message_id queue_seconds",
        "SES took the mail for this recipient. It is not delivered yet.",
    ),
    "mail.deferred": Event(
        "info, warning",
        f"{_MAIL} due_at ambiguous",
        "It is tried again; warning where only an operator can mend it.",
    ),
    "mail.ambiguous": Event(
        "warning",
        "queue_id account recipients reply words",
        "SES's answer was lost: the message may be sent more than once.",
    ),
    "mail.failed": Event("warning", _MAIL, "A recipient was given up: SES will not take it."),
    "mail.expired": Event(
        "warning",
        f"{_MAIL} outcome",
        "A recipient was given up for its age; outcome `unknown`: it may have been sent.",
    ),
    "mail.held": Event(
        "warning", "queue_id sender reason", "A mail was set aside without an attempt."
    ),
    "mail.purged": Event(
        "info", "queue_id sender", "Failed mail was kept for `spool.keep_failed`, and is gone."
    ),
    # What operators do to the queue.
    **{
        f"queue.{done}": Event(
            "info, warning",
            "actor selection reason new_sender is_whole results",
            f"An operator's order to {verb} mail ended.",
        )
        for verb, done in (
            ("hold", "held"),
            ("release", "released"),
            ("retry", "retried"),
            ("drop", "dropped"),
        )
    },
    "queue.held_long": Event(
        "error",
        "entries given_up_after_days",
        "Mail has been held for half the time after which it is given up.",
    ),
    # The spool.
    "spool.opened": Event(
        "info, warning",
        "entries ambiguous strays corrupt",
        "The spool was opened, and what a crash left was put in order.",
    ),
    "spool.failed": Event("error", "complaint", "A commit failed: that mail was refused."),
    "spool.corrupt": Event(
        "error", "queue_id sender complaint", "A damaged mail was set aside; nothing was deleted."
    ),
    "database.unavailable": Event(
        "error", "database complaint follows", "A database cannot be written."
    ),
    "database.available": Event("info", "database", "It can be written again."),
    # Accounts.
    "account.suspended": Event(
        "error", "account reason", "Nothing is sent by the account until SES answers a probe."
    ),
    "account.resumed": Event("info", "account", "The account sends again."),
    "account.slowed": Event(
        "warning", "account rate granted", "SES said that the rate was exceeded; less is used."
    ),
    "account.daily_quota": Event(
        "info, warning", "account holds left", "The daily quota holds back others than before."
    ),
    "account.quota": Event("debug", "account rate daily used", "The quota was read."),
    "account.quota_unread": Event("warning", "account complaint", "The quota could not be read."),
    "account.clock_skewed": Event(
        "info, warning",
        "account ahead_seconds",
        "SES's clock differs from this machine's; requests are signed by SES's.",
    ),
    # What comes back.
    **{
        f"feedback.{kind}": Event(
            "info",
            "queue_id ses_message_id recipient detail diagnostic",
            f"SES reported a {kind.replace('_', ' ')} of this recipient.",
        )
        for kind in (
            "send",
            "delivery",
            "bounce",
            "complaint",
            "reject",
            "delivery_delay",
            "rendering_failure",
            "subscription",
            "open",
            "click",
            "unknown",
        )
    },
    "feedback.refused": Event(
        "warning", "reason complaint", "A feedback request was refused or discarded."
    ),
    "feedback.not_understood": Event(
        "warning", "topic sns_message_id", "A verified message is no event we know; it is kept."
    ),
    "suppression.added": Event(
        "info", "recipient reason detail actor", "An address is not mailed any more."
    ),
    "suppression.removed": Event("info", "recipient actor reason", "An address is mailed again."),
    "suppression.recalled": Event(
        "warning", "follows", "The suppression list cannot be read; a copy says who is on it."
    ),
    "suppression.unknown": Event(
        "error", "follows", "The suppression list cannot be read, nor a copy of it."
    ),
    "callback.told": Event(
        "debug", "sender kind webhook_id", "An application has heard what became of its mail."
    ),
    "callback.failed": Event(
        "warning",
        "sender kind webhook_id complaint due_at",
        "An application could not be told; it is told again.",
    ),
    "callback.dead": Event(
        "error",
        "sender kind webhook_id complaint due_at",
        "An application was not told in time: see `relay callback replay`.",
    ),
    "relay.settled_by_event": Event(
        "info",
        "queue_id ses_message_id recipients",
        "An event showed that SES has mail whose answer was lost: it is not sent again.",
    ),
    "relay.old_signature": Event(
        "warning", "topic remedy", "A topic signs with SHA-1; the command makes it SHA-256."
    ),
    "relay.list_synced": Event(
        "info",
        "account full seen changed removed",
        "The copy of the account's own suppression list has changed.",
    ),
    "relay.list_not_synced": Event(
        "warning", "account complaint", "That list could not be read; it is tried again."
    ),
    "relay.queue_not_polled": Event(
        "warning", "complaint", "The SQS queue could not be asked; it is tried again."
    ),
    "relay.queue_polled_again": Event("info", "", "The SQS queue answers again."),
    "relay.sender_suspect": Event(
        "warning",
        "sender complaint",
        "So much of a sender's mail bounced, or was complained of, that SES may review the "
        "account.",
    ),
    "relay.suppressions_imported": Event(
        "info", "entries actor reason", "Addresses were brought in from a file."
    ),
    "relay.callbacks_replayed": Event(
        "info", "callbacks actor", "What applications had not been told is told again."
    ),
    # The daemon.
    "relay.configuration": Event("debug", "settings", "What is in force; secrets are `***`."),
    "relay.configuration_warning": Event("warning", "complaint", "Something to look at."),
    "relay.started": Event("info", "version generation pid", "The relay serves."),
    "relay.listening": Event("info", "smtp http port path", "A socket was opened."),
    "relay.draining": Event(
        "info", "in_flight sessions", "The relay was told to stop; again while calls are under way."
    ),
    "relay.stuck": Event(
        "warning", "parts seconds", "A part of the relay hangs; its watchdog is not fed any more."
    ),
    "relay.stopped": Event("info", "queued", "The relay has stopped."),
    "relay.reloaded": Event("info", "generation changes", "A new configuration is in force."),
    "relay.reload_refused": Event(
        "warning", "complaints", "A new configuration was refused; the previous one is in force."
    ),
    "relay.readmitted": Event(
        "info", "entries", "Mail held for want of its sender goes on: the sender is back."
    ),
    "relay.sender_paused": Event("warning", "sender actor reason", "An operator paused a sender."),
    "relay.sender_resumed": Event("info", "sender actor reason", "An operator let it go again."),
    "relay.credentials_found": Event(
        "info", "account access_key complaint", "There are credentials for the account."
    ),
    "relay.credentials_missing": Event(
        "warning", "account access_key complaint", "There are none, or SES refused them."
    ),
    "relay.subscribed": Event("info", "topic", "A subscription was confirmed."),
    "relay.subscription_waiting": Event(
        "warning", "topic url", "A subscription waits for you to confirm it."
    ),
    "relay.unsubscribed": Event("warning", "topic", "Somebody ended a subscription."),
    "relay.topic_validated": Event("info", "topic", "SES tried the topic out, and reached us."),
    "relay.clock_stepped": Event(
        "error", "seconds expiry_suspended_seconds", "The wall clock stepped."
    ),
    "relay.clock_settled": Event("info", "", "The wall clock is believed again."),
    "relay.log_level": Event("info", "to seconds", "The level of the log was changed."),
    "relay.probe_failed": Event(
        "warning", "queue_id complaint", "A probe did not come back; see `relay selftest`."
    ),
    "relay.dialogue_traced": Event(
        "info", "client actor seconds", "Somebody watches what clients say (`relay trace-smtp`)."
    ),
    "library.warning": Event("warning, error", "library words exception", "A library warned."),
    "fault": Event(
        "error", "where session_id exception", "A fault of the relay's own, with its traceback."
    ),
}


def page() -> str:
    """Return the page."""
    rows = []
    for name, event in EVENTS.items():
        fields = ", ".join(f"`{field}`" for field in event.fields.split())
        rows.append(f"| `{name}` | {event.level} | {fields} | {event.meaning} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(page())
