"""The queue over the admin API: seen, traced, and acted upon.

Knows resources and their JSON. What an order does to mail is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from relay.aftermath import Record
from relay.mail.entry import LedgerLine, QueuedMail
from relay.mail.envelope import QUEUE_ID, QueueId, SenderName
from relay.mail.header import message_id
from relay.operators import AGES, Axis, Order, QueueView, Verb
from relay.policy.standing import standing
from relay.ports import Clock, SpoolError
from relay.web import resource
from relay.web.orders import BusyError, Orders, Progress, StoppingError, complaint_of
from relay.web.selection import of_query, selection_of

_ORDER_WORDS: Final = ("select", "all", "reason", "as", "dry_run", "mails")
# What SES writes in place of the Message-ID, for all regions (nodemailer knows both forms).
_MESSAGE_ID_OF_SES: Final = re.compile(
    r"<?([0-9a-f]{16}(?:-[0-9a-f]+){6})@(?:[a-z0-9-]+\.)?amazonses\.com>?"
)
# How many mails of a trace are shown as they stand in the queue.
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDesk:
    """What the resources of the queue work on."""

    view: QueueView
    orders: Orders
    record: Record
    clock: Clock
    senders: Callable[[], Collection[SenderName] | None]
    """Which senders are configured; None where that is not known."""


class QueueResources:
    """The handlers of /v1/queue and /v1/trace."""

    def __init__(self, desk: QueueDesk) -> None:
        self._desk = desk

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        router = app.router
        router.add_get("/v1/queue", self.find)
        router.add_get("/v1/queue/shape", self.shape)
        router.add_get("/v1/queue/{queue_id}", self.show)
        router.add_post("/v1/queue/{verb}", self.order)
        router.add_get("/v1/trace/{key}", self.trace)

    async def find(self, request: web.Request) -> web.Response:
        """List entries; the answer says after which key to go on."""
        after, limit = resource.page(request)
        words = of_query(request, beside=("after", "limit"))
        selection = selection_of(words, self._desk.clock.now())
        found = await self._desk.view.find(selection, after, limit)
        entries = [entry_document(entry) for entry in found.entries]
        return resource.json_answer({"entries": entries, "after": found.after})

    async def shape(self, request: web.Request) -> web.Response:
        """Count entries by age; the answer is part of the whole, and says where to go on."""
        now = self._desk.clock.now()
        words = of_query(request, beside=("after", "by"))
        try:
            axis = Axis(request.query.get("by", Axis.SENDER))
        except ValueError:
            raise resource.bad_request(f"by: there is {', '.join(Axis)}") from None
        after = request.query.get("after", "")
        shape = await self._desk.view.shape(selection_of(words, now), axis, after, now)
        return resource.json_answer(
            {
                "ages": AGES,
                "groups": shape.groups,
                "total": shape.total,
                "after": shape.after,
            }
        )

    async def show(self, request: web.Request) -> web.Response:
        """Show one entry."""
        entry = await self._desk.view.show(resource.queue_id(request.match_info["queue_id"]))
        if entry is None:
            raise resource.not_found("the spool has no entry of that id")
        return resource.json_answer(entry_document(entry))

    async def trace(self, request: web.Request) -> web.Response:
        """Tell what is known of a queue id, SES message id, recipient or Message-ID.

        `entries` are those the ledger leads to. `search` are selections of the queue that may find
        more, each to be tried where those before it find nothing: to go through the queue takes a
        request for each page.
        """
        key = _name(request.match_info["key"])
        record, named = self._desk.record, message_id(key)
        lines: Sequence[LedgerLine] = ()
        entries: list[QueuedMail] = []
        search: list[dict[str, str]] = []
        # With its brackets it can be nothing else.
        if not key.startswith("<"):
            lines = await record.trace(key, resource.PAGE)
            if "@" in key:
                search = [{"address": key}] if self._is_recipient(key) else []
            else:
                entries = await self._shown([QueueId(key), *(line.queue_id for line in lines)])
        if named and not lines and not entries:
            lines = await record.trace_message(named, resource.PAGE)
            by_message_id = {"message_id": named}
            search = [by_message_id] if lines else [*search, by_message_id]
        return resource.json_answer(
            {
                "entries": [entry_document(entry) for entry in entries],
                "lines": [_line_document(line) for line in lines],
                "standings": _standings(lines),
                "search": search,
            }
        )

    def _is_recipient(self, key: str) -> bool:
        try:
            selection_of({"address": key}, self._desk.clock.now())
        except web.HTTPBadRequest:
            return False  # a Message-ID need not be a mailbox
        return True

    async def _shown(self, queue_ids: Sequence[QueueId]) -> list[QueuedMail]:
        """Return what of these mails is in the queue still."""
        names = dict.fromkeys(one for one in queue_ids if QUEUE_ID.fullmatch(one))
        shown = [await self._desk.view.show(name) for name in list(names)[:_SHOWN]]
        return [entry for entry in shown if entry is not None]

    # --- orders ---

    async def order(self, request: web.Request) -> web.StreamResponse:
        """Carry out an order: a JSON object a line, which says how far it has come.

        `results` counts what came of the mails so far; where `mails` is asked for, each is listed.
        The last line has `ended`: true, or false and `error`. Whoever goes away before stops the
        order, after its page.
        """
        words = await resource.body(request)
        order = self._order(request, words)
        is_dry, orders = words.get("dry_run", False) is True, self._desk.orders
        complaint = "" if is_dry and order.new_sender is None else complaint_of(order)
        if complaint:
            raise resource.bad_request(complaint)
        run = orders.foresee(order) if is_dry else orders.carry_out(order)
        async with contextlib.aclosing(run):
            return await _tell(request, run, names=words.get("mails", False) is True)

    def _order(self, request: web.Request, words: Mapping[str, Any]) -> Order:
        try:
            verb = Verb(request.match_info["verb"])
        except ValueError:
            raise resource.not_found(f"there is no such verb; there is {', '.join(Verb)}") from None
        desk = self._desk
        for name in words:
            if name not in _ORDER_WORDS:
                raise resource.bad_request(f"{name!r} says nothing to {verb} mail")
        criteria, all_of_it = words.get("select", {}), words.get("all", False)
        if not isinstance(criteria, dict) or not isinstance(all_of_it, bool):
            raise resource.bad_request("select is a JSON object, all is true or false")
        if bool(criteria) is all_of_it:
            raise resource.bad_request("say which mail: select some of it, or all")
        senders = desk.senders()
        new_sender = words.get("as")
        if new_sender is not None and not isinstance(new_sender, str):
            raise resource.bad_request("as is the name of a sender")
        return Order(
            verb=verb,
            selection=selection_of(criteria, desk.clock.now()),
            actor=resource.actor(request),
            reason=resource.reason(words),
            new_sender=None if new_sender is None else SenderName(new_sender),
            senders=None if senders is None else frozenset(senders),
        )


def _name(text: str) -> str:
    """Read what an operator calls a mail."""
    key = text.strip()
    seen_by_recipients = _MESSAGE_ID_OF_SES.fullmatch(key)
    if seen_by_recipients is not None:
        return seen_by_recipients[1]
    return key.upper() if QUEUE_ID.fullmatch(key.upper()) else key


async def _tell(
    request: web.Request, run: AsyncGenerator[Progress, None], *, names: bool
) -> web.StreamResponse:
    """Answer with the progress of an order, line by line."""
    answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    results: Mapping[Any, int] = {}
    end: dict[str, Any] = {"ended": True}
    try:
        async for progress in run:
            if not answer.prepared:
                await answer.prepare(request)
            results = progress.results
            line: dict[str, Any] = {"results": results}
            if names:
                line["mails"] = [one._asdict() for one in progress.mails]
            await answer.write(_line(line))
    except ConnectionError:
        return answer  # whoever asked has gone, which is nobody's fault
    except BusyError as error:
        return web.Response(status=409, text=str(error))
    except (SpoolError, StoppingError) as error:
        if not answer.prepared:
            return web.Response(status=503, text=str(error))
        end = {"ended": False, "error": str(error)}
    with contextlib.suppress(ConnectionError):
        if not answer.prepared:
            await answer.prepare(request)
        await answer.write(_line({"results": results, **end}))
        await answer.write_eof()
    return answer


def _line(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS) + b"\n"


# --- documents ------------------------------------------------------------------------------------


def entry_document(entry: QueuedMail) -> dict[str, Any]:
    """Return an entry as JSON has it."""
    mail = entry.mail
    reverse_path = mail.envelope.reverse_path
    return {
        "queue_id": mail.queue_id,
        "sender": mail.sender,
        "reverse_path": "" if reverse_path is None else str(reverse_path),
        "message_id": mail.message_id,
        "ses_headers": dict(mail.ses_headers.fields()),
        "arrived_at": resource.moment(mail.arrived_at),
        "size": mail.size,
        "state": entry.state,
        "due_at": resource.moment(entry.due_at),
        "reason": entry.reason,
        "recipients": [
            {
                "address": str(one.address),
                "state": one.state,
                "attempts": one.attempts,
                "reason": one.reason,
            }
            for one in entry.recipients
        ],
    }


def _standings(lines: Sequence[LedgerLine]) -> list[dict[str, str]]:
    """Return where the mail to each recipient stands, as far as SES and we have told."""
    facts: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        facts.setdefault((line.queue_id, line.recipient), []).append(line.fact)
    return [
        {"queue_id": queue_id, "recipient": recipient, "standing": standing(told)}
        for (queue_id, recipient), told in facts.items()
        if recipient
    ]


def _line_document(line: LedgerLine) -> dict[str, Any]:
    return {
        "at": resource.moment(line.at),
        "fact": line.fact,
        "queue_id": line.queue_id,
        "sender": line.sender,
        "recipient": line.recipient,
        "ses_message_id": line.ses_message_id,
        "detail": line.detail,
    }
