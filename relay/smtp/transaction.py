"""One mail transaction, MAIL to DATA (RFC 5321 section 3.3): who sends, from where, to whom.

Decides RCPT. Does not know the wire or the spool.
"""

from __future__ import annotations

from relay.mail.address import Address
from relay.mail.envelope import Envelope
from relay.mail.feedback import Suppression
from relay.mail.reply import Refusal
from relay.policy.admission import admit_recipient, too_many_recipients
from relay.policy.ruleset import Ruleset
from relay.policy.sender import OnSuppressed, Sender


class Transaction:
    """What has been agreed on since MAIL, by the rules that were in force then."""

    __slots__ = (
        "_dropped",
        "_recipients",
        "has_content",
        "reverse_path",
        "ruleset",
        "sender",
        "was_tried",
    )

    def __init__(self, sender: Sender, reverse_path: Address, ruleset: Ruleset) -> None:
        self.sender = sender
        self.reverse_path = reverse_path
        self.ruleset = ruleset
        self.was_tried = False
        """Whether RCPT was given at all, whatever came of it."""
        self.has_content = False
        """Whether BDAT was given: from then on, nothing but BDAT can follow."""
        # In the order given, each once.
        self._recipients: dict[Address, None] = {}
        self._dropped: dict[Address, None] = {}

    def __contains__(self, recipient: Address) -> bool:
        """Whether the recipient was added before."""
        return recipient in self._recipients or recipient in self._dropped

    def add(self, recipient: Address, suppression: Suppression | None) -> Refusal | None:
        """Add a recipient, or say why not. `suppression` is what the list says of it."""
        sender = self.sender
        if len(self._recipients) + len(self._dropped) >= sender.limits.recipients_per_message:
            return too_many_recipients(sender)
        refusal = admit_recipient(sender, recipient, suppression)
        if refusal is not None:
            return refusal
        is_mailed = suppression is None or sender.redirect_all is not None
        if not is_mailed and sender.on_suppressed is OnSuppressed.DROP:
            self._dropped[recipient] = None
        else:
            self._recipients[recipient] = None
        return None

    @property
    def mailed(self) -> tuple[Address, ...]:
        """The recipients as the client gave them, less those that are dropped."""
        return tuple(self._recipients)

    @property
    def mailed_count(self) -> int:
        """How many these are."""
        return len(self._recipients)

    @property
    def has_recipient(self) -> bool:
        """Whether any recipient was admitted, be it to be dropped."""
        return bool(self._recipients or self._dropped)

    @property
    def is_for_nobody(self) -> bool:
        """Whether no recipient is left to be mailed."""
        return not self._recipients

    @property
    def dropped(self) -> tuple[Address, ...]:
        """The recipients that are admitted and, by the sender's policy, not mailed."""
        return tuple(self._dropped)

    @property
    def only_recipient(self) -> Address | None:
        """Whom it goes to, where that is exactly one."""
        recipients = self._recipients
        if self.sender.redirect_all is not None and recipients:
            return self.sender.redirect_all
        return next(iter(recipients)) if len(recipients) == 1 else None

    @property
    def redirected(self) -> tuple[Address, ...]:
        """The recipients whose mail goes to somebody else instead."""
        return () if self.sender.redirect_all is None else self.mailed

    @property
    def envelope(self) -> Envelope:
        """What is to be spooled: whom the mail goes to, which a sender may have redirected."""
        instead = self.sender.redirect_all
        if instead is not None and self._recipients:
            return Envelope(self.reverse_path, (instead,))
        return Envelope(self.reverse_path, tuple(self._recipients))
