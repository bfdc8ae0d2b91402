"""One mail transaction, MAIL to DATA (RFC 5321 section 3.3): who sends, from where, to whom.

Decides RCPT. Does not know the wire or the spool.
"""

from __future__ import annotations

from typing import Final

from relay.mail.address import Address
from relay.mail.envelope import Envelope
from relay.mail.reply import Refusal
from relay.policy.admission import admit_recipient
from relay.policy.sender import OnSuppressed, Sender
from relay.ports import Suppressions
from relay.smtp.replies import TOO_MANY_RECIPIENTS

# RFC 5321 section 4.5.3.1.8 asks for at least 100.
RECIPIENT_LIMIT: Final = 1000


class Transaction:
    """What has been agreed on since MAIL, by the rules that were in force then."""

    __slots__ = ("_dropped", "_recipients", "hostname", "reverse_path", "sender", "was_tried")

    def __init__(self, sender: Sender, reverse_path: Address | None, hostname: str) -> None:
        self.sender = sender
        self.reverse_path = reverse_path
        self.hostname = hostname
        self.was_tried = False
        """Whether RCPT was given at all, whatever came of it."""
        # In the order given, each once.
        self._recipients: dict[Address, None] = {}
        self._dropped: dict[Address, None] = {}

    def add(self, recipient: Address, suppressions: Suppressions) -> Refusal | bool:
        """Add a recipient, or say why not. False: it was added before, and is admitted again."""
        if recipient in self._recipients or recipient in self._dropped:
            return False
        if len(self._recipients) + len(self._dropped) >= RECIPIENT_LIMIT:
            return TOO_MANY_RECIPIENTS
        suppression = suppressions.find(recipient)
        refusal = admit_recipient(self.sender, recipient, suppression)
        if refusal is not None:
            return refusal
        if suppression is not None and self.sender.on_suppressed is OnSuppressed.DROP:
            self._dropped[recipient] = None
        else:
            self._recipients[recipient] = None
        return True

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
        """The recipient, where there is exactly one."""
        return next(iter(self._recipients)) if len(self._recipients) == 1 else None

    @property
    def envelope(self) -> Envelope:
        """What is to be spooled."""
        return Envelope(self.reverse_path, tuple(self._recipients))
