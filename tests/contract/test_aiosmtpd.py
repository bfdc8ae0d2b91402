"""What the front door relies on in aiosmtpd and asyncio beyond their documentation.

A new release of either that changes one of these must be looked at before it is allowed in.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import re
import time

import aiosmtpd.smtp
import pytest
from aiosmtpd.smtp import SMTP

from relay.smtp.addressing import Addressing
from relay.smtp.client import Client
from relay.smtp.connection import Connection
from relay.smtp.dialogue import Dialogue
from relay.smtp.introduction import Introduction
from relay.smtp.offer import Offer
from relay.smtp.places import Capacity, Places
from relay.smtp.session import Session
from relay.smtp.sessions import Sessions
from relay.smtp.transfer import Transfer
from relay.smtp.wire import Wire
from tests.dialogue.house import House, a_listener, a_place

OURS = (Wire, Connection, Dialogue, Introduction, Addressing, Transfer, Session)
# What we override or call of SMTP, and why.
OVERRIDDEN = {
    "__init__": "inspects every attribute of itself, 0.3 ms a connection, and may ask the DNS",
    "_create_session": "called for each connection; ours returns what we know of the client",
    "_handle_client": "the command loop: accepts bare LF, echoes commands, leaks exceptions as 500",
    "_reset_timeout": "called by connection_made to start a timer that closes without a word and "
    "rings during a commit; ours is wound by the first wait",
    "_set_rset_state": "called by connection_made; ours has nothing to forget by then",
    "connection_lost": "cancels the command loop, and with it a commit half-way",
    "connection_made": "called by ours: it makes reader and writer and starts the command loop",
    "eof_received": "cancels the command loop although a half-closed client waits for replies",
    "pause_writing": "of asyncio's protocol: tells us that the client does not read",
    "resume_writing": "of asyncio's protocol: tells us that it does again",
    "session": "where connection_made puts what _create_session returns",
    "transport": "where connection_made puts the transport",
    "envelope": "set by SMTP's own transactions, which we do not use",
    "loop": "where connection_made starts the command loop",
    "_handle_hooks": "read by connection_made after SMTP's own STARTTLS, which we do not use",
    "_handler_coroutine": "where connection_made keeps the task of the command loop",
    "_original_transport": "read by connection_made: None says that this is no STARTTLS",
    "_over_ssl": "of asyncio's protocol: whether a half-closed connection can be kept",
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


async def test_connection_made_touches_only_what_our_constructor_sets() -> None:
    used = set(SMTP.connection_made.__code__.co_names)
    own = {
        "_cb_client_connected",
        "_create_session",
        "_handle_client",
        "_reset_timeout",
        "_set_rset_state",
    }
    upgrade = {  # the branch after SMTP's own STARTTLS, never taken: _original_transport is None
        "AssertionError",
        "_buffer",
        "_extra",
        "_handle_hooks",
        "_reader",
        "_tls_handshake_okay",
        "_tls_protocol",
        "_transport",
        "_writer",
        "clear",
        "envelope",
        "get",
        "ssl",
    }
    plain = {
        "_handler_coroutine",
        "_original_transport",
        "connection_made",
        "create_task",
        "get_extra_info",
        "info",
        "log",
        "loop",
        "peer",
        "session",
        "super",
        "transport",
    }
    assert used - upgrade <= plain | own
    assert set(SMTP._cb_client_connected.__code__.co_names) == {"_reader", "_writer"}
    assert set(SMTP.__del__.__code__.co_names) >= {"getattr", "done", "cancelled"}


async def test_a_session_costs_little_to_begin() -> None:
    """SMTP's own constructor takes some 300 microseconds."""
    loop, settings, surroundings = asyncio.get_running_loop(), a_listener(), House().surroundings
    places = Places(1000, Capacity(1000))
    offer, sessions, place = Offer(settings), Sessions(places), a_place(places)
    began = time.process_time()
    for _ in range(200):
        Session(loop, settings, surroundings, offer, sessions, place)
    assert (time.process_time() - began) / 200 < 0.000_1


async def test_the_reader_keeps_its_octets_in_a_bytearray() -> None:
    """We look there for further commands, and put back what was read behind content."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"one\ntwo\nthree")
    assert isinstance(reader._buffer, bytearray)  # type: ignore[attr-defined]
    assert await reader.readuntil(b"\n") == b"one\n"
    assert reader._buffer == b"two\nthree"  # type: ignore[attr-defined]
    assert await reader.read(100) == b"two\nthree"
    reader.feed_eof()
    reader._buffer[:0] = b"back\n"  # type: ignore[attr-defined]
    assert await reader.readuntil(b"\n") == b"back\n"
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readuntil(b"\n")


async def test_an_exception_set_on_the_reader_wakes_who_waits() -> None:
    """This is how a deadline, or a drain, ends the wait for a command."""
    reader = asyncio.StreamReader()
    waiting = asyncio.create_task(reader.readuntil(b"\n"))
    await asyncio.sleep(0)
    reader.set_exception(RuntimeError("time"))
    with pytest.raises(RuntimeError, match="time"):
        await waiting
    with pytest.raises(RuntimeError, match="time"):
        await reader.read(1)


async def test_a_line_without_end_is_reported_before_memory_runs_out() -> None:
    reader = asyncio.StreamReader(limit=100)
    reader.feed_data(b"x" * 101)
    with pytest.raises(asyncio.LimitOverrunError):
        await reader.readuntil(b"\n")


def test_reader_and_writer_keep_the_transport_where_we_put_it() -> None:
    """STARTTLS exchanges it; aiosmtpd does so in the same way."""
    for method in (asyncio.StreamWriter.write, asyncio.StreamWriter.drain):
        assert "_transport" in method.__code__.co_names
    assert "_transport" in asyncio.StreamReader.feed_data.__code__.co_names
    assert "_over_ssl" in asyncio.StreamReaderProtocol.connection_made.__code__.co_names


def test_a_client_is_an_aiosmtpd_session() -> None:
    parameters = list(inspect.signature(aiosmtpd.smtp.Session).parameters)
    assert parameters == ["loop"]
    assert issubclass(Client, aiosmtpd.smtp.Session)
