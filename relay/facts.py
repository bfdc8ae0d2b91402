"""What adapters report, told once: from each fact come a log line and metrics (relay.observe).

Part of the ports: adapters are given a Facts and never see a logger or a counter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import AccountName, Mail, QueueId, SenderName
from relay.mail.feedback import FeedbackEvent, Suppression
from relay.mail.outcome import Failed, Outcome
from relay.mail.reply import Refusal, Reply
from relay.operators import Order, Result
from relay.passing import Passed
from relay.policy.day import Hold
from relay.policy.sender import Accept
from relay.ports import SendQuota


class Facts(Protocol):
    """What happened, told once: one method per fact, from which log lines and metrics are made.

    Never blocks, never raises. Never given content, passwords or raw client input beyond addresses.
    """

    def session_opened(self, session_id: str, listener: str, peer: str) -> None:
        """A client connected."""
        ...

    def session_closed(self, session_id: str, listener: str) -> None:
        """A session ended, however it ended."""
        ...

    def connection_refused(self, listener: str, peer: str, reason: str) -> None:
        """A client was not served; reason is one of these.

        limit: too many connections, or too many of its network; sender: too many of its sender.
        spool: no mail can be kept now.
        proxy: it is not a trusted proxy; proxy_header: no PROXY header, or one that is malformed.
        tls: the handshake failed; certificate: the client's certificate did not verify.
        """
        ...

    def encrypted(self, session_id: str, listener: str, version: str) -> None:
        """A handshake was done, of TLS 1.0, 1.1, 1.2 or 1.3."""
        ...

    def hung_up(self, session_id: str, reply: Reply) -> None:
        """We ended a session that would have gone on, with this as the last reply."""
        ...

    def authenticated(self, session_id: str, mechanism: str, sender: SenderName) -> None:
        """A client proved which sender it is; mechanism is plain, login or certificate."""
        ...

    def line_endings_mended(self, session_id: str, listener: str, sender: SenderName) -> None:
        """Content came with line endings other than CRLF, and was accepted all the same."""
        ...

    def auth_failed(self, session_id: str, mechanism: str, reason: str) -> None:
        """An AUTH exchange failed; reason is credentials, tls_required, busy or aborted.

        Or a certificate did not verify behind STARTTLS: certificate and credentials.
        """
        ...

    def certificate_unknown(self, session_id: str, names: Sequence[str]) -> None:
        """A client's certificate verified, and none, or several, of its names are a sender's."""
        ...

    def refused(
        self,
        session_id: str,
        phase: str,
        refusal: Refusal,
        sender: SenderName | None,
        address: Address | None = None,
    ) -> None:
        """A command of a transaction was refused; phase is mail, rcpt or data.

        `address` is the reverse-path or the recipient that the command named, if it named one.
        """
        ...

    def accepted(self, session_id: str, listener: str, mail: Mail, seconds: float) -> None:
        """A mail was answered 250; `seconds` is what the commit took."""
        ...

    def passed(
        self,
        session_id: str,
        listener: str,
        accept: Accept,
        passed: Passed,
        reply: str,
        seconds: float,
    ) -> None:
        """A mail whose client waited for SES was answered, after so many seconds.

        `reply` is empty where the client was gone before SES was asked. What is in the queue of it
        is told of by `accepted` too, and a refusal by `refused`.
        """
        ...

    def dropped(self, queue_id: QueueId, sender: SenderName, recipient: Address) -> None:
        """A suppressed recipient was dropped by the sender's policy."""
        ...

    def fault(self, where: str, error: BaseException, session_id: str = "") -> None:
        """One of our own faults, with its traceback; the only place tracebacks go."""
        ...

    def attempted(
        self,
        account: AccountName,
        mail: Mail,
        recipients: Sequence[Address],
        outcome: Outcome,
        seconds: float,
    ) -> None:
        """One call to SES ended; `outcome` is the verdict on it."""
        ...

    def settled(
        self, account: AccountName, mail: Mail, recipient: Address, settled: Settled, now: datetime
    ) -> None:
        """One recipient's outcome was recorded."""
        ...

    def expired(
        self, account: AccountName | None, mail: Mail, recipient: Address, failed: Failed
    ) -> None:
        """A recipient was given up because its time was over, without waiting for an attempt.

        `account` is None where the sender is no longer configured.
        """
        ...

    def purged(self, mail: Mail) -> None:
        """Failed mail was kept as long as promised, and is gone; its recipients are not told."""
        ...

    def held_long(self, entries: int, limit: timedelta) -> None:
        """More mail than before has been held for half the time after which it is given up."""
        ...

    def swept(self, at: datetime, overdue: timedelta, held_long: int) -> None:
        """The whole queue was looked through for mail past its time.

        `overdue` is how long the mail that is most past it has been, `held_long` how many entries
        have been held for half the time after which they are given up.
        """
        ...

    def clock_stepped(self, by: timedelta, suspended: timedelta) -> None:
        """The wall clock stepped: for so long nothing is given up for its age."""
        ...

    def clock_settled(self) -> None:
        """The wall clock has kept time for long enough to be believed again."""
        ...

    def held(self, mail: Mail, reason: str) -> None:
        """An entry was held."""
        ...

    def ordered(self, order: Order, results: Mapping[Result, int], *, is_whole: bool) -> None:
        """An operator's order ended, gone through to its end or not; `results` counts mails."""
        ...

    def damaged(self, mail: Mail, complaint: str) -> None:
        """An entry was set aside as corrupt."""
        ...

    def breaker(self, account: AccountName, *, opened: bool, reason: str) -> None:
        """An account's breaker opened or closed."""
        ...

    def clock_skewed(self, account: AccountName, by: timedelta) -> None:
        """SES's clock is ahead of this machine's by so much; requests are signed by SES's time.

        Nothing, once they agree again.
        """
        ...

    def slowed(self, account: AccountName, rate: float, granted: float) -> None:
        """SES said that the rate was exceeded: less of what is granted is used for a while."""
        ...

    def daily_quota(self, account: AccountName, hold: Hold, left: float) -> None:
        """The daily quota holds back others than before; mail for `left` recipients may go."""
        ...

    def quota_read(self, account: AccountName, quota: SendQuota | None, complaint: str) -> None:
        """The account's quota was read, or could not be."""
        ...

    def spool_recovered(self, entries: int, ambiguous: int, strays: int, corrupt: int) -> None:
        """The spool was opened and what a crash left behind was put in order."""
        ...

    def spool_committed(self, batch: int, seconds: float) -> None:
        """A group of operations was made durable together."""
        ...

    def spool_failed(self, error: BaseException) -> None:
        """A commit failed, or a content file could not be written: that mail was refused."""
        ...

    def database_turned(self, database: str, *, is_well: bool, complaint: str) -> None:
        """A database cannot be written any more, or can again; it is spool.db or record.db.

        Without the spool mail is refused and nothing is sent; without the record mail flows, and
        the ledger waits.
        """
        ...

    def suppressions_recalled(self, *, is_whole: bool) -> None:
        """The suppression list cannot be read at start: a copy tells who is on it, or nothing does.

        Then whoever is on it is mailed, unless SES's own list keeps them from it.
        """
        ...

    def feedback(self, event: FeedbackEvent, *, duplicate: bool, stale: bool = False) -> None:
        """A verified event was taken in, or was known already; stale: of more than a day ago."""
        ...

    def feedback_not_understood(self, topic: str, message_id: str) -> None:
        """A verified message was kept raw: it is no event we know."""
        ...

    def feedback_refused(self, reason: str, complaint: str) -> None:
        """A feedback request was refused or discarded."""
        ...

    def suppressed(self, suppression: Suppression, *, actor: str) -> None:
        """An address was put on the suppression list."""
        ...

    def unsuppressed(self, address: str, *, actor: str, reason: str) -> None:
        """An address was taken off the suppression list."""
        ...

    def callback_told(self, sender: SenderName, kind: str, name: str) -> None:
        """A sending application has heard what became of its mail; `name` is the webhook-id."""
        ...

    def callback_failed(
        self, sender: SenderName, kind: str, name: str, complaint: str, due_at: datetime | None
    ) -> None:
        """It could not be told; it is told again at that time, or, without one, by an operator."""
        ...

    def service(self, event: str, **words: str | float) -> None:
        """Something about the daemon itself: started, listening, draining, reloaded, stopped."""
        ...
