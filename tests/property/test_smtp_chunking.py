"""However the octets of a client are cut into pieces, the answer is the same."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mail.address import AddressFault
from relay.mail.envelope import QueueId
from relay.mail.reply import Refusal, Reply
from relay.smtp.command import MailCommand, parse_mail, parse_rcpt
from relay.smtp.content import ContentIntake
from relay.smtp.data import ContentScanner
from relay.smtp.headers import HeaderWindow
from relay.smtp.lines import ContentLines
from tests.builders import a_sender
from tests.fakes import FakeSpool

# How long an example takes says more of the machine than of the code.
unhurried = settings(deadline=None)

# Made of what matters: ends, near-ends, dots, and something ordinary.
SCRAPS = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"\0", b"a", b"b c"])
WIRE = st.lists(SCRAPS, max_size=30).map(b"".join)
CLEAN = st.lists(st.sampled_from([b"\r\n", b".", b"..", b"a", b"word "]), max_size=30).map(b"".join)


def pieces(wire: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    return [wire[start:end] for start, end in pairwise(marks)]


def scan(wire: list[bytes]) -> tuple[bytes, bool, bytes]:
    scanner = ContentScanner()
    content = remainder = b""
    for piece in wire:
        if scanner.ended:
            remainder += piece
        else:
            content += scanner.feed(piece)
    return content, scanner.ended, scanner.remainder + remainder


def look(content: list[bytes], *, normalize: bool) -> tuple[bytes, bool, bool, bool]:
    lines = ContentLines(normalize=normalize, limit=True)
    kept = b"".join([lines.feed(piece) for piece in content]) + lines.end()
    return kept, lines.has_stray, lines.has_nul, lines.has_long


@unhurried
@given(wire=WIRE, cuts=st.lists(st.integers(0, 200), max_size=10))
def test_the_scanner_gives_one_answer_for_every_chunking(wire: bytes, cuts: list[int]) -> None:
    wire += b"\r\n.\r\nQUIT\r\n"
    assert scan(pieces(wire, cuts)) == scan([wire])
    assert scan([bytes([octet]) for octet in wire]) == scan([wire])


@unhurried
@given(wire=WIRE)
def test_the_scanner_agrees_with_a_reading_line_by_line(wire: bytes) -> None:
    wire += b"\r\n.\r\nQUIT\r\n"
    lines: list[bytes] = []
    rest = wire
    while True:
        line, _, rest = rest.partition(b"\r\n")
        if line == b".":
            break
        # A dot that some other end of line leaves alone was not stuffed.
        stands_alone = line[1:2] in (b"\r", b"\n")
        lines.append(line if stands_alone else line.removeprefix(b"."))
    content, ended, remainder = scan([wire])
    assert ended
    assert content == b"".join(line + b"\r\n" for line in lines)
    assert remainder == rest


@unhurried
@given(content=WIRE, cuts=st.lists(st.integers(0, 200), max_size=10), normalize=st.booleans())
def test_lines_are_looked_at_alike_for_every_chunking(
    content: bytes, cuts: list[int], normalize: bool
) -> None:
    whole = look([content], normalize=normalize)
    assert look(pieces(content, cuts), normalize=normalize) == whole
    assert look([bytes([octet]) for octet in content], normalize=normalize) == whole


@unhurried
@given(content=WIRE)
def test_lines_agree_with_a_plain_reading(content: bytes) -> None:
    kept, has_stray, has_nul, _ = look([content], normalize=False)
    between = content.replace(b"\r\n", b"")
    assert kept == content
    assert has_stray == (b"\r" in between or b"\n" in between)
    assert has_nul == (b"\0" in content)
    kept, has_stray, _, _ = look([content], normalize=True)
    # What every editor does.
    assert kept == b"\r\n".join(re.split(rb"\r\n|\r|\n", content))
    assert not has_stray


LONG = st.lists(
    st.one_of(st.just(b"\r\n"), st.integers(990, 1005).map(lambda n: b"x" * n)), max_size=8
).map(b"".join)


@unhurried
@given(content=LONG, cuts=st.lists(st.integers(0, 8000), max_size=10))
def test_a_long_line_is_found_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    is_long = any(len(line) > 998 for line in content.split(b"\r\n"))
    *_, found = look(pieces(content, cuts), normalize=False)
    assert found == is_long


@pytest.mark.P2
@unhurried
@given(content=CLEAN, cuts=st.lists(st.integers(0, 200), max_size=10))
def test_what_a_client_stuffs_comes_out_as_it_was(content: bytes, cuts: list[int]) -> None:
    content += b"\r\n"
    stuffed = b"".join(
        b"." + line if line.startswith(b".") else line for line in content.splitlines(keepends=True)
    )
    assert scan(pieces(stuffed + b".\r\n", cuts)) == (content, True, b"")


FIELDS = st.sampled_from(
    [
        b"Subject: hello\r\n",
        b"To: jane@example.net,\r\n joe@example.net\r\n",
        b"Bcc: secret@example.net\r\n",
        b"bcc :\r\n\tfolded@example.net\r\n",
        b"X-SES-CONFIGURATION-SET: mine\r\n",
        b"not a field\r\n",
        b"Return-Path: <a@example.com>\r\n",
        b"X-SESAME: open\r\n",
    ]
)
MESSAGE = st.tuples(
    st.lists(FIELDS, max_size=6).map(b"".join),
    st.sampled_from([b"", b"From: billing@example.com\r\n"]),
    st.sampled_from([b"", b"\r\n", b"\r\nBody\r\n\r\nBcc: not a field\r\n"]),
).map(b"".join)


async def take(message: list[bytes]) -> tuple[Refusal | None, bytes]:
    spool = FakeSpool()
    intake = ContentIntake(spool, a_sender(), lambda _: b"Trace: here\r\n", HeaderWindow())
    for piece in message:
        refusal = await intake.take(piece)
        if refusal is not None:
            return refusal, b""
    refusal = await intake.end()
    return refusal, spool.drafts[0].content if spool.drafts else b""


@pytest.mark.P2
@unhurried
@given(message=MESSAGE, cuts=st.lists(st.integers(0, 400), max_size=10))
async def test_the_intake_gives_one_answer_for_every_chunking(
    message: bytes, cuts: list[int]
) -> None:
    assert await take(pieces(message, cuts)) == await take([message])
    assert await take([bytes([octet]) for octet in message]) == await take([message])


ARGUMENTS = st.text(
    st.characters(min_codepoint=0, max_codepoint=255, blacklist_characters="\r\n"), max_size=80
)
PATHS = st.sampled_from(["jane@example.net", "", '"a b"@example.net', "a@b@c", "@a:b@c", "j\xe4n"])
TAILS = st.sampled_from(["", " ", " SIZE=10", " BODY=8BITMIME", " X", " NOTIFY=NEVER", " SIZE=x"])


@unhurried
@given(
    argument=st.one_of(
        ARGUMENTS,
        st.builds("{0}<{1}>{2}".format, st.sampled_from(["FROM:", "TO:", "TO: "]), PATHS, TAILS),
    )
)
def test_every_argument_is_read_or_refused_and_never_repeated(argument: str) -> None:
    for answer in (parse_mail(argument), parse_rcpt(argument)):
        if isinstance(answer, Refusal):
            answer = answer.reply  # noqa: PLW2901
        if isinstance(answer, Reply):
            assert answer.code >= 500
            assert str(answer).isascii()
        elif isinstance(answer, MailCommand):
            # What was read is what stood there, once quoting is undone.
            path = answer.reverse_path
            if isinstance(path, AddressFault):
                continue
            assert path is None or str(path).lower().split("@")[-1] in argument.lower()
        else:
            assert f"@{answer.domain}" in argument.lower()


def test_the_trace_callback_is_given_the_queue_id_of_the_draft() -> None:
    seen: list[QueueId] = []

    def trace(queue_id: QueueId) -> bytes:
        seen.append(queue_id)
        return b""

    spool = FakeSpool()
    intake = ContentIntake(spool, a_sender(), trace, HeaderWindow())
    coroutine = intake.take(b"From: billing@example.com\r\n\r\n")
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert seen == [spool.drafts[0].queue_id]
