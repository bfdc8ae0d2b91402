"""Runs the dialogues beside this file, which a mail admin can read.

    # a comment
    L: tls=starttls auth=required    the listener and what is behind it; once, first
    C: NOOP                          the client says a line (several in a row: in one piece)
    S: 250 2.0.0 *                   the server says a line; * stands for anything
    S: 250-...                       the server says any number of lines with 250-
    T:                               the TLS handshake; all that follows is encrypted
    X:                               the server closes the connection
    Q: 1                             so many mails have been queued by now

`L:` takes the keys of a listener (tls, auth, auth_without_tls) and: network=no (the client's
network is nobody's), suppressed=reject|drop (gone@example.net is on the list), size=N (octets),
off=A,B (extensions that are turned off), rewrite=ADDRESS (what an author or a reverse-path that is
not allowed is replaced by).
The sender is `billing`, password `swordfish`, and may write as anyone @example.com.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from relay.mail.address import Address
from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.admission import Auth
from relay.policy.rewrite import Rewrite
from relay.policy.sender import OnSuppressed
from relay.smtp.frontdoor import AuthWithoutTls, TlsMode
from tests.builders import ARRIVED
from tests.dialogue.house import (
    Caller,
    House,
    a_house,
    a_known_sender,
    a_listener,
    trusting,
)
from tests.fakes import FakeSuppressions

SCRIPTS = sorted(Path(__file__).parent.glob("*.smtp"))
ELLIPSIS = "250-..."
GONE = Suppression("gone@example.net", SuppressionReason.BOUNCE, "hard bounce", ARRIVED)


def steps(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the script's steps: a letter and its lines, lines of the same letter together."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    for letter, group in groupby(lines, key=lambda line: line[:2]):
        yield letter, [line[2:].removeprefix(" ") for line in group]


@asynccontextmanager
async def the_house(words: str, certificate: Path) -> AsyncIterator[House]:
    keys = dict(word.split("=") for word in words.split())
    sender = a_known_sender(size=int(keys.get("size", "1000000")))
    if keys.get("network") == "no":
        sender = replace(sender, networks=())
    sender = replace(sender, on_suppressed=OnSuppressed(keys.get("suppressed", "reject")))
    if "rewrite" in keys:
        rewrite = Rewrite(reverse_path=Address.parse(keys["rewrite"]), author=keys["rewrite"])
        sender = replace(sender, rewrite=rewrite)
    listener = a_listener(
        TlsMode(keys.get("tls", "off")),
        Auth(keys.get("auth", "off")),
        auth_without_tls=AuthWithoutTls(keys.get("auth_without_tls", "never")),
        extensions_off=frozenset(keys.get("off", "").split(",")),
    )
    async with a_house(sender, listener=listener, certificate=certificate) as house:
        house.suppressions._by_address.update(FakeSuppressions(GONE)._by_address)
        yield house


def pattern(line: str) -> str:
    return re.escape(line).replace(r"\*", ".*")


async def hear(caller: Caller, lines: list[str]) -> None:
    skips = False
    for line in lines:
        if line == ELLIPSIS:
            skips = True
            continue
        while True:
            said = (await caller.reader.readuntil(b"\r\n")).decode("ascii")
            if re.fullmatch(pattern(line) + "\r\n", said):
                break
            assert skips, f"{line!r} is not {said!r}"
            assert said.startswith("250-"), f"{line!r} does not come before {said!r}"
        skips = False


async def follow(house: House, caller: Caller, letter: str, lines: list[str], tls: Path) -> None:
    match letter:
        case "C:":
            caller.say(*lines)
        case "S:":
            await hear(caller, lines)
        case "T:":
            await caller.start_tls(trusting(tls))
        case "X:":
            assert await caller.rest() == b""
        case "Q:":
            assert len(house.spool.committed) == int(lines[0])
        case _:
            pytest.fail(f"no such step: {letter}")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
async def test_the_dialogue_goes_as_written(path: Path, certificate: Path) -> None:
    script = list(steps(path))
    words = ""
    if script[0][0] == "L:":
        words = script.pop(0)[1][0]
    async with the_house(words, certificate) as house:
        tls: ssl.SSLContext | None = trusting(certificate) if "tls=implicit" in words else None
        async with await Caller.at(house.port, tls=tls) as caller:
            for letter, lines in script:
                await follow(house, caller, letter, lines, certificate)
        assert not house.told("fault")


def test_there_are_dialogues() -> None:
    assert len(SCRIPTS) > 20
