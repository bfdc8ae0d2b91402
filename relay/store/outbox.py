"""What the ledger is to be told: written with the outcome, in the same transaction.

Knows the lines. Does not know the ledger; relay.store.mover carries them there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, assert_never

from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import Mail
from relay.mail.outcome import Ambiguous, Deferred, Failed, Outcome, Relayed
from relay.policy.expiry import EXPIRED
from relay.store.columns import Rows, milliseconds, path_column

LEDGER_COLUMNS: Final = (
    "queue_id, recipient, attempt, fact, at, "
    "sender, reverse_path, arrived_at, size, ses_message_id, detail"
)
"""What the outbox and the ledger have in common."""

COLUMNS: Final = f"{LEDGER_COLUMNS}, message_id"
"""What the outbox is told; the Message-ID is kept once for a mail, not in every line of it."""

OUTBOX: Final = Rows("outbox", COLUMNS)

CUT_SHORT: Final = "The relay was stopped during an attempt: message may be sent more than once"


def lines(
    mail: Mail, settled: Mapping[Address, Settled], attempts: Mapping[Address, int], now: datetime
) -> Iterable[tuple[Any, ...]]:
    """Yield a line for each recipient that has an outcome; `attempts` counts this one."""
    said = [(address, attempts[address], *_said(one.outcome)) for address, one in settled.items()]
    return lines_of(mail, said, now)


def lines_of(
    mail: Mail, said: Iterable[tuple[Address, int, str, str, str]], now: datetime
) -> Iterable[tuple[Any, ...]]:
    """Yield a line for each: recipient, attempts, word of the mail log, SES message id, detail."""
    at, arrived_at = milliseconds(now), milliseconds(mail.arrived_at)
    path = path_column(mail.envelope.reverse_path)
    for address, attempts, fact, ses_message_id, detail in said:
        yield (
            mail.queue_id,
            str(address),
            attempts,
            fact,
            at,
            mail.sender,
            path,
            arrived_at,
            mail.size,
            ses_message_id,
            detail,
            mail.message_id,
        )


def _said(outcome: Outcome) -> tuple[str, str, str]:
    """Return the word of the mail log for an outcome, the SES message id and the reply."""
    match outcome:
        case Relayed():
            return "relayed", outcome.ses_message_id, ""
        case Deferred():
            return "deferred", "", str(outcome.reply)
        case Ambiguous():
            return "ambiguous", "", str(outcome.reply)
        case Failed(reason=reason):
            fact = "expired" if reason == EXPIRED else "failed"
            return fact, "", str(outcome.reply)
        case _:
            assert_never(outcome)
