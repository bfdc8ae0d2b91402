r"""What one fuzzed client does, as a value and as a text an operator can read and edit.

Knows the moves and their notation. Does not know what they lead to.

    # why this client is interesting
    world printer
    spool slow
    > EHLO zq.test\r\n
    .
    >*3 NOOP\r\n
    wait 5
    reset
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

SEND: Final = ">"
"""Octets arrive in one piece."""
SETTLE: Final = "."
"""The client waits until the server has nothing to do: lock-step. Without it, it pipelines."""
WAIT: Final = "wait"
"""So many seconds pass."""
EOF: Final = "eof"
"""The client has said all it has to say, and still reads."""
RESET: Final = "reset"
"""The client is gone."""
DEAF: Final = "deaf"
"""From here the client does not read."""
HEAR: Final = "hear"
"""It reads again."""
DRAIN: Final = "drain"
"""The relay is asked to stop."""
CUT: Final = "cut"
"""The time it had to stop is over."""
RELOAD: Final = "reload"
"""The configuration is read again: same rules, next generation."""

WORLDS: Final = ("printer", "submission", "mixed", "tls", "quotas")
SPOOLS: Final = ("quick", "slow", "picked", "full", "failing", "broken")

# A run of one piece is written once: oversize is what many clients are about.
_RUN: Final = re.compile(rb"(?s)(.{1,80}?)\1{7,}")
_LINE: Final = re.compile(r">(?:\*(\d+))?(?: (.*))?")


class Move(NamedTuple):
    """One thing a client, time, or the operator does."""

    kind: str
    octets: bytes = b""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """One whole session: where, over which spool, and move by move."""

    world: str
    spool: str
    moves: tuple[Move, ...]
    reason: str = ""

    @property
    def size(self) -> int:
        """How many octets the client sends."""
        return sum(len(move.octets) for move in self.moves)


def _escaped(octets: bytes) -> str:
    return octets.decode("latin-1").encode("unicode_escape").decode("ascii")


def _sends(octets: bytes) -> list[str]:
    """Write one piece; runs in it become lines of their own, joined by `+`."""
    if len(octets) > 200 and (run := _RUN.search(octets)):
        times = (run.end() - run.start()) // len(run[1])
        before, after = octets[: run.start()], octets[run.end() :]
        lines = [f">*{times} {_escaped(run[1])}"]
        if before:
            lines = [f"> {_escaped(before)}", f"+{lines[0]}"]
        if after:
            lines += [f"+{line.removeprefix('+')}" for line in _sends(after)]
        return lines
    return [f"> {_escaped(octets)}"]


def write(script: Script) -> str:
    """Return the text of a script."""
    lines = [f"# {line}".rstrip() for line in script.reason.splitlines()]
    lines += [f"world {script.world}", f"spool {script.spool}"]
    for move in script.moves:
        if move.kind == SEND:
            lines += _sends(move.octets)
        elif move.kind == WAIT:
            lines.append(f"wait {move.seconds:g}")
        else:
            lines.append(move.kind)
    return "\n".join(lines) + "\n"


def read(text: str) -> Script:
    """Return the script of a text; raise ValueError."""
    reason: list[str] = []
    world, spool = WORLDS[0], SPOOLS[0]
    moves: list[Move] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if line.startswith("#"):
            reason.append(line[1:].removeprefix(" "))
        elif match := _LINE.fullmatch(line.removeprefix("+")):
            piece, _ = codecs.escape_decode(match[2] or "")
            octets = bytes(piece) * int(match[1] or 1)
            if line.startswith("+"):
                octets = moves.pop().octets + octets
            moves.append(Move(SEND, octets))
        elif word == "world" and rest in WORLDS:
            world = rest
        elif word == "spool" and rest in SPOOLS:
            spool = rest
        elif word == WAIT:
            moves.append(Move(WAIT, seconds=float(rest)))
        elif line in (SETTLE, EOF, RESET, DEAF, HEAR, DRAIN, CUT, RELOAD):
            moves.append(Move(line))
        elif line:
            raise ValueError(f"not a move: {line}")
    return Script(world, spool, tuple(moves), "\n".join(reason))
