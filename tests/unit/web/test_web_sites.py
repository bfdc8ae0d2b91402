"""The HTTP side: sockets with the right owner and mode, and answers that say what is wrong."""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from relay.aftermath import Listed
from relay.delivery.pauses import Pauses
from relay.feedback.syncing import Synced
from relay.mail.address import Address
from relay.mail.envelope import AccountName, SenderName
from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.reputation import Reception
from relay.ports import SpoolError, SpoolFullError
from relay.web.admin import Desk, Reloaded, admin
from relay.web.callbacks import CallbackDesk
from relay.web.monitoring import monitoring
from relay.web.senders import SenderDesk
from relay.web.site import Site
from relay.web.suppressions import SuppressionDesk
from relay.web.watching import WatchDesk
from relay.web.webhook import webhook
from relay.wiring import queue_desk
from tests.builders import ARRIVED
from tests.fakes import RecordingFacts
from tests.unit.store.stores import Opened, opened


class OneSuppressed:
    """A record that remembers what it is told."""

    def __init__(self) -> None:
        self.found: dict[str, Suppression] = {}
        self.actors: list[str] = []
        self.audited: list[tuple[str, str, str, str]] = []
        self.audit_error: SpoolError | None = None

    async def suppress(self, suppression: Suppression, *, actor: str) -> None:
        self.found[suppression.address] = suppression
        self.actors.append(actor)

    async def suppress_all(self, suppressed: Sequence[Suppression], *, actor: str) -> None:
        for one in suppressed:
            await self.suppress(one, actor=actor)

    async def entries_of(self, address: Address) -> Sequence[Suppression]:
        return [one for one in (GONE, *self.found.values()) if one.address == address.folded]

    async def unsuppress(
        self, address: str, *, actor: str, reason: str, now: datetime, scope: str | None = None
    ) -> bool:
        self.actors.append(actor)
        return self.found.pop(address, None) is not None

    async def audit(
        self, actor: str, action: str, subject: str, detail: str, *, now: datetime
    ) -> None:
        if self.audit_error is not None:
            raise self.audit_error
        self.audited.append((actor, action, subject, detail))

    async def list_suppressed(
        self, after: str, limit: int, scope: str = ""
    ) -> Sequence[Suppression]:
        return list(self.found.values())


GONE = Suppression("gone@example.net", SuppressionReason.BOUNCE, "hard bounce", ARRIVED)


class SesOwnList:
    """SES's list of one account, which can be down."""

    def __init__(self) -> None:
        self.entries: dict[str, Listed] = {}
        self.is_down = False

    async def find(self, address: str) -> Listed | None:
        if self.is_down:
            raise ConnectionError("no way to SES")
        return self.entries.get(address)

    async def put(self, address: str, reason: str) -> None:
        self.entries[address] = Listed(address, reason, ARRIVED)

    async def remove(self, address: str) -> bool:
        return self.entries.pop(address, None) is not None


class OneSync:
    """A synchronisation of two pages, which can break off."""

    def __init__(self) -> None:
        self.listing = SesOwnList()
        self.error: Exception | None = None

    async def run(self, tell: Callable[[Any], None], *, full: bool = False) -> None:
        tell(Synced(AccountName("main"), full, 1000, 10, 0, is_done=False))
        if self.error is not None:
            raise self.error
        tell(Synced(AccountName("main"), full, 1500, 15, 2, is_done=True))


class House:
    def __init__(self, spool: Opened) -> None:
        self.record = OneSuppressed()
        self.sync = OneSync()
        self.writes_through = False
        self.facts = RecordingFacts()
        self.complaints: tuple[str, ...] = ()
        store, clock = spool.store, spool.clock
        self.desk = Desk(
            queue=queue_desk(store, self.facts, clock, lambda: None, lambda _: None),
            suppressions=SuppressionDesk(
                record=self.record,  # type: ignore[arg-type]
                syncs=lambda: {AccountName("main"): self.sync},  # type: ignore[dict-item]
                writes_through=lambda: self.writes_through,
                facts=self.facts,
                clock=clock,
            ),
            callbacks=CallbackDesk(book=store.callbacks, facts=self.facts, clock=clock),
            reload=self.reload,
            status=self.status,
            accounts=lambda: [{"account": "main", "rate": 14.0}],
            configuration=lambda: {"settings": []},
            health=lambda: {"complaint": "", "checks": {"spool": True}},
            senders=SenderDesk(
                pauses=Pauses(store.pauses),
                record=self.record,  # type: ignore[arg-type]
                facts=self.facts,
                clock=clock,
                senders=lambda: [SenderName("billing"), SenderName("app")],
                receptions=lambda: {
                    "1h": {},
                    "24h": {SenderName("app"): Reception(200, 150, 10, 1)},
                },
                suspects=lambda: {SenderName("app"): "much bounced"},
            ),
            watching=WatchDesk(
                facts=self.facts,
                log_level=lambda: self.level,
                set_log_level=self.set_log_level,
                reset_log_level=lambda: self.set_log_level("info", None),
                dialogues=lambda network, length: self.lines(str(network), length),
                selftest=self.lines,
            ),
        )
        self.level: tuple[str, datetime | None] = ("info", None)
        self.session: aiohttp.ClientSession

    def set_log_level(self, level: str, length: timedelta | None) -> None:
        if level == "loud":
            raise ValueError("the levels are debug, info, warning, error")
        self.level = level, None if length is None else ARRIVED + length

    async def lines(self, *asked: object) -> AsyncGenerator[dict[str, Any], None]:
        yield {"asked": [str(one) for one in asked]}
        yield {}

    async def reload(self) -> Reloaded:
        return Reloaded(self.complaints, ("a warning",))

    async def status(self) -> Mapping[str, Any]:
        return {"version": "x"}

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, f"http://relay/v1{path}", json=body) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(text) if is_json else text


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path / "spool") as spool:
        house = House(spool)
        site = Site(admin(house.desk), house.facts)
        path = tmp_path / "run" / "admin.sock"
        await site.listen_unix(path)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            house.session = session
            yield house
        await site.close()
        assert not path.exists()


async def test_the_admin_socket_is_for_owner_and_group_only(tmp_path: Path) -> None:
    site = Site(web.Application(), RecordingFacts())
    path = tmp_path / "admin.sock"
    await site.listen_unix(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        await site.close()


async def test_a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    first, second = (
        Site(web.Application(), RecordingFacts()),
        Site(web.Application(), RecordingFacts()),
    )
    await first.listen_unix(path)
    try:
        with pytest.raises(FileExistsError, match="another daemon"):
            await second.listen_unix(path)
        # And the live one goes on answering.
        connector = aiohttp.UnixConnector(str(path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://relay/") as answer,
        ):
            assert answer.status == 404
    finally:
        await first.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/suppressions/jane@example.net", 404, "not on the suppression list"),
        ("GET", "/suppressions/nobody", 400, "not a mailbox"),
        ("DELETE", "/suppressions/jane@example.net", 400, "a reason is needed"),
        ("DELETE", "/suppressions/jane@example.net?reason=x", 404, "not on the suppression list"),
        ("DELETE", "/suppressions/nobody?reason=x", 400, "not a mailbox"),
        ("PUT", "/suppressions/jane@example.net", 400, "a reason is needed"),
    ],
)
async def test_what_cannot_be_done_is_said(
    house: House, method: str, path: str, status: int, words: str
) -> None:
    code, said = await house.ask(method, path)
    assert (code, words in said) == (status, True), said


async def test_one_suppressed_address_is_told_in_any_case(house: House) -> None:
    code, said = await house.ask("GET", "/suppressions/Gone@Example.net")
    assert code == 200
    assert (said["reason"], said["detail"]) == ("bounce", "hard bounce")


async def test_suppressing_names_who_did_it(house: House) -> None:
    code, said = await house.ask("PUT", "/suppressions/Jane@Example.net", {"reason": "asked"})
    assert (code, said["address"]) == (200, "jane@example.net")
    assert (await house.ask("GET", "/suppressions"))[1] == {"suppressions": [said], "after": None}
    assert (await house.ask("DELETE", "/suppressions/JANE@example.net?reason=x"))[0] == 200
    assert house.record.actors == [getpass.getuser()] * 2


async def test_a_removal_says_what_the_list_of_ses_still_holds(house: House) -> None:
    listing = house.sync.listing
    await listing.put("Jane@Example.net", "BOUNCE")
    await house.ask("PUT", "/suppressions/Jane@Example.net", {"reason": "asked"})
    code, said = await house.ask("DELETE", "/suppressions/jane@example.net?reason=x")
    # There, an entry is found by its own spelling alone.
    (main,) = said["ses"]
    assert (code, main["account"], main["listed"], main["reason"]) == (
        200,
        "main",
        "Jane@Example.net",
        "BOUNCE",
    )
    await house.ask("PUT", "/suppressions/joe@example.net", {"reason": "asked"})
    listing.is_down = True
    code, said = await house.ask("DELETE", "/suppressions/joe@example.net?reason=x")
    assert (code, said["ses"]) == (200, [{"account": "main", "complaint": "no way to SES"}])


async def test_where_it_is_asked_for_changes_are_made_at_ses_too(house: House) -> None:
    house.writes_through, listing = True, house.sync.listing
    _, said = await house.ask("PUT", "/suppressions/Jane@Example.net", {"reason": "asked"})
    assert said["ses"] == [{"account": "main", "added": "Jane@Example.net"}]
    assert set(listing.entries) == {"Jane@Example.net"}
    _, said = await house.ask("DELETE", "/suppressions/jane@example.net?reason=x")
    assert said["ses"] == [{"account": "main", "removed": ["Jane@Example.net"]}]
    assert not listing.entries


async def test_what_is_imported_is_judged_line_by_line(house: House) -> None:
    entries = [
        {"address": "Jane@Example.net", "reason": "BOUNCE", "since": "2025-01-02T03:04:05Z"},
        {"address": "no address"},
        {"address": "joe@example.net", "scope": "sender:news", "until": "2027-01-01"},
        {"address": "jim@example.net", "reason": "spite"},
        {"address": "jim@example.net", "scope": "everywhere"},
        {"address": "jim@example.net", "since": "yesterday"},
        7,
    ]
    body = {"reason": "migration", "entries": entries}
    code, said = await house.ask("POST", "/suppressions/import", body)
    assert (code, said["imported"]) == (200, 2)
    assert [one["entry"] for one in said["complaints"]] == [1, 3, 4, 5, 6]
    jane, joe = house.record.found.values()
    assert (jane.reason, jane.detail, jane.spelling) == ("bounce", "migration", "Jane@Example.net")
    assert jane.since.year == 2025
    assert (joe.scope, joe.reason) == ("sender:news", "manual")
    wrongs: list[dict[str, Any]] = [
        {"entries": []},
        {"reason": "x"},
        {"reason": "x", "entries": [{}] * 1001},
    ]
    for wrong in wrongs:
        assert (await house.ask("POST", "/suppressions/import", wrong))[0] == 400


async def test_a_synchronisation_is_told_as_it_goes_on(house: House) -> None:
    async def lines(body: dict[str, Any]) -> list[dict[str, Any]]:
        _, text = await house.ask("POST", "/suppressions/sync", body)
        return [json.loads(line) for line in text.splitlines()]

    first, second, end = await lines({"account": "main", "full": True})
    assert (first["seen"], first["is_full"], first["is_done"]) == (1000, True, False)
    assert (second["seen"], second["removed"], second["is_done"]) == (1500, 2, True)
    assert end == {"ended": True}
    house.sync.error = SpoolError("record.db is sick")
    *_, end = await lines({})
    assert end == {"ended": False, "error": "record.db is sick"}
    code, said = await house.ask("POST", "/suppressions/sync", {"account": "other"})
    assert (code, "there is main" in said) == (404, True)


async def test_how_the_mail_of_senders_is_received_is_shown(house: House) -> None:
    _, said = await house.ask("GET", "/senders")
    app, billing = said["senders"]
    assert (app["sender"], app["suspect"], app["paused"]) == ("app", "much bounced", None)
    assert (app["24h"]["sent"], app["24h"]["bounce_rate"]) == (200, 0.05)
    assert (billing["24h"]["sent"], billing["1h"]["bounce_rate"]) == (0, 0.0)


@pytest.mark.parametrize("body", [{}, {"ids": [1]}, {"ids": ["a"], "all": True}, {"sender": 7}])
async def test_a_replay_says_of_what(house: House, body: dict[str, Any]) -> None:
    assert (await house.ask("POST", "/callbacks/replay", body))[0] == 400


async def test_a_refused_reload_brings_its_complaints(house: House) -> None:
    assert (await house.ask("POST", "/reload"))[0] == 200
    house.complaints = ("relay.yaml:1:1: wrong",)
    status, said = await house.ask("POST", "/reload")
    assert status == 422
    assert said == {"complaints": ["relay.yaml:1:1: wrong"], "warnings": ["a warning"]}


async def test_ready_only_when_every_check_passes() -> None:
    checks = {"spool": True, "listeners": True}

    async def exposition() -> bytes:
        return b"x 1\n"

    stuck = ""
    app = monitoring(exposition, "text/plain; version=0.0.4", lambda: checks, lambda: stuck)
    site = Site(app, RecordingFacts())
    port = await site.listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok spool\nok listeners\n")
        checks["spool"] = False
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "FAILED spool\nok listeners\n")
        for path in ("/livez", "/healthz"):
            async with session.get(path) as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
        stuck = "stuck: writer"
        async with session.get("/livez") as answer:
            assert (answer.status, await answer.text()) == (503, "stuck: writer\n")
        async with session.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    await site.close()


async def test_every_socket_of_the_name_is_served() -> None:
    """A unit may listen on several addresses, such as one of each protocol."""
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        ports = [one.getsockname()[1] for one in (a, b)]
        site = Site(web.Application(), RecordingFacts())
        assert await site.listen("127.0.0.1", 1, (a, b)) == ports[0]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session:
            for port in ports:
                async with session.get(f"http://127.0.0.1:{port}/") as answer:
                    assert answer.status == 404
        await site.close()


async def test_a_fault_of_ours_is_told_and_answered_in_our_words() -> None:
    async def fails(_request: web.Request) -> web.Response:
        raise ZeroDivisionError("secret")

    async def is_full(_request: web.Request) -> web.Response:
        raise SpoolFullError("spool.db: the disk is full")

    facts, app = RecordingFacts(), web.Application()
    app.router.add_get("/fails", fails)
    app.router.add_get("/full", is_full)
    site = Site(app, facts)
    port = await site.listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/fails") as answer:
            assert (answer.status, await answer.text()) == (500, "internal error; see the log")
        async with session.get("/full") as answer:
            assert (answer.status, await answer.text()) == (503, "spool.db: the disk is full")
    await site.close()
    assert facts.names() == ["fault"]


async def test_a_post_that_trickles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.web.webhook.READ_WITHIN", 0.0)

    async def take_in(_body: bytes, _fields: Mapping[str, str]) -> int:
        raise AssertionError("there is no body yet")

    site = Site(webhook(take_in, 100), RecordingFacts())
    port = await site.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /sns HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhalf of it")
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    await site.close()


async def test_the_webhook_takes_posts_on_one_path_up_to_its_limit() -> None:
    bodies: list[int] = []

    async def take_in(body: bytes, _fields: Mapping[str, str]) -> int:
        bodies.append(len(body))
        return 413 if len(body) > 100 else 200

    site = Site(webhook(take_in, 100), RecordingFacts())
    port = await site.listen("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for path, body, status in (
            ("/sns", b"x", 200),
            ("/sns", b"x" * 200, 413),
            ("/", b"x", 404),
        ):
            async with session.post(path, data=body) as answer:
                assert answer.status == status
        async with session.get("/sns") as answer:
            assert answer.status == 405
    await site.close()
    assert bodies == [1, 101]


async def test_a_sender_is_paused_and_resumed_and_both_are_audited_and_told(house: House) -> None:
    me = getpass.getuser()
    status, answer = await house.ask("POST", "/senders/app/pause", {"reason": "wrong template"})
    assert (status, answer["sender"], answer["actor"]) == (200, "app", me)
    pauses = house.desk.senders.pauses
    assert pauses.in_force[SenderName("app")].reason == "wrong template"
    status, _ = await house.ask("POST", "/senders/app/pause", {"reason": "still wrong"})
    assert status == 200
    assert pauses.in_force[SenderName("app")].reason == "still wrong"
    assert (await house.ask("POST", "/senders/app/resume", {"reason": "mended"}))[0] == 200
    assert not pauses.in_force
    assert house.record.audited == [
        (me, "pause", "sender app", "wrong template"),
        (me, "pause", "sender app", "still wrong"),
        (me, "resume", "sender app", "mended"),
    ]
    assert [args for name, args in house.facts.told if name == "service"] == [
        ("sender_paused",),
        ("sender_paused",),
        ("sender_resumed",),
    ]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/senders/app/pause", {}, 400, "a reason is needed"),
        ("/senders/nobody/pause", {"reason": "x"}, 404, "there is app, billing"),
        ("/senders/app/resume", {}, 404, "app is not paused"),
    ],
)
async def test_an_order_about_a_sender_that_makes_no_sense_is_refused_in_words(
    house: House, path: str, body: dict[str, str], status: int, words: str
) -> None:
    got, answer = await house.ask("POST", path, body)
    assert (got, words in answer) == (status, True), answer
    assert house.record.audited == []


async def test_a_sick_record_keeps_nobody_from_pausing(house: House) -> None:
    house.record.audit_error = SpoolError("record.db is damaged")
    assert (await house.ask("POST", "/senders/app/pause", {"reason": "x"}))[0] == 200
    assert SenderName("app") in house.desk.senders.pauses.in_force
    assert "fault" in house.facts.names()


async def test_accounts_are_shown(house: House) -> None:
    assert await house.ask("GET", "/accounts") == (
        200,
        {"accounts": [{"account": "main", "rate": 14.0}]},
    )


async def test_the_log_is_made_louder_and_a_level_that_there_is_not_is_refused(
    house: House,
) -> None:
    assert await house.ask("GET", "/log-level") == (200, {"level": "info", "until": None})
    words = {"level": "debug", "seconds": 900}
    code, said = await house.ask("PUT", "/log-level", words)
    assert (code, said["level"]) == (200, "debug")
    assert said["until"] == (ARRIVED + timedelta(minutes=15)).isoformat(timespec="milliseconds")
    assert (await house.ask("DELETE", "/log-level"))[1]["until"] is None
    for wrong in ({"level": "loud", "seconds": 1}, {"level": "debug"}, {**words, "seconds": 1e6}):
        assert (await house.ask("PUT", "/log-level", wrong))[0] == 400, wrong


async def test_who_watches_a_client_is_told_of(house: House) -> None:
    code, said = await house.ask("GET", "/dialogues?client=10.0.0.7/8&seconds=60")
    assert (code, said.splitlines()[0]) == (200, '{"asked":["10.0.0.0/8","0:01:00"]}')
    ((event,), words) = house.facts.told[-1][1], house.facts.words[-1][1]
    assert event == "dialogue_traced"
    assert (words["client"], words["actor"]) == ("10.0.0.0/8", getpass.getuser())
    for query in ("client=x&seconds=60", "client=10.0.0.7", "client=10.0.0.7&seconds=0"):
        assert (await house.ask("GET", f"/dialogues?{query}"))[0] == 400, query
