"""One call that sends: SendRawEmail of v1, read from its form here, or SendEmail of v2.

Knows the parameters and the X-SES-* headers that stand for them. Does not know which values are
allowed.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from relay.simulator.address import AddressError, Mailbox, parse_mailbox, parse_mailboxes
from relay.simulator.content import Content
from relay.simulator.errors import ApiError, invalid

if TYPE_CHECKING:
    from relay.simulator.form import Form
    from relay.simulator.settings import Settings

_RECIPIENT_HEADERS: Final = ("To", "Cc", "Bcc")


class Api(StrEnum):
    """Which of SES's two APIs a call came by."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What the caller asked SES to send."""

    api: Api
    #: The parameter as given, a display name included. Of v2, where feedback is to go.
    source: str | None
    destinations: tuple[str, ...]
    content: Content
    tags: tuple[tuple[str, str], ...]
    configuration_set: str | None
    #: SourceArn, FromArn and ReturnPathArn, those that were given; of v2 its two.
    identity_arns: tuple[str, ...]
    #: Known to v2 only.
    tenant: str | None = None

    @classmethod
    def read(cls, form: Form) -> Submission | ApiError:
        """Read the parameters of SES API Reference, SendRawEmail."""
        encoded = form.octets("RawMessage.Data")
        if encoded is None:
            return ApiError(
                "ValidationError",
                "1 validation error detected: Value null at 'rawMessage.data' failed to satisfy "
                "constraint: Member must not be null",
            )
        try:
            octets = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return ApiError("MalformedInput", "RawMessage.Data is not valid base64")
        arns = (form.text(name) for name in ("SourceArn", "FromArn", "ReturnPathArn"))
        return cls(
            api=Api.V1,
            source=form.text("Source"),
            destinations=tuple(form.members("Destinations")),
            content=Content.read(octets),
            tags=tuple(form.pairs("Tags")),
            configuration_set=form.text("ConfigurationSetName") or None,
            identity_arns=tuple(arn for arn in arns if arn),
        )

    def effective_tags(self) -> tuple[tuple[str, str], ...]:
        """The tags that count: header tags are ignored when the parameter is given."""
        header = self.content.first("X-SES-MESSAGE-TAGS")
        if self.tags or not header:
            return self.tags
        pairs = (pair.partition("=") for pair in header.split(",") if pair.strip())
        return tuple((name.strip(), value.strip()) for name, _, value in pairs)

    def effective_tenant(self) -> str | None:
        """The tenant that counts; the header stands for the parameter, in both APIs."""
        return self.tenant or self.content.first("X-SES-TENANT") or None

    def effective_configuration_set(self, settings: Settings) -> str | None:
        """The configuration set that counts; which wins over the other is a switch."""
        header = self.content.first("X-SES-CONFIGURATION-SET") or None
        ranked = (
            (header, self.configuration_set)
            if settings.configuration_set_header_wins
            else (self.configuration_set, header)
        )
        return next((name for name in ranked if name), settings.default_configuration_set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """The mailboxes of a submission, all of them well formed."""

    source: Mailbox | None
    authors: tuple[Mailbox, ...]
    sender: Mailbox | None
    return_path: Mailbox | None
    #: Who gets the mail: Destinations, or else To, Cc and Bcc.
    recipients: tuple[Mailbox, ...]

    @classmethod
    def read(cls, submission: Submission, settings: Settings) -> Parties | ApiError:
        """Parse every address, or give SES's complaint about the first that is malformed."""
        try:
            return cls._parse(submission, settings)
        except AddressError as error:
            return invalid(str(error))

    @classmethod
    def _parse(cls, submission: Submission, settings: Settings) -> Parties:
        headers = submission.content
        source = None if submission.source is None else parse_mailbox(submission.source)
        sender, return_path = headers.first("Sender"), headers.first("Return-Path")
        if settings.header_addresses_checked or not submission.destinations:
            named = tuple(
                mailbox
                for name in _RECIPIENT_HEADERS
                for value in headers.all(name)
                for mailbox in parse_mailboxes(value)
            )
            for value in headers.all("Reply-To"):
                parse_mailboxes(value)
        else:
            named = ()
        author = headers.first("From")
        authors = () if author is None else parse_mailboxes(author)
        if author is not None and not authors:
            raise AddressError("Missing final '@domain'")
        return cls(
            source=source,
            authors=authors,
            sender=None if sender is None else parse_mailbox(sender),
            return_path=None if return_path is None else parse_mailbox(return_path),
            recipients=tuple(map(parse_mailbox, submission.destinations)) or named,
        )

    @property
    def envelope_from(self) -> Mailbox | None:
        """What events report as `source`: the parameter, or else the author."""
        return self.source or (self.authors[0] if self.authors else None)
