"""SES event publishing: the JSON that a configuration set's event destination publishes.

SES Developer Guide, "Contents of event data that Amazon SES publishes to Amazon SNS". Builds;
does not decide what becomes of mail (`mailbox`) nor deliver anything (`publisher`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeAlias

from relay.simulator.mailbox import fate_of, is_simulator
from relay.simulator.settings import Fate
from relay.simulator.shelf import ses_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from relay.simulator.address import Mailbox
    from relay.simulator.content import Content
    from relay.simulator.settings import Settings
    from relay.simulator.shelf import Message

Event: TypeAlias = dict[str, object]

# Headers beyond this are left out, and `headersTruncated` says so.
MAX_HEADER_BYTES: Final = 10 * 1024

# SES API Reference, DeliveryOptions.MaxDeliverySeconds: at most 14 hours.
_RETRY_WINDOW: Final = timedelta(hours=14)
_OUTGOING_IP: Final = "198.51.100.7"
_COMMON_LISTS: Final = {"from": "From", "to": "To", "cc": "Cc", "replyTo": "Reply-To"}
_COMMON: Final = {
    "sender": "Sender",
    "date": "Date",
    "messageId": "Message-ID",
    "subject": "Subject",
}
_SUPPRESSED: Final = (Fate.ON_GLOBAL_LIST, Fate.ON_ACCOUNT_LIST)
_REACHED: Final = (Fate.DELIVERED, Fate.AUTO_REPLIED, Fate.COMPLAINED, Fate.DELAYED)


@dataclass(frozen=True, slots=True)
class _Bounce:
    kind: str
    sub_kind: str
    status: str
    diagnostic: str


_BOUNCES: Final[Mapping[Fate, _Bounce]] = {
    Fate.BOUNCED: _Bounce("Permanent", "General", "5.1.1", "smtp; 550 5.1.1 user unknown"),
    Fate.MAILBOX_FULL: _Bounce("Transient", "MailboxFull", "5.2.2", "smtp; 552 5.2.2 mailbox full"),
    # The wording of the diagnostics of these two is approximate.
    Fate.ON_GLOBAL_LIST: _Bounce(
        "Permanent",
        "Suppressed",
        "5.1.1",
        diagnostic="Amazon SES has suppressed sending to this address because it has a recent "
        "history of bouncing as an invalid address.",
    ),
    Fate.ON_ACCOUNT_LIST: _Bounce(
        "Permanent",
        "OnAccountSuppressionList",
        "5.1.1",
        diagnostic="Amazon SES did not send the message to this address because it is on the "
        "suppression list for your account.",
    ),
}


def events_of(
    message: Message, settings: Settings, *, at: datetime, listed: tuple[Mailbox, ...] = ()
) -> Iterator[Event]:
    """Every event of a message that SES took, in the order SES finds out.

    Those `listed` are on the account's own suppression list, and get nothing.
    """
    report = _Report(message, settings, at)
    if message.content.has_virus:
        # Accepted, never sent: the only event is this one.
        yield report.event("Reject", {"reason": "Bad content"})
        return
    yield report.event("Send", {})
    for fate, recipients in _grouped(message, settings, listed):
        addresses = [str(recipient) for recipient in recipients]
        if bounce := _BOUNCES.get(fate):
            reporter = "amazonses.com" if fate in _SUPPRESSED else report.reporting_mta
            yield report.event("Bounce", report.bounce(bounce, addresses, f"dns; {reporter}"))
        if fate is Fate.DELAYED:
            yield report.event("DeliveryDelay", report.delay(addresses))
        if fate in _REACHED:
            yield report.event("Delivery", report.delivery(addresses), outgoing_ip=_OUTGOING_IP)
        if fate is Fate.COMPLAINED:
            yield report.event("Complaint", report.complaint(addresses))


def timestamp(at: datetime) -> str:
    """A moment as SES and SNS write it."""
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _grouped(
    message: Message, settings: Settings, listed: tuple[Mailbox, ...]
) -> Iterator[tuple[Fate, tuple[Mailbox, ...]]]:
    """One event a recipient, but the mailbox simulator's bounces of one call come back merged."""
    merged: list[tuple[Fate, Mailbox]] = []
    for recipient in message.recipients:
        fate = Fate.ON_ACCOUNT_LIST if recipient in listed else fate_of(recipient, settings)
        if settings.simulated_bounces_merged and fate in _BOUNCES and is_simulator(recipient):
            merged.append((fate, recipient))
        else:
            yield fate, (recipient,)
    merged.sort(key=lambda pair: pair[0])
    for fate, group in groupby(merged, key=lambda pair: pair[0]):
        yield fate, tuple(recipient for _, recipient in group)


@dataclass(frozen=True, slots=True)
class _Report:
    """What SES says of one message at one moment."""

    message: Message
    settings: Settings
    at: datetime

    def event(self, kind: str, body: Event, *, outgoing_ip: str | None = None) -> Event:
        """The event: its type, what happened under a key named after it, and the mail."""
        key = kind[0].lower() + kind[1:]
        return {"eventType": kind, key: body, "mail": self._mail(outgoing_ip)}

    @property
    def reporting_mta(self) -> str:
        return f"a7-21.smtp-out.{self.settings.region}.amazonses.com"

    def bounce(self, bounce: _Bounce, addresses: list[str], reporting_mta: str) -> Event:
        return {
            "bounceType": bounce.kind,
            "bounceSubType": bounce.sub_kind,
            "bouncedRecipients": [
                {
                    "emailAddress": address,
                    "action": "failed",
                    "status": bounce.status,
                    "diagnosticCode": bounce.diagnostic,
                }
                for address in addresses
            ],
            "timestamp": timestamp(self.at),
            "feedbackId": ses_id(self.at),
            "reportingMTA": reporting_mta,
        }

    def complaint(self, addresses: list[str]) -> Event:
        return {
            "complainedRecipients": [{"emailAddress": address} for address in addresses],
            "timestamp": timestamp(self.at),
            "feedbackId": ses_id(self.at),
            "complaintSubType": None,
            "userAgent": "Amazon SES Mailbox Simulator",
            "complaintFeedbackType": "abuse",
            "arrivalDate": timestamp(self.message.received_at),
        }

    def delivery(self, addresses: list[str]) -> Event:
        took = self.at - self.message.received_at
        return {
            "timestamp": timestamp(self.at),
            "processingTimeMillis": max(0, took // timedelta(milliseconds=1)),
            "recipients": addresses,
            "smtpResponse": "250 2.0.0 OK queued by the simulator",
            "reportingMTA": self.reporting_mta,
        }

    def delay(self, addresses: list[str]) -> Event:
        return {
            "timestamp": timestamp(self.at),
            "delayType": "TransientCommunicationFailure",
            "expirationTime": timestamp(self.message.received_at + _RETRY_WINDOW),
            "reportingMTA": self.reporting_mta,
            "delayedRecipients": [
                {
                    "emailAddress": address,
                    "status": "4.4.1",
                    "diagnosticCode": "smtp; 421 4.4.1 Unable to connect to remote host",
                }
                for address in addresses
            ],
        }

    def _mail(self, outgoing_ip: str | None) -> Event:
        message, account = self.message, self.settings.account_id
        headers, truncated = _headers(message.content)
        return {
            "timestamp": timestamp(message.received_at),
            "source": message.source or str(message.envelope_from),
            "sourceArn": f"arn:aws:ses:{self.settings.region}:{account}:identity/"
            f"{message.identity}",
            "sendingAccountId": account,
            "messageId": message.id,
            "destination": [str(recipient) for recipient in message.recipients],
            "headersTruncated": truncated,
            "headers": headers,
            "commonHeaders": _common_headers(message.content),
            "tags": self._tags(outgoing_ip),
        }

    def _tags(self, outgoing_ip: str | None) -> dict[str, list[str]]:
        message = self.message
        tags = {
            "ses:operation": ["SendRawEmail"],
            "ses:configuration-set": [message.configuration_set or ""],
            "ses:source-ip": [message.client],
            "ses:from-domain": [message.envelope_from.domain],
            "ses:caller-identity": [message.caller],
        }
        for name, value in message.tags:
            tags.setdefault(name, []).append(value)
        if outgoing_ip is not None:
            tags["ses:outgoing-ip"] = [outgoing_ip]
        return tags


def _headers(content: Content) -> tuple[list[dict[str, str]], bool]:
    kept: list[dict[str, str]] = []
    used = 0
    for header in content.headers:
        used += len(header.name) + len(header.value) + 2
        if used > MAX_HEADER_BYTES:
            return kept, True
        kept.append({"name": header.name, "value": _text(header.value)})
    return kept, False


def _common_headers(content: Content) -> Event:
    common: Event = {}
    for key, name in _COMMON_LISTS.items():
        if values := content.all(name):
            common[key] = [_text(part) for value in values for part in _top_level(value)]
    for key, name in _COMMON.items():
        if (value := content.first(name)) is not None:
            common[key] = _text(value)
    return common


def _top_level(value: str) -> Iterator[str]:
    """The addresses of a header as they are written, display names included."""
    start, quoted = 0, False
    for position, character in enumerate(value):
        if character == '"' and value[position - 1 : position] != "\\":
            quoted = not quoted
        elif character == "," and not quoted:
            yield value[start:position].strip()
            start = position + 1
    yield value[start:].strip()


def _text(value: str) -> str:
    """Header text that JSON and UTF-8 can carry, whatever octets were sent."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
