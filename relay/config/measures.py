"""How much, how long, how fast, which of these: durations, sizes, rates, percentages, words.

One function per kind: it takes the text as written and returns the value, or raises ValueError with
a sentence that goes on from the text ("is not a duration: ..."). Does not know keys or pydantic.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Final, TypeVar

from relay.policy.sender import Rate

# These patterns are the grammar for editors too (relay.config.schema), so they keep to the regular
# expressions that Python and ECMAScript share.
DURATION: Final = r"[0-9]{1,9}(ms|s|m|h|d)"
SIZE: Final = r"[0-9]{1,15}(KiB|MiB|GiB|TiB|KB|MB|GB|TB)?"
RATE: Final = r"[0-9]{1,9}/(s|min|h|day)"
LONG_RATE: Final = r"[0-9]{1,9}/(h|day)"
PERCENTAGE: Final = r"[0-9]{1,3}(\.[0-9]{1,3})?%"
SIZE_OR_SHARE: Final = f"{SIZE}|{PERCENTAGE}"
COUNT: Final = r"[0-9]{1,9}"

LONGEST_PATIENCE: Final = timedelta(minutes=5)

_MILLISECONDS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_OCTETS: Final = {
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)},
}
_SECONDS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86_400.0}

# Far above any sensible lifetime, far below where dates overflow.
LONGEST: Final = timedelta(days=3650)

# SES refuses a raw message over 10,485,760 octets by v1 of its API. What we put in front of the
# client's octets (Received, our trace field) counts too, so 4 KiB are kept for it.
MESSAGE_SIZE_LIMIT: Final = 10 * 1024**2 - 4 * 1024
# By v2 it takes "40 MB" (SES Developer Guide, service quotas). Whether those are 1000 or 1024
# squared is nowhere said: what is accepted here must not be refused there.
MESSAGE_SIZE_LIMIT_V2: Final = 40 * 1000**2 - 4 * 1024

# RFC 5321 section 4.5.3.1.8 asks for 100; whoever needs more than these sends a second mail.
RECIPIENTS_LIMIT: Final = 1000

Word = TypeVar("Word", bound=StrEnum)


def duration(text: str) -> timedelta:
    """Read `500ms`, `90s`, `5m`, `1h`, `4d`."""
    match = re.fullmatch(DURATION, text)
    if match is None:
        raise ValueError("is not a duration: write a number and ms, s, m, h or d, such as 90s")
    milliseconds = int(text.removesuffix(match[1])) * _MILLISECONDS[match[1]]
    if not milliseconds:
        raise ValueError("is no time at all: a duration must be more than zero")
    # Compared as integers, because a timedelta of so many days could not even be made.
    if milliseconds > LONGEST // timedelta(milliseconds=1):
        raise ValueError("is longer than ten years")
    return timedelta(milliseconds=milliseconds)


def patience(text: str) -> timedelta:
    """Read how long a client may be kept waiting for the reply to its content.

    Less than the 10 minutes after which it may hang up (RFC 5321 section 4.5.3.2.6), with time to
    spare for a call to SES that has begun.
    """
    found = duration(text)
    if found > LONGEST_PATIENCE:
        raise ValueError("is longer than clients wait for a reply: 5m at most")
    return found


def show_duration(value: timedelta) -> str:
    """Write a duration with the largest unit that keeps it whole."""
    milliseconds = value // timedelta(milliseconds=1)
    unit = next(unit for unit, length in _MILLISECONDS.items() if milliseconds % length == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


def size(text: str) -> int:
    """Read `128KiB`, `25MiB`, `10MB`, or plain octets."""
    match = re.fullmatch(SIZE, text)
    if match is None:
        raise ValueError(
            "is not a size: write a number and KiB, MiB, GiB (1024), KB, MB, GB (1000), "
            "or a plain number of octets, such as 10MiB"
        )
    unit = match[1]
    return int(text.removesuffix(unit)) * _OCTETS[unit] if unit else int(text)


def show_size(octets: int) -> str:
    """Write a size with the largest binary unit that keeps it whole."""
    for prefix in "TGMK":
        unit = f"{prefix}iB"
        if octets and octets % _OCTETS[unit] == 0:
            return f"{octets // _OCTETS[unit]}{unit}"
    return str(octets)


def message_size(text: str) -> int:
    """Read the size of the largest message of a sender."""
    octets = size(text)
    if octets > MESSAGE_SIZE_LIMIT_V2:
        raise ValueError(
            "is more than Amazon SES takes: it refuses raw messages over 40000000 octets, "
            f"of which the relay's own header fields need some; at most {MESSAGE_SIZE_LIMIT_V2} "
            "octets are left"
        )
    if octets < 1024:  # noqa: PLR2004 - less than the header of any mail
        raise ValueError("is less than any mail: 1KiB is the least")
    return octets


def queue_size(text: str) -> int | float:
    """Read how much may wait: octets, or the fraction of what there is room for."""
    if text.endswith("%"):
        fraction = percentage(text)
        if not 0 < fraction <= 1:
            raise ValueError("is no share of the room there is: write more than 0% and up to 100%")
        return fraction
    octets = size(text)
    if not octets:
        raise ValueError("is zero, so that nothing could wait: the least is 1")
    return octets


def show_queue_size(value: float) -> str:
    """Write how much may wait as it is read."""
    return show_size(value) if isinstance(value, int) else show_percentage(value)


def rate(text: str) -> Rate:
    """Read `10/s`, `300/min`, `5000/day`, `1/h`."""
    match = re.fullmatch(RATE, text)
    if match is None:
        raise ValueError("is not a rate: write a number per s, min, h or day, such as 10/s")
    count = int(text.partition("/")[0])
    if not count:
        raise ValueError("would let nothing through: a rate must be more than zero")
    return Rate(count, _SECONDS[match[1]])


def long_rate(text: str) -> Rate:
    """Read a rate over a span long enough to count each recipient in: `1000/h`, `20000/day`."""
    if re.fullmatch(RATE, text) is None:
        raise ValueError("is not a rate: write a number per h or day, such as 20000/day")
    if re.fullmatch(LONG_RATE, text) is None:
        raise ValueError("is over too short a time for recipients: write a number per h or day")
    return rate(text)


def show_rate(value: Rate) -> str:
    """Write a rate in the unit it was given in."""
    unit = next(unit for unit, seconds in _SECONDS.items() if seconds == value.seconds)
    return f"{value.count}/{unit}"


def percentage(text: str) -> float:
    """Read `10%` as the fraction 0.1."""
    if re.fullmatch(PERCENTAGE, text) is None:
        raise ValueError("is not a percentage: write a number and %, such as 10%")
    # Divided last: 0.1, not 0.1000000001.
    return float(text[:-1]) / 100


def show_percentage(fraction: float) -> str:
    """Write a fraction as a percentage."""
    return f"{fraction * 100:g}%"


def free_share(text: str) -> float:
    """Read the share of a disk that is kept free."""
    fraction = percentage(text)
    if not 0.01 <= fraction <= 0.5:  # noqa: PLR2004 - named in the sentence
        raise ValueError("is out of range: between 1% and 50% of the disk can be kept free")
    return fraction


def reserve(text: str) -> float:
    """Read the share of a quota that is kept for some."""
    fraction = percentage(text)
    if not 0 <= fraction <= 0.9:  # noqa: PLR2004 - named in the sentence
        raise ValueError("is out of range: between 0% and 90% of the quota can be kept")
    return fraction


def count(text: str) -> int:
    """Read a whole number of at least one."""
    if re.fullmatch(COUNT, text) is None:
        raise ValueError("is not a whole number, such as 1000")
    if not int(text):
        raise ValueError("is zero: the least is 1")
    return int(text)


def recipient_count(text: str) -> int:
    """Read how many recipients one message may have."""
    found = count(text)
    if found > RECIPIENTS_LIMIT:
        raise ValueError(f"is more than the relay takes in one message: {RECIPIENTS_LIMIT} at most")
    return found


def boolean(text: str) -> bool:
    """Read `true` or `false`; YAML 1.1's other spellings are not booleans."""
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def word(text: str, words: type[Word]) -> Word:
    """Read one of a closed set of words."""
    if text not in tuple(words):
        raise ValueError(f"is not one of {', '.join(words)}")
    return words(text)
