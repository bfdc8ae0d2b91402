"""The queue over the admin API, on a real store: what is understood, what is refused, what is told."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from relay.mail.entry import State
from relay.mail.envelope import Mail, QueueId, SenderName
from relay.operators import Result
from relay.ports import SpoolError
from relay.web.admin import queue_only
from relay.web.queue import QueueDesk
from relay.web.site import Site
from relay.wiring import queue_desk
from tests.unit.store.stores import BILLING, JANE, JOHN, Opened, failed, opened, relayed

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
UNKNOWN = "06H04YCY58GVCD1MB7KG"
PRINTERS = SenderName("printers")


class House:
    """The API over a store, and what it told and woke."""

    def __init__(self, spool: Opened, path: Path) -> None:
        self.spool = spool
        self.path = path
        self.roused: list[str] = []
        self.senders: Collection[SenderName] | None = {BILLING}
        self.desk: QueueDesk = queue_desk(
            spool.store, spool.facts, spool.clock, lambda: self.senders, self.roused.append
        )
        self.session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and answer: the objects of it, or the text of a complaint."""
        async with self.session.request(method, f"http://relay/v1{path}", json=body) as answer:
            text = await answer.text()
            match answer.content_type:
                case "application/json":
                    return answer.status, json.loads(text)
                case "application/x-ndjson":
                    return answer.status, [json.loads(line) for line in text.splitlines()]
            return answer.status, text

    async def order(self, verb: str, **words: Any) -> dict[str, Any]:
        """Give an order; return its last line."""
        status, lines = await self.ask("POST", f"/queue/{verb}", {"reason": "because", **words})
        assert status == 200, lines
        last: dict[str, Any] = lines[-1]
        return last

    async def audit(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = await self.spool.record_writer.run(
            lambda connection: connection.execute(
                "SELECT actor, action, subject, detail FROM audit ORDER BY id"
            ).fetchall()
        )
        return rows


@asynccontextmanager
async def house_in(path: Path) -> AsyncIterator[House]:
    async with opened(path / "spool") as spool:
        house = House(spool, path / "admin.sock")
        site = Site(queue_only(house.desk), spool.facts)
        await site.listen_unix(house.path)
        connector = aiohttp.UnixConnector(str(house.path))
        async with aiohttp.ClientSession(connector=connector) as session:
            house.session = session
            yield house
        await site.close()


@pytest.fixture(name="house")
async def _house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_in(tmp_path) as house:
        yield house


# --- what is seen ---------------------------------------------------------------------------------


async def test_an_entry_is_a_document(house: House) -> None:
    spool = house.spool
    mail = await spool.accept(message_id="1@erp.example.com")
    await spool.settle(await spool.claim_one(), spool.deferred(MINUTE))
    status, entry = await house.ask("GET", f"/queue/{mail.queue_id.lower()}")
    assert status == 200
    assert entry == {
        "queue_id": mail.queue_id,
        "sender": "billing",
        "reverse_path": "joe@example.net",
        "ses_headers": {},
        "message_id": "1@erp.example.com",
        "arrived_at": "2026-03-01T12:00:00.000+00:00",
        "size": mail.size,
        "state": "scheduled",
        "due_at": "2026-03-01T12:01:00.000+00:00",
        "reason": "throttled",
        "recipients": [
            {
                "address": "jane@example.net",
                "state": "scheduled",
                "attempts": 1,
                "reason": "throttled: 451 4.4.5 SES Throttling: slow down",
            }
        ],
    }
    assert (await house.ask("GET", "/queue"))[1] == {"entries": [entry], "after": None}


async def test_a_listing_says_where_it_goes_on(house: House) -> None:
    mails = []
    for _ in range(3):
        mails.append(await house.spool.accept())
        house.spool.clock.advance(MINUTE)
    seen, after = [], ""
    while after is not None:
        _, page = await house.ask("GET", f"/queue?limit=2&after={after}")
        seen += [entry["queue_id"] for entry in page["entries"]]
        after = page["after"]
    assert seen == [mail.queue_id for mail in mails]


async def test_a_listing_is_narrowed_by_every_criterion(house: House) -> None:
    spool = house.spool
    old = await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), failed(), failed())
    spool.clock.advance(HOUR)
    new = await spool.accept(JOHN, sender=PRINTERS)
    for query, expected in (
        (f"id={old.queue_id}&id={UNKNOWN}", [old]),
        ("sender=printers", [new]),
        ("address=Jane@example.net", [old]),
        ("address=example.net", [old, new]),
        ("address=@example.net", [old, new]),
        ("state=failed&state=held", [old]),
        ("older_than=1800", [old]),
        ("newer_than=1800.5", [new]),
        ("why=MessageRejected", [old]),
        ("sender=printers&state=failed", []),
    ):
        status, page = await house.ask("GET", f"/queue?{query}")
        assert status == 200, page
        found = [entry["queue_id"] for entry in page["entries"]]
        assert found == [mail.queue_id for mail in expected], query


async def test_the_shape_is_told_with_its_columns(house: House) -> None:
    await house.spool.accept()
    house.spool.clock.advance(7 * MINUTE)
    _, shape = await house.ask("GET", "/queue/shape?by=state&sender=billing")
    row = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert shape == {
        "ages": [5, 10, 20, 40, 80, 160, 320, 640, 1280],
        "groups": {"ready": row},
        "total": row,
        "after": None,
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/queue/nonsense", None, 400, "not a queue id"),
        ("GET", f"/queue/{UNKNOWN}", None, 404, "no entry of that id"),
        ("GET", "/queue?limit=x", None, 400, "limit is not a number"),
        ("GET", "/queue?sendr=x", None, 400, "no mail is selected by 'sendr'"),
        ("GET", "/queue?id=x", None, 400, "not a queue id"),
        ("GET", "/queue?state=lost", None, 400, "there is ready, in-flight"),
        ("GET", "/queue?sender=a%20b", None, 400, "a sender's name"),
        ("GET", "/queue?address=x@", None, 400, "not a recipient"),
        ("GET", "/queue?address=a..b", None, 400, "not a domain"),
        ("GET", "/queue?address=", None, 400, "address is empty"),
        ("GET", "/queue?why=a%1Bb", None, 400, "why is one line of text"),
        ("GET", "/queue?older_than=soon", None, 400, "no number of seconds"),
        ("GET", "/queue?older_than=-1", None, 400, "less than nothing"),
        ("GET", "/queue?older_than=nan", None, 400, "no number of seconds"),
        ("GET", "/queue?newer_than=1e12", None, 400, "more than ten years"),
        ("GET", "/queue/shape?by=size", None, 400, "there is sender, domain"),
        ("POST", "/queue/explode", {}, 404, "there is hold, release, retry, drop"),
        ("POST", "/queue/hold", {}, 400, "say which mail"),
        ("POST", "/queue/hold", {"select": {}}, 400, "say which mail"),
        ("POST", "/queue/hold", {"select": {"id": []}, "reason": "x"}, 400, "an empty list"),
        ("POST", "/queue/hold", {"all": True, "select": {"sender": "a"}}, 400, "say which mail"),
        ("POST", "/queue/hold", {"all": 1}, 400, "all is true or false"),
        ("POST", "/queue/hold", {"all": True, "selekt": {}}, 400, "'selekt' says nothing"),
        ("POST", "/queue/hold", {"select": {"id": UNKNOWN}}, 400, "id is no list"),
        ("POST", "/queue/hold", {"select": {"sendr": "a"}}, 400, "no mail is selected by"),
        ("POST", "/queue/hold", {"select": {"id": [UNKNOWN]}}, 400, "to hold mail needs a reason"),
        ("POST", "/queue/drop", {"select": {"id": [UNKNOWN]}}, 400, "to drop mail needs a reason"),
        ("POST", "/queue/retry", {"all": True}, 400, "to retry mail needs a reason"),
        ("POST", "/queue/release", {"all": True, "reason": " "}, 400, "needs a reason"),
        ("POST", "/queue/hold", {"all": True, "reason": "a\nb"}, 400, "one line of text"),
        ("POST", "/queue/hold", {"all": True, "reason": "x" * 301}, 400, "at most 300"),
        ("POST", "/queue/hold", {"all": True, "reason": 7}, 400, "one line of text"),
        ("POST", "/queue/hold", {"all": True, "reason": "x", "as": "billing"}, 400, "released"),
        ("POST", "/queue/release", {"all": True, "reason": "x", "as": "c"}, 400, "is billing"),
        ("POST", "/queue/release", {"all": True, "reason": "x", "as": 7}, 400, "name of a sender"),
    ],
)
async def test_what_cannot_be_done_is_said_and_nothing_is_done(
    house: House, method: str, path: str, body: Any, status: int, words: str
) -> None:
    mail = await house.spool.accept()
    code, said = await house.ask(method, path, body)
    assert (code, words in said) == (status, True), said
    assert (await house.spool.show(mail)).state is State.READY
    assert await house.audit() == []


async def test_nobody_is_given_mail_while_the_senders_are_not_known(house: House) -> None:
    house.senders = None
    body = {"all": True, "reason": "x", "as": "billing"}
    code, said = await house.ask("POST", "/queue/release", body)
    assert (code, "which senders there are is not known" in said) == (400, True)


# --- orders ---------------------------------------------------------------------------------------


async def test_an_order_is_carried_out_audited_and_told(house: House) -> None:
    mail, other = await house.spool.accept(), await house.spool.accept(sender=PRINTERS)
    who = getpass.getuser()
    end = await house.order("hold", select={"sender": "billing"}, reason="wrong template")
    assert end == {"results": {"changed": 1}, "ended": True}
    assert (await house.spool.show(mail)).reason == f"held by {who}: wrong template"
    assert (await house.spool.show(other)).state is State.READY
    assert house.roused == []
    await house.order("release", select={"sender": "billing"})
    assert house.roused == ["billing"]
    assert await house.audit() == [
        (who, "hold", "sender billing", f"by {who}: wrong template"),
        (who, "hold ended", "sender billing", "1 changed"),
        (who, "release", "sender billing", f"by {who}: because"),
        (who, "release ended", "sender billing", "1 changed"),
    ]
    told = [
        (args[0].verb.value, args[0].reason, args[1], words)
        for (name, args), (_, words) in zip(
            house.spool.facts.told, house.spool.facts.words, strict=True
        )
        if name == "ordered"
    ]
    assert told == [
        ("hold", "wrong template", {Result.CHANGED: 1}, {"is_whole": True}),
        ("release", "because", {Result.CHANGED: 1}, {"is_whole": True}),
    ]


async def test_what_came_of_each_mail_is_told_to_whoever_asks(house: House) -> None:
    mail = await house.spool.accept()
    status, lines = await house.ask(
        "POST", "/queue/retry", {"select": {"id": [mail.queue_id, UNKNOWN]}, "mails": True}
    )
    assert status == 200
    mails = [one for line in lines for one in line.get("mails", ())]
    assert mails == [
        {"queue_id": mail.queue_id, "result": "unchanged", "state": "ready"},
        {"queue_id": UNKNOWN, "result": "unknown", "state": None},
    ]
    assert lines[-1] == {"results": {"unchanged": 1, "unknown": 1}, "ended": True}


async def test_a_dry_run_changes_nothing_and_is_not_audited(house: House) -> None:
    mail = await house.spool.accept()
    for verb in ("hold", "release", "retry", "drop"):
        end = await house.order(verb, all=True, dry_run=True, reason="")
        changed = "changed" if verb in ("hold", "drop") else "unchanged"
        assert end == {"results": {changed: 1}, "ended": True}
    assert (await house.spool.show(mail)).state is State.READY
    assert await house.audit() == []
    assert "ordered" not in house.spool.facts.names()


async def test_an_order_that_cannot_be_audited_is_carried_out_and_that_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To drop mail may be what a full disk needs, and the ledger of each says who did it."""
    await house.spool.accept()

    async def fails(*_: object, **__: object) -> None:
        raise SpoolError("record.db: disk I/O error")

    monkeypatch.setattr(house.spool.store.record, "audit", fails)
    assert (await house.order("drop", all=True))["results"] == {"changed": 1}
    assert await house.spool.entries() == []
    assert house.spool.facts.names().count("fault") == 2


class Gated:
    """The store's orders, each of whose pages waits until it is let through."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("relay.store.orders.ENTRIES", 1)
        self.asked = asyncio.Event()
        self.go_on = asyncio.Semaphore(0)
        book = house.spool.store.orders
        turn = book._turn

        async def waits(order: Any, some: Sequence[Any]) -> Any:
            self.asked.set()
            await self.go_on.acquire()
            return await turn(order, some)

        monkeypatch.setattr(book, "_turn", waits)


async def test_two_orders_at_once_are_refused_and_the_first_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.spool.accept()
    gated = Gated(house, monkeypatch)
    first = asyncio.create_task(house.order("hold", all=True))
    await gated.asked.wait()
    code, said = await house.ask("POST", "/queue/drop", {"all": True, "reason": "x"})
    assert code == 409
    assert said.startswith("another order is under way: hold by ")
    assert "because, since 12:00:00 UTC; try again" in said
    # To look is always allowed.
    assert (await house.order("drop", all=True, dry_run=True))["results"] == {"changed": 1}
    gated.go_on.release()
    assert (await first)["results"] == {"changed": 1}
    gated.go_on.release()
    assert (await house.order("drop", all=True))["results"] == {"changed": 1}


async def test_whoever_goes_away_stops_the_order_after_its_page(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await house.spool.accept()
    gated = Gated(house, monkeypatch)
    ended = asyncio.Event()
    audit = house.desk.orders._audit

    async def watched(order: Any, action: str, detail: str) -> None:
        await audit(order, action, detail)
        if "broken off" in action:
            ended.set()

    monkeypatch.setattr(house.desk.orders, "_audit", watched)
    reader, writer = await asyncio.open_unix_connection(str(house.path))
    body = b'{"all": true, "reason": "oops"}'
    head = b"POST /v1/queue/drop HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    await gated.asked.wait()
    gated.go_on.release()
    assert b" 200 " in await reader.readline()
    # As after kill -9: nothing is said, the socket is closed.
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    for _ in range(5):
        gated.go_on.release()
    await ended.wait()
    left = len(await house.spool.entries())
    assert 0 < left < 5
    (_, last) = await house.audit()
    assert last[1:] == ("drop broken off", "all mail", f"{5 - left} changed")
    ((_, words),) = [one for one in house.spool.facts.words if one[0] == "ordered"]
    assert words == {"is_whole": False}
    assert "fault" not in house.spool.facts.names()
    assert (await house.order("drop", all=True))["results"] == {"changed": left}


async def test_a_daemon_that_stops_ends_the_order_after_its_page_and_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await house.spool.accept()
    gated = Gated(house, monkeypatch)
    order = asyncio.create_task(house.order("hold", all=True))
    await gated.asked.wait()
    house.desk.orders.stop()
    gated.go_on.release()
    assert await order == {
        "results": {"changed": 1},
        "ended": False,
        "error": "the daemon is stopping",
    }
    assert (await house.spool.store.queue.counts())[State.HELD] == 1
    code, said = await house.ask("POST", "/queue/hold", {"all": True, "reason": "x"})
    assert (code, said) == (503, "the daemon is stopping")


async def test_trouble_in_the_middle_is_told_with_what_was_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await house.spool.accept()
    monkeypatch.setattr("relay.store.orders.ENTRIES", 1)
    book = house.spool.store.orders
    turn, calls = book._turn, []

    async def fails_later(order: Any, some: Sequence[Any]) -> Any:
        calls.append(some)
        if len(calls) > 1:
            raise SpoolError("spool.db: disk I/O error")
        return await turn(order, some)

    monkeypatch.setattr(book, "_turn", fails_later)
    end = await house.order("hold", all=True)
    assert end == {
        "results": {"changed": 1},
        "ended": False,
        "error": "spool.db: disk I/O error",
    }


# --- traces ---------------------------------------------------------------------------------------


async def traced(house: House, key: str) -> tuple[list[str], list[str]]:
    """Return the entries and the facts of a trace."""
    quoted = key.replace("%", "%25").replace("/", "%2F").replace("<", "%3C").replace(">", "%3E")
    status, told = await house.ask("GET", f"/trace/{quoted}")
    assert status == 200, told
    entries = told["entries"]
    for query in told["search"]:
        if not entries:
            _, page = await house.ask("GET", f"/queue?{urlencode(query)}")
            entries = page["entries"]
    return [entry["queue_id"] for entry in entries], [line["fact"] for line in told["lines"]]


async def test_a_mail_is_traced_by_each_of_its_names(house: House) -> None:
    mail: Mail = await house.spool.accept(JANE, JOHN, message_id="a/b%41@erp.example.com")
    claim = await house.spool.claim_one()
    await house.spool.settle(claim, relayed("0100-abc"), house.spool.deferred())
    everything = (
        [mail.queue_id],
        ["accepted", "accepted", "relayed", "deferred"],
    )
    for key in (
        mail.queue_id,
        mail.queue_id.lower(),
        "0100-abc",
        "a/b%41@erp.example.com",
        "<a/b%41@erp.example.com>",
    ):
        assert await traced(house, key) == everything, key
    assert await traced(house, str(JOHN)) == ([mail.queue_id], ["accepted", "deferred"])
    # It is relayed to her: only the ledger knows of that.
    assert await traced(house, str(JANE)) == ([], ["accepted", "relayed"])
    assert await traced(house, "nothing") == ([], [])
    assert await traced(house, "<nothing@example.net>") == ([], [])


@pytest.mark.parametrize("domain", ["eu-west-1.amazonses.com", "email.amazonses.com"])
async def test_a_mail_is_traced_by_the_message_id_its_recipient_sees(
    house: House, domain: str
) -> None:
    """SES writes its own: a complaint quotes that, and no other."""
    await house.spool.accept()
    ses_message_id = "010001941c2f5e7a-3b0f1c62-8d4e-4a51-9f0a-6c2d1e7b9a34-000000"
    await house.spool.settle(await house.spool.claim_one(), relayed(ses_message_id))
    for key in (f"<{ses_message_id}@{domain}>", f"{ses_message_id}@{domain}"):
        assert await traced(house, key) == ([], ["accepted", "relayed"])


async def test_a_mail_that_was_never_attempted_is_traced_too(house: House) -> None:
    mail = await house.spool.accept(message_id="1@erp.example.com")
    for key in (mail.queue_id, str(JANE), "<1@erp.example.com>", "1@erp.example.com"):
        assert await traced(house, key) == ([mail.queue_id], [])


async def test_a_trace_tells_who_dropped_a_mail_and_why(house: House) -> None:
    mail = await house.spool.accept(message_id="1@erp.example.com")
    await house.order("drop", select={"id": [mail.queue_id]}, reason="sent by hand")
    for key in (mail.queue_id, str(JANE), "<1@erp.example.com>"):
        assert await traced(house, key) == ([], ["accepted", "dropped"])
    _, told = await house.ask("GET", f"/trace/{mail.queue_id}")
    assert told["lines"][1]["detail"] == f"by {getpass.getuser()}: sent by hand"


async def test_only_whole_ids_are_ids(house: House) -> None:
    assert await traced(house, QueueId(UNKNOWN)) == ([], [])
