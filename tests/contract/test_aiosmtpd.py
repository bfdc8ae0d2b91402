"""What the front door relies on in aiosmtpd and asyncio beyond their documentation.

A new release of either that changes one of these must be looked at before it is allowed in.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import re
import time
from typing import Any

import aiosmtpd.smtp
import pytest
from aiosmtpd.smtp import SMTP

from relay.smtp.addressing import Addressing
from relay.smtp.client import Client
from relay.smtp.connection import Connection
from relay.smtp.dialogue import Dialogue
from relay.smtp.introduction import Introduction
from relay.smtp.offer import Offer
from relay.smtp.parting import Parting
from relay.smtp.places import Capacity, Places
from relay.smtp.session import Session
from relay.smtp.sessions import Sessions
from relay.smtp.transfer import Transfer
from relay.smtp.wire import Wire
from tests.dialogue.house import House, a_listener, a_place

OURS = (Wire, Parting, Connection, Dialogue, Introduction, Addressing, Transfer, Session)
# What we override or call of SMTP, and why.
OVERRIDDEN = {
    "__init__": "inspects every attribute of itself, 0.3 ms a connection, and may ask the DNS",
    "_create_session": "called for each connection; ours returns what we know of the client",
    "connection_lost": "cancels the command loop, and with it a commit half-way",
    "connection_made": "starts the command loop, which accepts bare LF and leaks exceptions as 500, "
    "and a timer that closes without a word and rings during a commit",
    "data_received": "of asyncio's protocol: fills a stream whose reader is woken a round later",
    "eof_received": "cancels the command loop although a half-closed client waits for replies",
    "pause_writing": "of asyncio's protocol: tells us that the client does not read",
    "resume_writing": "of asyncio's protocol: tells us that it does again",
    "session": "where SMTP keeps what _create_session returns",
    "loop": "where SMTP keeps its event loop",
}
VERBS = [
    "HELO",
    "EHLO",
    "STARTTLS",
    "AUTH",
    "MAIL",
    "RCPT",
    "DATA",
    "RSET",
    "NOOP",
    "HELP",
    "VRFY",
    "EXPN",
    "QUIT",
]  # every smtp_VERB of SMTP is replaced


def test_the_release_is_the_one_that_was_read() -> None:
    assert importlib.metadata.version("aiosmtpd") == "1.4.6" == aiosmtpd.smtp.__version__


def test_every_verb_of_smtp_is_ours() -> None:
    theirs = {name for name in vars(SMTP) if name.startswith("smtp_")}
    assert theirs == {f"smtp_{verb}" for verb in VERBS}
    assert set(Session.commands) == {verb.encode() for verb in (*VERBS, "BDAT")}
    assert theirs <= {name for kind in OURS for name in vars(kind)}


async def test_nothing_of_smtp_is_overridden_by_accident() -> None:
    ours = {name for kind in OURS for name in set(vars(kind)) | assigned_in(kind)}
    theirs = {name for kind in SMTP.__mro__[:-1] for name in vars(kind)}
    theirs |= assigned_in(SMTP) | set(vars(asyncio.StreamReaderProtocol(asyncio.StreamReader())))
    common = {name for name in ours & theirs if not name.startswith("__") or name == "__init__"}
    assert common - {f"smtp_{verb}" for verb in VERBS} == set(OVERRIDDEN)


def assigned_in(kind: type) -> set[str]:
    """The attributes that methods of a class set on their instance."""
    return set(re.findall(r"\bself\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(kind)))


def test_what_is_left_behind_does_not_miss_the_constructor() -> None:
    """Theirs is never called: nothing of theirs is reached but what ends an object."""
    left = Wire.__new__(Session)
    SMTP.__del__(left)  # type: ignore[no-untyped-call]


async def test_a_session_costs_little_to_begin() -> None:
    """SMTP's own constructor takes some 300 microseconds."""
    loop, settings, surroundings = asyncio.get_running_loop(), a_listener(), House().surroundings
    places = Places(1000, Capacity(1000))
    offer, sessions, place = Offer(settings), Sessions(places), a_place(places)
    began = time.process_time()
    for _ in range(200):
        Session(loop, settings, surroundings, offer, sessions, place)
    assert (time.process_time() - began) / 200 < 0.000_1


@pytest.mark.parametrize("kind", [asyncio.Future, asyncio.Task])
async def test_a_future_marks_itself_when_it_is_awaited(kind: type[Any]) -> None:
    """By this mark asyncio's tasks know what a coroutine awaits, and so does a Conversation."""
    loop = asyncio.get_running_loop()
    awaited = loop.create_future() if kind is asyncio.Future else loop.create_task(nothing())
    step = awaited.__await__()
    assert next(step) is awaited
    assert awaited._asyncio_future_blocking is True
    awaited._asyncio_future_blocking = False
    await asyncio.wait([awaited], timeout=0)
    awaited.cancel()


async def nothing() -> None:
    pass


async def test_sleeping_for_no_time_is_a_bare_yield() -> None:
    """So a Conversation lets others go first."""
    assert asyncio.sleep(0).send(None) is None


def test_a_client_is_an_aiosmtpd_session() -> None:
    parameters = list(inspect.signature(aiosmtpd.smtp.Session).parameters)
    assert parameters == ["loop"]
    assert issubclass(Client, aiosmtpd.smtp.Session)
