"""The suppression list: who is on it is known in memory, why is kept in record.db.

Knows what is kept of it in memory. Does not know where reasons come from, or which prevails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from relay.mail.address import Address
from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.sender import Sender
from relay.policy.suppression import binds
from relay.ports import SpoolError
from relay.store.digests import Digests
from relay.store.disk import replace_file
from relay.store.reader import Reader
from relay.store.suppressing import Change, addresses, entries_of

_CACHE_KIBIBYTES: Final = 512


class SuppressionList:
    """Who is not mailed (ports.Suppressions). Changed only after it is durable.

    Memory tells of nearly every address that it is not listed; why one is, the database tells.

    A copy of the digests is kept in a file of its own. When the database cannot be read at start,
    the copy tells who is listed: mail to everybody else flows, and nobody is mailed who should not
    be, which a bulk sender's account might not survive. Of those listed it is not known why, so
    they are neither mailed nor failed: `find` raises, and they wait.
    """

    def __init__(self, reader: Reader, copy: Path, now: Callable[[], datetime]) -> None:
        self._reader = reader
        self._copy = copy
        self._now = now
        self._is_changed = False
        self._listed = Digests()
        self._counts: Counter[str] = Counter()

    def counts(self) -> Mapping[SuppressionReason, int]:
        """Return the number of addresses by reason; every reason is present."""
        return {reason: self._counts[reason] for reason in SuppressionReason}

    def may_hold(self, address: Address) -> bool:
        """Whether the address may be listed, from memory; never False for one that is."""
        return bool(self._listed) and address.folded in self._listed

    async def find(self, address: Address, sender: Sender | None = None) -> Suppression | None:
        """Return why that sender may not mail the address, or None; without a sender, why any.

        Raises SpoolError if it cannot be read.
        """
        now = self._now()
        entries = await self.entries(address)
        if sender is None:
            return entries[0] if entries else None
        return next((entry for entry in entries if binds(entry, sender, now)), None)

    async def entries(self, address: Address) -> Sequence[Suppression]:
        """Return all that the list holds of an address; raise SpoolError if it cannot be read."""
        try:
            return await self._reader.ask(partial(entries_of, address=address.folded))
        except ValueError as error:
            raise SpoolError(f"why {address} is suppressed cannot be read: {error}") from error

    def load(self, connection: Connection) -> None:
        """Read the whole list, page by page."""
        (size,) = connection.execute("PRAGMA cache_size").fetchone()
        # It is read once: what would be cached of it only fills memory.
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        listed, counts = Digests(), Counter[str]()
        listed.fill(addresses(connection, counts))
        connection.execute(f"PRAGMA cache_size = {size}")
        # While nobody was ever listed there is nothing to copy.
        self._is_changed = bool(listed) or bool(self._listed)
        # At one stroke: whoever asks meanwhile sees the old or the new.
        self._listed, self._counts = listed, counts

    def recall(self) -> bool:
        """Take up the copy, for want of the database; False where there is none, or it is no good.

        Then nobody is known to be listed, and mail flows: SES's own list is what is left.
        """
        try:
            self._listed = Digests.loaded(self._copy.read_bytes())
        except (OSError, ValueError):
            return False
        return True

    def copying(self) -> Callable[[], None] | None:
        """Return what brings the copy up to date, to be run in a thread; None if it is."""
        if not self._is_changed:
            return None
        self._is_changed = False
        return partial(replace_file, self._copy, self._listed.dump())

    def apply(self, change: Change) -> None:
        """Follow what has become durable."""
        address, before, after = change
        self._is_changed = True
        if before is None and after is not None:
            self._listed.add(address)
        elif before is not None and after is None:
            self._listed.remove(address)
        if before is not None:
            self._counts[before] -= 1
        if after is not None:
            self._counts[after] += 1
