"""The suppression list over the admin API: seen, changed, brought in, and kept beside SES's own.

Knows resources and their JSON. What a list means is decided elsewhere; every change is audited.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from relay.aftermath import AccountList, Record
from relay.facts import Facts
from relay.mail.address import Address, AddressError
from relay.mail.envelope import AccountName
from relay.mail.feedback import EVERYBODY, Suppression, SuppressionReason
from relay.ports import Clock
from relay.web import resource

IMPORTED_AT_ONCE: Final = 1000
# What SES is waited for, while an operator waits for us.
SES_PATIENCE: Final = 15.0  # seconds

_SCOPE: Final = re.compile(r"|(?:account|sender):[A-Za-z0-9_-]{1,64}")
_REASONS: Final = {reason.value: reason for reason in SuppressionReason}
_SES_REASONS: Final = {
    SuppressionReason.BOUNCE: "BOUNCE",
    SuppressionReason.COMPLAINT: "COMPLAINT",
    SuppressionReason.MANUAL: "COMPLAINT",
}


class Sync(Protocol):
    """The copy of one account's list."""

    @property
    def listing(self) -> AccountList:
        """SES's own list."""
        ...

    async def run(self, tell: Callable[[Any], None], *, full: bool = False) -> Any:
        """Bring the copy up to date; `tell` hears of each page, as a dataclass."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionDesk:
    """What the list is worked on with. `writes_through`: changes are made at SES too."""

    record: Record
    syncs: Callable[[], Mapping[AccountName, Sync]]
    writes_through: Callable[[], bool]
    facts: Facts
    clock: Clock


class SuppressionResources:
    """`/v1/suppressions`."""

    def __init__(self, desk: SuppressionDesk) -> None:
        self._desk = desk

    def add_to(self, app: web.Application) -> None:
        """Give the application these resources."""
        router = app.router
        router.add_get("/v1/suppressions", self.find)
        router.add_post("/v1/suppressions/import", self.bring_in)
        router.add_post("/v1/suppressions/sync", self.sync)
        router.add_get("/v1/suppressions/{address}", self.show)
        router.add_put("/v1/suppressions/{address}", self.add)
        router.add_delete("/v1/suppressions/{address}", self.remove)

    async def find(self, request: web.Request) -> web.Response:
        """List entries in order of address and scope."""
        after, limit = resource.page(request)
        address, _, scope = after.partition("\t")
        found = await self._desk.record.list_suppressed(address, limit, scope)
        last = f"{found[-1].address}\t{found[-1].scope}" if len(found) == limit else None
        return resource.json_answer(
            {"suppressions": [_document(one) for one in found], "after": last}
        )

    async def show(self, request: web.Request) -> web.Response:
        """Show all entries of an address."""
        address = resource.address(request.match_info["address"])
        found = await self._desk.record.entries_of(address)
        if not found:
            raise resource.not_found("the address is not on the suppression list")
        entries = [_document(one) for one in found]
        return resource.json_answer({**entries[0], "entries": entries})

    async def add(self, request: web.Request) -> web.Response:
        """Put an address on the list."""
        desk, actor = self._desk, resource.actor(request)
        typed = request.match_info["address"]
        words = await resource.body(request)
        detail = resource.reason(words)
        if not detail:
            raise resource.bad_request("a reason is needed")
        now = desk.clock.now()
        seconds = words.get("expires_in")
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise resource.bad_request("expires_in is a number of seconds")
        suppression = Suppression(
            resource.address(typed).folded,
            SuppressionReason.MANUAL,
            detail,
            now,
            scope=_scope(words.get("scope", EVERYBODY)),
            until=None if seconds is None else now + timedelta(seconds=seconds),
            spelling=typed,
        )
        await desk.record.suppress(suppression, actor=actor)
        desk.facts.suppressed(suppression, actor=actor)
        answer = _document(suppression)
        if desk.writes_through():
            answer["ses"] = await self._at_ses(
                lambda listing: _put(listing, typed, _SES_REASONS[suppression.reason])
            )
        return resource.json_answer(answer)

    async def remove(self, request: web.Request) -> web.Response:
        """Take an address off the list, and say what SES's own list holds of it."""
        desk, actor = self._desk, resource.actor(request)
        typed = request.match_info["address"]
        address = resource.address(typed)
        reason = resource.reason(request.query)
        if not reason:
            raise resource.bad_request("a reason is needed")
        scope = request.query.get("scope")
        if scope is not None:
            scope = _scope(scope)
        spellings = {one.spelling: None for one in await desk.record.entries_of(address)}
        is_removed = await desk.record.unsuppress(
            address.folded, actor=actor, reason=reason, now=desk.clock.now(), scope=scope
        )
        if not is_removed:
            raise resource.not_found("the address is not on the suppression list")
        desk.facts.unsuppressed(address.folded, actor=actor, reason=reason)
        # There, an entry is found by exactly its own spelling.
        names = [*spellings, *(name for name in (typed, address.folded) if name not in spellings)]
        ask = _remove if desk.writes_through() else _look
        ses = await self._at_ses(lambda listing: ask(listing, list(dict.fromkeys(names))))
        return resource.json_answer({"address": address.folded, "ses": ses})

    async def bring_in(self, request: web.Request) -> web.Response:
        """Add entries that another list had: at most a thousand a request, in one transaction."""
        desk, actor = self._desk, resource.actor(request)
        words = await resource.body(request)
        why, entries = resource.reason(words), words.get("entries")
        if not why:
            raise resource.bad_request("a reason is needed")
        if not isinstance(entries, list) or len(entries) > IMPORTED_AT_ONCE:
            raise resource.bad_request(f"entries is a list of at most {IMPORTED_AT_ONCE}")
        found, complaints = [], []
        for number, entry in enumerate(entries):
            try:
                found.append(_imported(entry, why, desk.clock.now()))
            except (AddressError, ValueError) as error:
                complaints.append({"entry": number, "complaint": str(error)})
        await desk.record.suppress_all(found, actor=actor)
        if found:
            desk.facts.service("suppressions_imported", entries=len(found), actor=actor, reason=why)
        return resource.json_answer({"imported": len(found), "complaints": complaints})

    async def sync(self, request: web.Request) -> web.StreamResponse:
        """Bring the copies of the accounts' lists up to date: a JSON object a line, as it goes on.

        The last line has `ended`: true, or false and `error`. What was done stays done, and the
        same again goes on with it.
        """
        words = await resource.body(request)
        name, full = words.get("account"), words.get("full", False) is True
        syncs = self._desk.syncs()
        if name is not None and name not in syncs:
            known = ", ".join(sorted(syncs))
            raise resource.not_found(f"there is no account {name}; there is {known}")
        chosen = [sync for account, sync in syncs.items() if name in (None, account)]
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        work = asyncio.create_task(_sync_all(chosen, lines, full=full))
        try:
            with contextlib.suppress(ConnectionError):
                while (line := await lines.get()) is not None:
                    await answer.write(orjson.dumps(line) + b"\n")
                await answer.write_eof()
        finally:
            # Whoever went away ends it after its page.
            work.cancel()
            await asyncio.wait([work])
        return answer

    async def _at_ses(
        self, ask: Callable[[AccountList], Awaitable[Mapping[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Ask the list of every account; what cannot be asked is said, and fails nothing."""
        answers = []
        for account, sync in self._desk.syncs().items():
            try:
                async with asyncio.timeout(SES_PATIENCE):
                    said = await ask(sync.listing)
            except Exception as error:  # noqa: BLE001 - the SDK raises what it likes
                said = {"complaint": str(error) or type(error).__name__}
            answers.append({"account": account, **said})
        return answers


async def _sync_all(
    syncs: Sequence[Sync], lines: asyncio.Queue[dict[str, Any] | None], *, full: bool
) -> None:
    def tell(progress: object) -> None:
        if is_dataclass(progress) and not isinstance(progress, type):
            lines.put_nowait(asdict(progress))

    end: dict[str, Any] = {"ended": True}
    try:
        for sync in syncs:
            await sync.run(tell, full=full)
    except Exception as error:  # noqa: BLE001 - SpoolError, and whatever the SDK raises
        end = {"ended": False, "error": str(error) or type(error).__name__}
    lines.put_nowait(end)
    lines.put_nowait(None)


async def _put(listing: AccountList, address: str, reason: str) -> dict[str, Any]:
    await listing.put(address, reason)
    return {"added": address}


async def _look(listing: AccountList, names: Sequence[str]) -> dict[str, Any]:
    for name in names:
        found = await listing.find(name)
        if found is not None:
            at = resource.moment(found.at)
            return {"listed": found.address, "reason": found.reason, "since": at}
    return {"listed": None}


async def _remove(listing: AccountList, names: Sequence[str]) -> dict[str, Any]:
    return {"removed": [name for name in names if await listing.remove(name)]}


def _scope(text: object) -> str:
    if not isinstance(text, str) or not _SCOPE.fullmatch(text):
        raise resource.bad_request("a scope is account:NAME or sender:NAME; without one, everybody")
    return text


def _imported(entry: object, why: str, now: datetime) -> Suppression:
    """Read one entry; raise AddressError or ValueError with words about it."""
    if not isinstance(entry, dict):
        raise ValueError("is no object")  # noqa: TRY004 - as of all that is wrong with it
    words = {key: value for key, value in entry.items() if isinstance(value, str) and value}
    typed = words.get("address", "")
    reason = _REASONS.get(words.get("reason", "manual").lower())
    if reason is None:
        raise ValueError(f"the reason is none of {', '.join(_REASONS)}")
    scope = words.get("scope", EVERYBODY)
    if not _SCOPE.fullmatch(scope):
        raise ValueError("the scope is not account:NAME or sender:NAME")
    spelling = words.get("spelling", typed)
    if spelling.lower() != typed.lower():
        raise ValueError("the spelling is that of another address")
    since = _moment(words.get("since", ""))
    found = Suppression(
        Address.parse(typed).folded,
        reason,
        words.get("detail", "")[: resource.REASON_LIMIT] or why,
        since or now,
        scope=scope,
        until=_moment(words.get("until", "")),
        event_id=words.get("event_id", ""),
        spelling=spelling,
    )
    last_seen = _moment(words.get("last_seen", ""))
    return found if last_seen is None else replace(found, last_seen=last_seen)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time: write it as 2026-03-02T09:15:06Z") from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _document(one: Suppression) -> dict[str, Any]:
    return {
        "address": one.address,
        "scope": one.scope,
        "reason": one.reason,
        "detail": one.detail,
        "since": resource.moment(one.since),
        "last_seen": resource.moment(one.last_seen),
        "until": resource.moment(one.until),
        "event_id": one.event_id,
        "spelling": one.spelling,
    }
