"""Half a minute of fuzzing with a fixed seed, every script of the corpus, and the fuzzer itself.

`make fuzz` does the same for a million sessions and other seeds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from relay.mail.address import Address
from relay.mail.envelope import Mail
from relay.mail.header import HeaderBlock
from relay.mail.reply import Reply
from relay.smtp import content, data, dialogue, replies, session, timer
from tests.fuzz.campaign import CORPUS, Report, campaign, corpus, resident, stage
from tests.fuzz.mutate import mutate
from tests.fuzz.script import read, write
from tests.fuzz.stand_ins import FuzzSpool

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "30"))
# They are seconds of CPU time: where others work too, they take longer.
PATIENCE: Final = 60 + 8 * SECONDS
SEED: Final = 20260301


@pytest.mark.P1
@pytest.mark.P6
@pytest.mark.timeout(PATIENCE)
def test_half_a_minute_of_fuzzing_finds_nothing() -> None:
    report = campaign(SEED, 0, SECONDS)
    assert not report.complaints, f"{report.complaints}\n{report.fault and write(report.fault)}"
    # Not the figure of a fast machine: below it the test tests next to nothing.
    assert report.sessions > 100 * SECONDS
    assert report.mails > report.sessions // 50, "hardly any session got a mail through"


@pytest.mark.parametrize("name", sorted(file.stem for file in CORPUS.iterdir()))
def test_a_session_that_was_interesting_once_goes_well(name: str) -> None:
    with stage() as on:
        assert on.faults_of(read((CORPUS / f"{name}.session").read_text())) == []


def test_a_script_is_read_as_it_was_written() -> None:
    rng, scripts = random.Random(SEED), corpus(CORPUS)  # noqa: S311
    for _ in range(80):
        script = mutate(rng.choice(scripts), rng.choice(scripts), rng)
        again = read(write(script))
        assert (again.world, again.spool, again.moves) == (script.world, script.spool, script.moves)


# --- the fuzzer finds what it is for --------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def _lenient_end(patch: pytest.MonkeyPatch) -> None:
    feed = data.ContentScanner.feed

    def lenient(scanner: Any, octets: bytes, *more: Any) -> bytes:
        return feed(scanner, octets.replace(b"\n.\n", b"\r\n.\r\n"), *more)

    patch.setattr(data.ContentScanner, "feed", lenient)


def _echo(patch: pytest.MonkeyPatch) -> None:
    obey = dialogue.Dialogue.obey

    def echoing(self: Any, line: bytes) -> Coroutine[Any, Any, None] | None:
        if not line.startswith(b"zq"):
            return obey(self, line)
        self.say(b"500 5.5.2 " + line[:99] + b"\r\n")
        return None

    patch.setattr(dialogue.Dialogue, "obey", echoing)


def _loss(patch: pytest.MonkeyPatch) -> None:
    commit = FuzzSpool.commit

    async def losing(self: Any, draft: Any, *envelope: Any) -> Mail:
        mail = await commit(self, draft, *envelope)
        if mail.size % 7 == 0:
            self.committed.pop()
        return mail

    patch.setattr(FuzzSpool, "commit", losing)


def _leak(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(content.ContentIntake, "_let_go", lambda _: None)


def _fault(patch: pytest.MonkeyPatch) -> None:
    parse = Address.parse

    def faulty(text: str) -> Address:
        text.encode("ascii")
        return parse(text)

    patch.setattr(Address, "parse", staticmethod(faulty))


def _bcc(patch: pytest.MonkeyPatch) -> None:
    def keeping(sender: Any, header: HeaderBlock) -> HeaderBlock:
        return header

    patch.setattr(content, "admit_header", keeping)


def _endless(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(timer.Timer, "within", lambda *_: None)


def _no_status(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replies, "CANNOT_VRFY", Reply(252, "", "Send the mail and see"))


def _hang(patch: pytest.MonkeyPatch) -> None:
    parse = Address.parse

    def hanging(text: str) -> Address:
        while "ZQ" in text.swapcase():
            pass
        return parse(text)

    patch.setattr(Address, "parse", staticmethod(hanging))


SABOTAGE: Final[dict[str, tuple[Patch, str]]] = {
    "LF.LF ends a content": (_lenient_end, "the body is not what was sent"),
    "a command is repeated in the reply": (_echo, "said back"),
    "a mail is acknowledged and not kept": (_loss, "mail is lost"),
    "room for headers is not given back": (_leak, "octets taken of"),
    "an 8-bit address is a fault": (_fault, "fault smtp.command"),
    "Bcc stays": (_bcc, "spooled with"),
    "deadlines never ring": (_endless, "outlived all its deadlines"),
    "a reply has no enhanced status": (_no_status, "no enhanced status"),
    "a parser loops": (_hang, "a hang"),
}


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("name", SABOTAGE)
def test_the_fuzzer_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage, complaint = SABOTAGE[name]
    sabotage(monkeypatch)
    report = campaign(SEED, 20_000, 20.0, patience=0)
    assert report.fault is not None, f"{report.sessions} sessions, and nothing was found"
    assert any(complaint in one for one in report.complaints), report.complaints


@pytest.mark.timeout(PATIENCE)
def test_the_fuzzer_finds_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    joined = session.Session.joined

    def growing(self: Any) -> None:
        kept.append(bytes(8192))
        joined(self)

    monkeypatch.setattr(session.Session, "joined", growing)
    report: Report = campaign(SEED, 2000, 20.0)
    assert report.fault is None
    assert report.growth > 5 * 1024 * 1024, f"{resident()} octets now, and it was not noticed"
    assert "memory grew" in report.complaints[0]
