"""Keeps the suppression list a copy of each account's own list at SES.

SES lets nobody see what is gone but by reading all of it, and answers one call a second: so all of
it now and then, page by page, and what is new since in between (SES API v2 Reference,
ListSuppressedDestinations). Each page is durable before the next is asked for, so a kill costs one
page. Does not know the SDK.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from relay.aftermath import AccountList, Listed, Progress, SyncBook, TokenError
from relay.facts import Facts
from relay.mail.envelope import AccountName
from relay.mail.feedback import Suppression, SuppressionReason, account_scope
from relay.ports import Clock

PACE: Final = 1.1
"""Seconds between two calls: "once per second" (SES quotas), with room for other askers."""
INCREMENT_EVERY: Final = timedelta(minutes=15)
SWEEP_EVERY: Final = timedelta(days=7)
FIRST_AFTER: Final = 60.0  # seconds
# Listed a moment after the time they bear; what is read twice costs nothing.
_OVERLAP: Final = timedelta(hours=1)

_REASONS: Final = {
    "BOUNCE": SuppressionReason.BOUNCE,
    "COMPLAINT": SuppressionReason.COMPLAINT,
}


@dataclass(frozen=True, slots=True)
class Synced:
    """How far a synchronisation has come; the last says what it came to."""

    account: AccountName
    is_full: bool
    seen: int
    changed: int
    removed: int
    is_done: bool


class ListSync:
    """Follows one account's list. One synchronisation at a time."""

    def __init__(
        self,
        account: AccountName,
        listing: AccountList,
        book: SyncBook,
        *,
        clock: Clock,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.account = account
        self.listing = listing
        self._book = book
        self._clock = clock
        self._sleep = sleep
        self._lock = asyncio.Lock()

    async def run(self, tell: Callable[[Synced], None], *, full: bool = False) -> Synced:
        """Bring the copy up to date, telling of each page.

        In full if asked to, if that was never done or not for long, or if it was broken off; else
        what is new. Raises what the SDK raises, and SpoolError; what is done stays done.
        """
        async with self._lock:
            progress = await self._book.progress(self.account)
            if full or progress.token or self._is_sweep_due(progress):
                return await self._sweep(progress, tell)
            return await self._follow(progress, tell)

    def _is_sweep_due(self, progress: Progress) -> bool:
        swept_at = progress.swept_at
        return swept_at is None or self._clock.now() - swept_at >= SWEEP_EVERY

    async def _sweep(self, progress: Progress, tell: Callable[[Synced], None]) -> Synced:
        if not progress.token:
            progress = replace(progress, sweep=progress.sweep + 1, seen=0)
        changed = 0
        while True:
            try:
                page = await self.listing.page(None, progress.token)
            except TokenError:
                # What was met keeps its mark; only what is left out of all pages is let go.
                progress = replace(progress, token="", seen=0)
                await self._sleep(PACE)
                continue
            progress = replace(
                progress,
                token=page.token,
                seen=progress.seen + len(page.entries),
                newest=_newest(progress.newest, page.entries),
            )
            changed += await self._copy(page.entries, progress)
            if not page.token:
                break
            tell(Synced(self.account, True, progress.seen, changed, 0, is_done=False))
            await self._sleep(PACE)
        progress = replace(progress, swept_at=self._clock.now())
        removed = await self._book.finish(self.account, progress)
        done = Synced(self.account, True, progress.seen, changed, removed, is_done=True)
        tell(done)
        return done

    async def _follow(self, progress: Progress, tell: Callable[[Synced], None]) -> Synced:
        since = None if progress.newest is None else progress.newest - _OVERLAP
        token, seen, changed = "", 0, 0
        while True:
            page = await self.listing.page(since, token)
            token, seen = page.token, seen + len(page.entries)
            progress = replace(progress, newest=_newest(progress.newest, page.entries))
            changed += await self._copy(page.entries, progress)
            if not token:
                break
            tell(Synced(self.account, False, seen, changed, 0, is_done=False))
            await self._sleep(PACE)
        done = Synced(self.account, False, seen, changed, 0, is_done=True)
        tell(done)
        return done

    async def _copy(self, entries: Sequence[Listed], progress: Progress) -> int:
        scope = account_scope(self.account)
        return await self._book.copy(
            self.account,
            [
                Suppression(
                    address=one.address.lower(),
                    reason=_REASONS.get(one.reason, SuppressionReason.BOUNCE),
                    detail=f"on the suppression list of SES account {self.account}",
                    since=one.at,
                    scope=scope,
                    spelling=one.address,
                )
                for one in entries
            ],
            progress,
        )


async def keep_in_sync(
    syncs: Callable[[], Mapping[AccountName, ListSync]], facts: Facts, stop: asyncio.Event
) -> None:
    """Synchronise all accounts there are again and again, until told to stop.

    That SES says no is told once, and ends nothing.
    """
    wait, told = FIRST_AFTER, set[AccountName]()
    while not stop.is_set():
        try:
            async with asyncio.timeout(wait):
                await stop.wait()
                return
        except TimeoutError:
            pass
        for name, sync in list(syncs().items()):
            try:
                done = await sync.run(lambda _: None)
            except Exception as error:  # noqa: BLE001 - the SDK raises what it likes; asked again
                if name not in told:
                    complaint = str(error) or type(error).__name__
                    facts.service("list_not_synced", account=name, complaint=complaint)
                told.add(name)
            else:
                told.discard(name)
                if done.changed or done.removed:
                    tell_synced(facts, done)
        wait = INCREMENT_EVERY.total_seconds()


def tell_synced(facts: Facts, done: Synced) -> None:
    """Tell what a synchronisation came to."""
    facts.service(
        "list_synced",
        account=done.account,
        full=str(done.is_full).lower(),
        seen=done.seen,
        changed=done.changed,
        removed=done.removed,
    )


def _newest(known: datetime | None, entries: Sequence[Listed]) -> datetime | None:
    times = [one.at for one in entries]
    return max([*times, *([] if known is None else [known])], default=None)
