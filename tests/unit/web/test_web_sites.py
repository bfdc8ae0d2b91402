"""The HTTP side: sockets with the right owner and mode, and answers that say what is wrong."""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from relay.delivery.pauses import Pauses
from relay.mail.envelope import SenderName
from relay.mail.feedback import Suppression, SuppressionReason
from relay.ports import SpoolError, SpoolFullError
from relay.web.admin import Desk, Reloaded, admin
from relay.web.monitoring import monitoring
from relay.web.senders import SenderDesk
from relay.web.site import Site
from relay.web.watching import WatchDesk
from relay.web.webhook import webhook
from relay.wiring import queue_desk
from tests.builders import ARRIVED
from tests.fakes import FakeSuppressions, RecordingFacts
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

    async def unsuppress(self, address: str, *, actor: str, reason: str, now: datetime) -> bool:
        self.actors.append(actor)
        return self.found.pop(address, None) is not None

    async def audit(
        self, actor: str, action: str, subject: str, detail: str, *, now: datetime
    ) -> None:
        if self.audit_error is not None:
            raise self.audit_error
        self.audited.append((actor, action, subject, detail))

    async def list_suppressed(self, after: str, limit: int) -> Sequence[Suppression]:
        return list(self.found.values())


GONE = Suppression("gone@example.net", SuppressionReason.BOUNCE, "hard bounce", ARRIVED)


class House:
    def __init__(self, spool: Opened) -> None:
        self.record = OneSuppressed()
        self.facts = RecordingFacts()
        self.complaints: tuple[str, ...] = ()
        store, clock = spool.store, spool.clock
        self.desk = Desk(
            queue=queue_desk(store, self.facts, clock, lambda: None, lambda _: None),
            record=self.record,  # type: ignore[arg-type]
            suppressions=FakeSuppressions(GONE),
            facts=self.facts,
            clock=clock,
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

    async def take_in(_body: bytes) -> int:
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

    async def take_in(body: bytes) -> int:
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
