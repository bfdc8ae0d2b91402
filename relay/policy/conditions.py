"""What is wrong with a relay, from what is known of it: the conditions behind status and alerts.

Each bears the name of the alert in config/prometheus/alerts.yaml that fires for the same reason; a
test holds the two together. Pure: what is seen is handed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from typing import Final, NamedTuple

from relay.policy.trend import Trend

# In minutes.
STALLED: Final = 15
TROUBLE_WINDOW: Final = 10
THROTTLE_WINDOW: Final = 15
FEEDBACK_SILENCE: Final = 6 * 60
FAILED_WINDOW: Final = 60
DAY: Final = 24 * 60
PROBE_SILENCE: Final = 30

ERROR_SHARE: Final = 0.05
THROTTLED_SHARE: Final = 0.1
QUOTA_SHARE: Final = 0.9
BOUNCE_SHARE: Final = 0.04
COMPLAINT_SHARE: Final = 0.0008
FAILED_SHARE: Final = 0.02
# Below these numbers a share says nothing.
REPUTATION_VOLUME: Final = 200
FEEDBACK_VOLUME: Final = 50
FAILED_VOLUME: Final = 20
CERTIFICATE_DAYS: Final = 14

# What of SES's refusals who mends: the way to it, or our standing there.
WAY_ERRORS: Final = ("connection", "timeout", "server")
ACCESS_ERRORS: Final = ("credentials", "access_denied", "not_verified", "configuration")
OTHER_ERRORS: Final = (*WAY_ERRORS, "other")


class Severity(StrEnum):
    """Whether somebody is to be woken."""

    CRITICAL = "critical"
    WARNING = "warning"


class Condition(NamedTuple):
    """Something is wrong. `alert` is its name, `words` a sentence for an operator."""

    alert: str
    severity: Severity
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSigns:
    """What is known of an account. `suspended` is why nothing is sent by it, or empty."""

    name: str
    complaint: str = ""
    """Why there are no credentials."""
    suspended: str = ""
    may_send: bool = True
    """Whether SES lets it send, as it last said."""
    held: bool = False
    """Whether the daily quota holds all mail."""
    is_short: bool = False
    """Whether it holds any."""
    quota_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is known of the relay. Ages are seconds; counts are in `trend`."""

    trend: Trend
    minute: float = 60.0
    accounts: Collection[AccountSigns] = ()
    certificates: Mapping[str, timedelta] = field(default_factory=dict)
    """How long that of each listener is still valid."""
    is_reloaded: bool = True
    has_room: bool = True
    spool_is_well: bool = True
    record_is_well: bool = True
    queue: Mapping[str, int] = field(default_factory=dict)
    due_for: float = 0.0
    """How long the mail that is due longest has been, paused senders left out."""
    oldest: datetime | None = None
    """When the oldest mail that is still to be relayed came; no condition asks for it."""
    feedback_age: float = 0.0
    held_long: int = 0
    clock_in_doubt: bool = False
    probe_age: float | None = None
    """Since the probe last came back; None without one."""


def conditions(signs: Signs) -> list[Condition]:
    """Return what is wrong, the worst first."""
    found = list(chain(_spool(signs), _accounts(signs), _outcomes(signs), _service(signs)))
    return sorted(found, key=lambda one: one.severity is Severity.WARNING)


def verdict(found: Collection[Condition], queued: int, relayed: float) -> str:
    """Say it in a sentence. `relayed` counts recipients of the last quarter of an hour."""
    if found:
        first, *more = found
        also = f" Also: {', '.join(one.alert for one in more)}." if more else ""
        return f"{first.words}{also}"
    moved = f"{relayed:.0f} recipients were relayed in the last 15 minutes"
    return f"All is well: {moved}, {queued or 'no'} messages wait."


def _critical(alert: str, words: str) -> Condition:
    return Condition(alert, Severity.CRITICAL, words)


def _warning(alert: str, words: str) -> Condition:
    return Condition(alert, Severity.WARNING, words)


def _spool(signs: Signs) -> Iterator[Condition]:
    growth = signs.trend.growth
    if not signs.spool_is_well or growth("commit_failures", TROUBLE_WINDOW) > 0:
        yield _critical("RelaySpoolRefusing", "The spool cannot store mail; clients are refused.")
    elif not signs.has_room:
        yield _critical("RelaySpoolRefusing", "The disk of the spool is full; clients are refused.")
    if signs.queue.get("corrupt", 0):
        count = signs.queue["corrupt"]
        yield _warning("RelaySpoolCorrupt", f"{count} damaged messages were set aside.")
    # On one disk both fail, and then no mail flows.
    if not signs.record_is_well and signs.spool_is_well:
        words = "record.db cannot be written: mail flows, and ledger and feedback wait."
        yield _warning("RelayRecordUnavailable", words)


def _accounts(signs: Signs) -> Iterator[Condition]:
    for account in signs.accounts:
        yield from _account(signs.trend, account)


def _account(trend: Trend, account: AccountSigns) -> Iterator[Condition]:
    name = account.name

    def failures(errors: Collection[str], minutes: float) -> float:
        return sum(trend.growth(f"failures {name} {error}", minutes) for error in errors)

    if not account.may_send:
        words = f"SES has paused sending for account {name}; its mail is kept."
        yield _critical("RelaySesSendingPaused", words)
    if account.complaint or failures(ACCESS_ERRORS, TROUBLE_WINDOW) > 0:
        why = f" ({account.complaint})" if account.complaint else ""
        words = f"SES refuses account {name}'s credentials, permissions or identities{why}."
        yield _critical("RelaySesAccessRefused", words)
    if account.suspended in WAY_ERRORS:
        words = f"SES cannot be reached for account {name} ({account.suspended}); its mail is kept."
        yield _critical("RelaySesUnreachable", words)
    else:
        requests = trend.growth(f"requests {name}", TROUBLE_WINDOW)
        if (
            not account.suspended
            and failures(OTHER_ERRORS, TROUBLE_WINDOW) > requests * ERROR_SHARE
        ):
            yield _warning("RelaySesErrors", f"SES answers account {name} with errors.")
    requests = trend.growth(f"requests {name}", THROTTLE_WINDOW)
    if failures(("throttled",), THROTTLE_WINDOW) > requests * THROTTLED_SHARE:
        words = f"SES throttles account {name}: its rate is exceeded, perhaps by others."
        yield _warning("RelaySesThrottled", words)
    if account.held:
        words = f"The daily quota of account {name} is used up; its mail waits."
        yield _critical("RelaySesDailyQuotaUsedUp", words)
    elif account.quota_share > QUOTA_SHARE:
        words = f"Account {name} has used {account.quota_share:.0%} of its daily quota."
        yield _warning("RelaySesDailyQuotaLow", words)


def _outcomes(signs: Signs) -> Iterator[Condition]:
    growth, minute = signs.trend.growth, signs.minute
    is_explained = any(
        one.suspended
        or one.is_short
        or not one.may_send
        or growth(f"failures {one.name} throttled", STALLED) > 0
        for one in signs.accounts
    )
    if (
        signs.due_for > STALLED * minute
        and growth("relayed", STALLED) == 0
        and signs.spool_is_well
        and not is_explained
    ):
        words = f"Mail has been due for {_span(signs.due_for)} and none goes out."
        yield _critical("RelayDeliveryStalled", words)
    relayed = growth("relayed", DAY)
    if relayed > REPUTATION_VOLUME:
        bounced = growth("bounces permanent", DAY) / relayed
        if bounced > BOUNCE_SHARE:
            yield _warning("RelayBounceRateHigh", f"{bounced:.1%} of recipients bounced in a day.")
        complained = growth("complaints", DAY) / relayed
        if complained > COMPLAINT_SHARE:
            words = f"{complained:.2%} of recipients complained in a day."
            yield _warning("RelayComplaintRateHigh", words)
    accepted = growth("accepted", FAILED_WINDOW)
    if accepted > FAILED_VOLUME and growth("failed", FAILED_WINDOW) > accepted * FAILED_SHARE:
        yield _warning(
            "RelayRecipientsFailed", "The relay gives up on more than 2 % of recipients."
        )
    if (
        signs.feedback_age > FEEDBACK_SILENCE * minute
        and growth("relayed", FEEDBACK_SILENCE) > FEEDBACK_VOLUME
    ):
        words = f"No event of SES has come for {_span(signs.feedback_age)}, though mail goes out."
        yield _warning("RelayFeedbackSilent", words)
    if signs.held_long:
        words = f"{signs.held_long} messages are held for half the time after which they are lost."
        yield _warning("RelayMailHeldLong", words)


def _service(signs: Signs) -> Iterator[Condition]:
    growth = signs.trend.growth
    if signs.probe_age is not None and signs.probe_age > PROBE_SILENCE * signs.minute:
        words = f"The probe has not come back for {_span(signs.probe_age)}."
        yield _critical("RelayProbeFailing", words)
    if not signs.is_reloaded:
        words = "The changed configuration was refused; the previous one is in force."
        yield _warning("RelayConfigReloadFailed", words)
    for listener, left in signs.certificates.items():
        if left < timedelta(days=CERTIFICATE_DAYS):
            when = f"expires in {left.days} days" if left > timedelta(0) else "has expired"
            words = f"The certificate of listener {listener} {when}."
            yield _warning("RelayCertificateExpiresSoon", words)
    if signs.clock_in_doubt:
        yield _warning("RelayClockInDoubt", "The clock stepped; nothing is given up for its age.")
    if growth("log_dropped", THROTTLE_WINDOW) > 0:
        yield _warning("RelayLogLinesDropped", "Log lines were lost: whoever reads them is stuck.")
    if growth("faults", THROTTLE_WINDOW) > 0:
        yield _warning(
            "RelayInternalFaults", "The relay has a fault of its own; see `fault` in the log."
        )


def _span(seconds: float) -> str:
    """Write a duration in its two largest units."""
    rest, parts = int(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
