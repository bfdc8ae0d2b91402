"""How much mail of each sender the spool keeps, counted in memory (ports.Spool.backlog).

Knows sums. Does not know limits, or why mail comes and goes. For the loop alone, but for `load`.
"""

from __future__ import annotations

from sqlite3 import Connection
from typing import Final

from relay.mail.entry import Backlog
from relay.mail.envelope import Mail, SenderName

# The tally has a row for each sender and state, whatever the number of entries.
_SUMS: Final = """
    SELECT sender, sum(entries), sum(octets) FROM tally
    GROUP BY sender HAVING sum(entries) > 0"""
_NOTHING: Final = Backlog(0, 0)


class Backlogs:
    """What is kept of each sender: told of each mail when its commit begins, and once it is gone.

    Mail whose commit is under way counts, so that those who commit at once cannot all take the last
    of a share.
    """

    def __init__(self) -> None:
        self._by_sender: dict[SenderName, Backlog] = {}
        self.octets = 0
        """What is kept of all senders together."""

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return bool(self._by_sender)

    def load(self, connection: Connection) -> None:
        """Count what is there already."""
        self._by_sender.clear()
        self.octets = 0
        for sender, messages, octets in connection.execute(_SUMS):
            self._by_sender[SenderName(sender)] = Backlog(messages, octets)
            self.octets += octets

    def of(self, sender: SenderName) -> Backlog:
        """Return what is kept of a sender."""
        return self._by_sender.get(sender, _NOTHING)

    def add(self, mail: Mail) -> None:
        """Count a mail that is about to become durable."""
        messages, octets, _ = self.of(mail.sender)
        self.octets += mail.size
        self._by_sender[mail.sender] = Backlog(messages + 1, octets + mail.size)

    def forget(self, mail: Mail) -> None:
        """Count a mail no more: its row is gone, or never came to be."""
        messages, octets, _ = self.of(mail.sender)
        self.octets -= mail.size
        if messages > 1:
            self._by_sender[mail.sender] = Backlog(messages - 1, octets - mail.size)
        else:
            self._by_sender.pop(mail.sender, None)
