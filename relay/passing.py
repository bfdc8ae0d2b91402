"""Where mail is passed on to SES while its client waits: what front door, delivery and store agree.

Part of the ports (see relay.ports). A mail of mode queued never comes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from relay.mail.address import Address
from relay.mail.envelope import Envelope, Mail
from relay.mail.outcome import Relayed
from relay.mail.reply import Refusal
from relay.policy.passing import Ending
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.ports import Claim, Content, Draft


@dataclass(frozen=True, slots=True)
class Parcel:
    """A mail whose content has come whole and whose client waits, with the rules it came under."""

    draft: Draft
    envelope: Envelope
    sender: Sender
    ruleset: Ruleset


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of a parcel, for all of its recipients.

    `mail` is for all of them; `kept` for those it is in the queue for, None where nothing is. With
    `refusal` the client has the mail still.
    """

    ending: Ending
    mail: Mail
    ses_message_id: str = ""
    refusal: Refusal | None = None
    kept: Mail | None = None

    @property
    def is_to_be_queued(self) -> bool:
        """Whether SES was not asked and nothing is kept yet: whoever asked is to commit it."""
        return self.ending is Ending.QUEUED and self.kept is None


class Passage(Protocol):
    """The way of a mail to SES while its client waits (R6)."""

    async def pass_on(self, parcel: Parcel) -> Passed:
        """Return what became of it; raise SpoolError where it can neither be sent nor kept.

        Cancelling says that the client has gone. Nothing is begun any more then, and what was begun
        is seen through: it returns all the same, and until it does the draft is in use. What is
        kept is committed; the draft is to be discarded afterwards, which does nothing to that.
        """
        ...


class Shelf(Protocol):
    """What of a store holds mail that is being passed on: nothing, until it must be kept."""

    async def content(self, draft: Draft) -> Content:
        """Return what was appended, readable until the draft is discarded; raise SpoolError.

        The draft stays open, and what it was given is counted as before.
        """
        ...

    async def keep(
        self,
        draft: Draft,
        mail: Mail,
        content: Content,
        *,
        mark: Sequence[Address],
        node: str,
        now: datetime,
        lease: timedelta,
    ) -> Claim:
        """Commit the draft, whose content that is, as an entry in flight; return its claim.

        Durable when it returns. After a crash those of `mark` are ambiguous and the others due.
        Raises SpoolError, leaving nothing; then the draft can only be discarded.
        """
        ...

    def note(self, mail: Mail, said: Mapping[Address, Relayed | Refusal], *, now: datetime) -> None:
        """Begin to tell the ledger what came of a mail that is not kept for these recipients.

        Nobody waits for it: the reply comes first. Raises SpoolError where nothing is written any
        more.
        """
        ...
