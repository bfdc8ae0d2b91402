"""What SMTP said about a mail, and the names by which we know it. Knows nothing of its content."""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple, NewType

from relay.mail.address import Address
from relay.mail.ses_headers import NOTHING_ASKED, SesHeaders

QueueId = NewType("QueueId", str)
"""The name of a mail for operators: time-ordered, never reused, a legal SES tag value."""

SenderName = NewType("SenderName", str)
"""The name of a configured application; [A-Za-z0-9_-]{1,64}, so a legal SES tag value."""

AccountName = NewType("AccountName", str)
"""The name of credentials + region + endpoint; quota, pace and breaker are keyed by it."""

SENDER_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Crockford's base 32: no I, L, O or U, so that an id survives being read out over the telephone.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
QUEUE_ID: Final = re.compile(rf"[{_ALPHABET}]{{20}}")


def new_queue_id(now: datetime) -> QueueId:
    """Return an id of 20 characters: 48 bits of milliseconds since 1970, then 52 random bits.

    The random half keeps ids apart across restarts, nodes and clocks that step back; the time half
    sorts them and keeps index pages warm.
    """
    return _queue_id(now, int.from_bytes(os.urandom(7), "big") >> 4)


def least_queue_id(now: datetime) -> QueueId:
    """Return an id that sorts before all that are made from that moment on."""
    return _queue_id(now, 0)


def _queue_id(now: datetime, number: int) -> QueueId:
    moment = max(0, int(now.timestamp() * 1000))
    rest = (moment & 7) << 52 | number
    pairs = _PAIRS
    return QueueId(
        f"{_prefix(moment >> 3)}{_ALPHABET[rest >> 50]}{pairs[rest >> 40 & 1023]}"
        f"{pairs[rest >> 30 & 1023]}{pairs[rest >> 20 & 1023]}{pairs[rest >> 10 & 1023]}"
        f"{pairs[rest & 1023]}"
    )


@lru_cache(maxsize=2)
def _prefix(number: int) -> str:
    """Return the 9 characters that ids of the same eight milliseconds begin with."""
    return "".join([_ALPHABET[number >> shift & 31] for shift in range(40, -1, -5)])


class Envelope(NamedTuple):
    """Reverse-path and recipients of one transaction (RFC 5321 section 2.3.1).

    `reverse_path` is None for the null reverse-path `<>`. Recipients are distinct and in the order
    given.
    """

    reverse_path: Address | None
    recipients: tuple[Address, ...]


class Mail(NamedTuple):
    """One accepted mail: who gave it to us, for whom, when, and what it weighs.

    `size` counts the octets of the content as spooled, trace headers included. `sender` is a name
    only: its settings are looked up at each attempt, so that a reload reaches queued mail.
    `message_id` is what its header gives (relay.mail.header.message_id); several mails may have the
    same, and it may be empty. `ses_headers` is what it asks of SES, as far as it was let at
    admission.
    """

    queue_id: QueueId
    sender: SenderName
    envelope: Envelope
    arrived_at: datetime
    size: int
    message_id: str = ""
    ses_headers: SesHeaders = NOTHING_ASKED
