"""A mail is the same mail whether DATA or BDAT brings it, and however either is cut."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.policy.sender import Limits, LineEndings
from relay.smtp.offer import Offer
from relay.smtp.places import Capacity, Places
from relay.smtp.session import Session
from relay.smtp.sessions import Sessions
from relay.smtp.settings import ListenerSettings
from tests.dialogue.house import House, a_known_sender, a_listener, a_place, until

LIMIT = 1500

LINES = st.lists(
    st.sampled_from(
        [
            b"\r\n",
            b".\r\n",
            b"..x\r\n",
            b"word\r\n",
            b"\n",
            b"\r",
            b".\n",
            b"\n.\r\n",
            b"\0",
            b"x" * 998 + b"\r\n",
            b"x" * 999 + b"\r\n",
            b"BDAT 0 LAST\r\n",
            b"QUIT\r\n",
        ]
    ),
    max_size=12,
).map(b"".join)
HEADERS = st.sampled_from(
    [
        b"From: billing@example.com\r\n",
        b"From: billing@example.com\nBcc: joe@example.net\r",
        b"From: ceo@corp.example\r\n",
        b"Subject: nobody wrote this\r\n",
        b"",
    ]
)
CONTENT = st.tuples(HEADERS, st.sampled_from([b"\r\n", b"\n", b""]), LINES).map(b"".join)
CUTS = st.lists(st.integers(0, 2000), max_size=8)


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.said = b""
        self._is_closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self._is_closing = True


def pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
    return [octets[start:end] for start, end in pairwise(marks)]


def by_data(content: bytes) -> bytes:
    return b"DATA\r\n" + re.sub(rb"(\A|\r\n)\.", rb"\1..", content) + b".\r\n"


def by_bdat(content: bytes, cuts: list[int], *, ends_empty: bool) -> bytes:
    chunks = pieces(content, cuts) + [b""] * (ends_empty or not content)
    last = len(chunks) - 1
    return b"".join(
        b"BDAT %d%b\r\n%b" % (len(chunk), b" LAST" if at == last else b"", chunk)
        for at, chunk in enumerate(chunks)
    )


async def judged(
    house: House, listener: ListenerSettings, wire: bytes, cuts: list[int]
) -> tuple[str, list[bytes]]:
    """Say all of it; return the verdict and what was spooled, both without queue ids."""
    loop = asyncio.get_running_loop()
    places = Places(10, Capacity(10))
    offer, sessions = Offer(listener), Sessions(places)
    place = a_place(places, "127.0.0.1")
    session = Session(loop, listener, house.surroundings, offer, sessions, place)
    transport = Wire()
    session.connection_made(transport)
    envelope = b"HELO a\r\nMAIL FROM:<billing@example.com>\r\nRCPT TO:<jane@example.net>\r\n"
    for piece in pieces(envelope + wire + b"NOOP a\r\nQUIT\r\n", cuts):
        session.data_received(piece)
        await asyncio.sleep(0)
    await until(lambda: transport.said.endswith(b"Bye\r\n"))
    said = transport.said.decode().splitlines()
    session.connection_lost(None)
    await until(lambda: not sessions)
    assert said[:4] == ["220 relay.test ESMTP", "250 relay.test", "250 2.1.0 Ok", "250 2.1.5 Ok"]
    assert said[-2] == "250 2.0.0 Ok"
    verdicts = [
        line for line in said[4:-2] if not (line.startswith("354 ") or line.endswith(" received"))
    ]
    # Behind a chunk that was refused come those that were under way.
    assert all(line.startswith("503 ") for line in verdicts[1:])
    contents = [re.sub(rb"\b[0-9A-Z]{20}\b", b"ID", content) for content in house.contents]
    house.spool.committed.clear()
    return re.sub(r"\b[0-9A-Z]{20}\b", "ID", verdicts[0]), contents


@pytest.mark.P2
@pytest.mark.P7
@settings(deadline=None)
@given(
    content=CONTENT,
    chunks=CUTS,
    cuts=st.tuples(CUTS, CUTS),
    ends_empty=st.booleans(),
    normalize=st.booleans(),
    refuses_long_lines=st.booleans(),
)
async def test_data_and_bdat_are_judged_and_kept_alike(
    content: bytes,
    chunks: list[int],
    cuts: tuple[list[int], list[int]],
    ends_empty: bool,
    normalize: bool,
    refuses_long_lines: bool,
) -> None:
    content += b"\r\n"
    sender = replace(a_known_sender(), limits=Limits(LIMIT))
    house = House(sender)
    listener = a_listener(
        line_endings=LineEndings.NORMALIZE if normalize else LineEndings.REJECT,
        refuses_long_lines=refuses_long_lines,
    )
    try:
        verdict, kept = await judged(house, listener, by_data(content), cuts[0])
        chunked = by_bdat(content, chunks, ends_empty=ends_empty)
        assert await judged(house, listener, chunked, cuts[1]) == (verdict, kept)
    finally:
        house.verifier.close()
    assert len(kept) == verdict.startswith("250 ")
    assert not house.told("fault")
    assert not house.surroundings.headers.taken
    assert all(
        draft.fate in ("committed", "discarded") for draft in cast("list[Any]", house.spool.drafts)
    )
    if kept:
        # Nobody behind us finds a line end that is none.
        between = kept[0].replace(b"\r\n", b"")
        assert b"\r" not in between
        assert b"\n" not in between
