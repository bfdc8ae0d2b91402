"""New scripts from old ones. Pure but for the random numbers it is given.

A script is changed as a dialogue first (moves repeated, dropped, swapped, taken from another) and
as octets second, with a liking for what parsers trip over. Knows SMTP's words, and not its rules.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Final

from tests.fuzz.script import (
    CUT,
    DEAF,
    DRAIN,
    EOF,
    HEAR,
    RELOAD,
    RESET,
    SEND,
    SETTLE,
    SPOOLS,
    WAIT,
    WORLDS,
    Move,
    Script,
)

# Beyond this a script says nothing new, and only takes longer.
_MOST_MOVES: Final = 60
_MOST_OCTETS: Final = 200_000

_TOKENS: Final = (
    *(b"\r", b"\n", b"\r\n", b"\0", b".", b"\r\n.", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"\n.\r\n"),
    *(b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\r\n.\r\r\n", b"..", b"\r\n..\r\n"),
    *(b"\x80", b"\xff", b"\xc3\xa9", b"\x1b", b"\x7f", b"\t", b" ", b"  ", b"<", b">", b"@", b":"),
    *(b'"', b"\\", b"(", b")", b",", b";", b"=", b"+", b"*", b"[", b"]", b"%", b"!"),
    *(
        b"zq",
        b"<>",
        b"<zq@example.com>",
        b"=?utf-8?b?enE=?=",
        b"zq@[127.0.0.1]",
        b"zqgone@example.net",
    ),
    *(
        b" SIZE=1",
        b" SIZE=99999999999999999999",
        b" BODY=8BITMIME",
        b" BODY=BINARYMIME",
        b" AUTH=<>",
    ),
    *(
        b" SMTPUTF8",
        b" NOTIFY=NEVER",
        b" ORCPT=rfc822;zq+2Bx",
        b" RET=HDRS",
        b" ENVID=zq",
        b" LAST",
    ),
    *(b"From: billing@example.com\r\n", b"Bcc: zq@example.net\r\n", b"Bcc :\r\n zq\r\n"),
    *(b"X-SES-ZQ: zq\r\n", b"Return-Path: <zq@zq>\r\n", b"Received: zq\r\n", b"From: zq@zq\r\n"),
)
_LINES: Final = (
    *(b"EHLO zq.test", b"HELO zq", b"MAIL FROM:<billing@example.com>", b"MAIL FROM:<>"),
    *(
        b"RCPT TO:<zqjane@example.net>",
        b"RCPT TO:<zqgone@example.net>",
        b"DATA",
        b"RSET",
        b"NOOP zq",
    ),
    *(b"QUIT", b"STARTTLS", b"AUTH PLAIN", b"AUTH LOGIN", b"AUTH PLAIN AGJpbGxpbmcAc3dvcmRmaXNo"),
    *(
        b"AUTH login YmlsbGluZw==",
        b"c3dvcmRmaXNo",
        b"YmlsbGluZw==",
        b"*",
        b"=",
        b"VRFY zq",
        b"EXPN zq",
    ),
    *(
        b"BDAT 0",
        b"BDAT 0 LAST",
        b"BDAT 5",
        b"BDAT 44 LAST",
        b"BDAT 99999999999999999999",
        b"BDAT -1",
    ),
    *(b"BDAT 70000 LAST", b"HELP", b"GET / HTTP/1.1", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1", b".", b""),
    *(b"XCLIENT ADDR=1.2.3.4", b"From: billing@example.com", b"Subject: zq"),
)
# What some server somewhere takes for the end of content (CVE-2023-51764 and its kin).
_ENDS: Final = (
    *(b"\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r"),
    *(b"\r\n\0.\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n.\0\r\n", b"\r\n.\r\n"),
)
_NUMBER: Final = re.compile(rb"[0-9]+")
_NUMBERS: Final = (
    b"0",
    b"1",
    b"2",
    b"7",
    b"-1",
    b"255",
    b"65535",
    b"65536",
    b"65537",
    b"0x10",
    b"1e3",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"9" * 19,
    b"9" * 21,
)
_TIMES: Final = (1, 2, 3, 8, 60, 101, 600, 1001, 4096, 33000, 70000)
_SECONDS: Final = (0.01, 0.5, 1.5, 9.0, 31.0, 61.0, 181.0, 301.0)

Moves = list[Move]


def mutate(script: Script, other: Script, rng: random.Random) -> Script:
    """Return a relative of `script`, with something of `other` in it perhaps."""
    moves = list(script.moves)
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        rng.choice(_MUTATIONS)(moves, other.moves, rng)
        if not moves:
            moves = list(script.moves)
    if rng.random() < 0.4:
        moves = _recut(moves, rng)
    del moves[_MOST_MOVES:]
    world, spool = script.world, script.spool
    if rng.random() < 0.1:
        world = rng.choice(WORLDS)
    if rng.random() < 0.1:
        spool = rng.choice(SPOOLS)
    return Script(world, spool, tuple(_bounded(moves)))


def _bounded(moves: Moves) -> Moves:
    left, kept = _MOST_OCTETS, []
    for move in moves:
        if len(move.octets) > left:
            continue
        left -= len(move.octets)
        kept.append(move)
    return kept


# --- the dialogue ---


def _repeat(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    start = rng.randrange(len(moves))
    piece = moves[start : start + rng.randint(1, 5)]
    at = rng.randrange(len(moves) + 1)
    moves[at:at] = piece * rng.choice((1, 1, 2, 4))


def _drop(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    start = rng.randrange(len(moves))
    del moves[start : start + rng.choice((1, 1, 1, 3))]


def _swap(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    one, two = rng.randrange(len(moves)), rng.randrange(len(moves))
    moves[one], moves[two] = moves[two], moves[one]


def _splice(moves: Moves, other: Sequence[Move], rng: random.Random) -> None:
    start, at = rng.randrange(len(other)), rng.randrange(len(moves) + 1)
    moves[at:at] = other[start : start + rng.randint(1, 8)]


def _cross(moves: Moves, other: Sequence[Move], rng: random.Random) -> None:
    del moves[rng.randrange(len(moves)) + 1 :]
    moves += other[rng.randrange(len(other)) :]


def _say(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    lines = b"".join(rng.choice(_LINES) + b"\r\n" for _ in range(rng.choice((1, 1, 1, 2, 4))))
    at = rng.randrange(len(moves) + 1)
    moves[at:at] = [Move(SEND, lines), Move(SETTLE)]


def _happen(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    kind = rng.choice((WAIT, WAIT, EOF, RESET, DEAF, HEAR, DRAIN, CUT, RELOAD))
    seconds = rng.choice(_SECONDS) if kind == WAIT else 0.0
    moves.insert(rng.randrange(len(moves) + 1), Move(kind, seconds=seconds))


# --- the octets ---


def _sent(moves: Moves, rng: random.Random) -> int | None:
    found = [at for at, move in enumerate(moves) if move.octets]
    return rng.choice(found) if found else None


def _insert(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    if (at := _sent(moves, rng)) is not None:
        octets = moves[at].octets
        cut = rng.randrange(len(octets) + 1)
        token = rng.choice(_TOKENS) * rng.choice((1, 1, 1, 1, 1, 1, 2, 3, rng.choice(_TIMES)))
        moves[at] = Move(SEND, octets[:cut] + token + octets[cut:])


def _smuggle(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    """Put what might be an end into a content, and perhaps another transaction behind it."""
    contents = [at for at, move in enumerate(moves) if b"\r\n\r\n" in move.octets]
    if contents:
        at = rng.choice(contents)
        octets = moves[at].octets
        cut = rng.randrange(octets.index(b"\r\n\r\n") + 2, len(octets) + 1)
        lines = [rng.choice(_LINES) for _ in range(rng.choice((0, 0, 2, 4)))]
        smuggled = rng.choice(_ENDS) + b"".join(line + b"\r\n" for line in lines)
        moves[at] = Move(SEND, octets[:cut] + smuggled + octets[cut:])


def _overwrite(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    if (at := _sent(moves, rng)) is not None:
        octets = moves[at].octets
        cut, token = rng.randrange(len(octets)), rng.choice(_TOKENS)
        moves[at] = Move(SEND, octets[:cut] + token + octets[cut + len(token) :])


def _flip(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    if (at := _sent(moves, rng)) is not None:
        octets = bytearray(moves[at].octets)
        for _bit in range(rng.choice((1, 1, 4))):
            octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)
        moves[at] = Move(SEND, bytes(octets))


def _erase(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    if (at := _sent(moves, rng)) is not None:
        octets = moves[at].octets
        cut = rng.randrange(len(octets))
        moves[at] = Move(SEND, octets[:cut] + octets[cut + rng.choice((1, 1, 2, 2, 9, 99)) :])


def _multiply(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    if (at := _sent(moves, rng)) is not None:
        octets = moves[at].octets
        cut = rng.randrange(len(octets))
        piece = octets[cut : cut + rng.choice((1, 1, 2, 8, 80))]
        times = min(rng.choice(_TIMES), _MOST_OCTETS // (2 * len(piece)))
        moves[at] = Move(SEND, octets[:cut] + piece * times + octets[cut:])


def _renumber(moves: Moves, _: Sequence[Move], rng: random.Random) -> None:
    if (at := _sent(moves, rng)) is not None:
        numbers = list(_NUMBER.finditer(moves[at].octets))
        if numbers:
            found, octets = rng.choice(numbers), moves[at].octets
            number = rng.choice(_NUMBERS)
            moves[at] = Move(SEND, octets[: found.start()] + number + octets[found.end() :])


def _recut(moves: Moves, rng: random.Random) -> Moves:
    """Cut what is sent anew: in lines, anywhere, or all at once."""
    how = rng.choice((0, 0, 1, 1, 1, 2))
    recut: Moves = []
    for move in moves:
        if move.kind == SETTLE and how == 0:
            continue  # everything is pipelined
        if move.kind == SEND and recut and recut[-1].kind == SEND and how == 0:
            recut[-1] = Move(SEND, recut[-1].octets + move.octets)
        elif move.kind == SEND and how == 1 and 1 < len(move.octets) < 4096:
            cut = rng.randrange(1, len(move.octets))
            recut += [Move(SEND, move.octets[:cut]), Move(SEND, move.octets[cut:])]
        elif move.kind == SEND and how == 2 and 1 < len(move.octets) < 200:
            recut += [Move(SEND, bytes([octet])) for octet in move.octets]
        else:
            recut.append(move)
    return recut


_MUTATIONS: Final[Sequence[Callable[[Moves, Sequence[Move], random.Random], None]]] = (
    *(_repeat, _drop, _swap, _splice, _cross, _say, _say, _happen),
    *(_insert, _insert, _insert, _smuggle, _overwrite, _flip, _erase, _multiply, _renumber),
)
