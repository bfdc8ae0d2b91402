"""What must hold of every session, whatever the client did. Judges a played script; plays none."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from tests.fuzz.world import Played

# Seeds and mutations write this wherever a client may put what it likes; we never do.
MARK: Final = b"zq"

_REPLY: Final = re.compile(rb"([2345])[0-5][0-9]([ -])([\x21-\x7e][\x20-\x7e]*)")
_STATUS: Final = re.compile(rb"([245])\.[0-9]{1,3}\.[0-9]{1,3} [^ ]")
_QUEUED: Final = re.compile(rb"250 2\.0\.0 Ok queued as ([0-9A-Z]{20})")
_QUEUED_KIND: Final = b"250 2.0.0 Ok queued as "
# R9: no enhanced status on the greeting and on replies to EHLO and HELO; RFC 2034 has none on 3yz.
_BARE: Final = re.compile(
    rb"220 relay\.test ESMTP"
    rb"|250[ -]relay\.test"
    rb"|250[ -](?:PIPELINING|SIZE(?: [0-9]+)?|8BITMIME|STARTTLS|AUTH PLAIN LOGIN|CHUNKING|DSN"
    rb"|ENHANCEDSTATUSCODES|LIMITS [A-Z0-9= ]+)"
    rb"|501 Syntax: (?:EHLO|HELO) hostname"
    rb"|334 (?:[A-Za-z0-9+/]+=*)?"
    rb"|354 [\x20-\x7e]+"
)
_LAST: Final = (b"421 ", b"221 ")

_REMOVED: Final = re.compile(
    rb"(?:^|\r\n)(?:bcc|resent-bcc|return-path|x-ses-[^:\r\n]*?)[ \t]*:", re.IGNORECASE
)
_RELAY_ID: Final = re.compile(rb"(?:^|\r\n)X-Relay-Id: ([0-9A-Z]{20})\r\n")
_STRAY: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
# A dot alone on a line, however that ends, was not stuffed: it is somebody's idea of an end.
_STUFFED: Final = re.compile(rb"\r\n\.(?![\r\n])")
_LAST_CHUNK: Final = re.compile(rb"BDAT[ \t]+[0-9]+[ \t]+LAST", re.IGNORECASE)


class Judge:
    """Judges sessions. Remembers which reply lines were judged, and how many kinds there were."""

    def __init__(self) -> None:
        self.kinds: dict[bytes, int] = {}
        """Each reply line ever said, queue ids left out, and its number."""
        self.last: list[int] = []
        """The replies of the session judged last, by their numbers, in order."""

    def complaints(self, played: Played) -> list[str]:
        """Return what is wrong with a session, in words; nothing is what should be returned."""
        wrong = list(played.complaints)
        if not played.has_ended:
            wrong.append("the session outlived all its deadlines")
        if played.script.spool != "broken":
            wrong += [f"fault {where}: {error!r}" for where, error in played.facts.faults]
        lines = self._judge_replies(played, wrong)
        self._judge_mail(played, lines, wrong)
        return wrong

    # --- what was said ---

    def _judge_replies(self, played: Played, wrong: list[str]) -> list[bytes]:
        said = played.said
        if MARK in said:
            wrong.append("what the client sent was said back to it")
        *lines, rest = said.split(b"\r\n")
        if rest:
            wrong.append(f"the last reply has no CRLF: {rest[:80]!r}")
        self.last = []
        for line in lines:
            kind = _without_id(line)
            number = self.kinds.get(kind)
            if number is None:
                if complaint := _fault_of(kind):
                    wrong.append(f"{complaint}: {line[:100]!r}")
                    continue
                number = self.kinds[kind] = len(self.kinds)
            self.last.append(number)
        for line, following in pairwise(lines):
            if line[:4] in _LAST:
                wrong.append(f"{line[:40]!r} was not the last reply: {following[:40]!r}")
            if line[3:4] == b"-" and line[:3] != following[:3]:
                wrong.append(f"{line[:40]!r} is continued by {following[:40]!r}")
        replies = sum(line[3:4] != b"-" for line in lines)
        # A banner, a reply to each line, one to the end of content without a line, and a farewell.
        asked = played.sent.count(b"\n")
        if replies > asked + 3:
            wrong.append(f"{replies} replies to {asked} lines")
        return lines

    # --- what was kept ---

    def _judge_mail(self, played: Played, lines: list[bytes], wrong: list[str]) -> None:
        acknowledged = [match[1].decode() for line in lines if (match := _QUEUED.fullmatch(line))]
        committed = [mail.queue_id for mail, _ in played.spool.committed]
        if played.facts.accepted_ids != committed and not played.was_reset:
            wrong.append(f"told as accepted {played.facts.accepted_ids}, kept {committed}")
        if not set(acknowledged) <= set(committed):
            wrong.append(f"acknowledged {acknowledged}, kept {committed}: mail is lost")
        if acknowledged != committed and not played.was_reset:
            wrong.append(f"kept {committed}, acknowledged {acknowledged}: the client sends again")
        # Only CRLF.CRLF ends DATA, and only a last chunk ends BDAT.
        ends = played.sent.count(b"\r\n.\r\n") + len(_LAST_CHUNK.findall(played.sent))
        if len(committed) > ends:
            wrong.append(f"{len(committed)} mails from {ends} ends of content: smuggled")
        has_bdat = b"BDAT" in played.sent.upper()
        for mail, content in played.spool.committed:
            wrong += _faults_of_content(mail.queue_id, content)
            # A chunk may end anywhere, and its last line with it (RFC 3030 section 2).
            if not has_bdat and not content.endswith(b"\r\n"):
                wrong.append(f"spooled without a CRLF at its end: {content[-60:]!r}")
            if mail.size != len(content):
                wrong.append(f"a size of {mail.size} is told of {len(content)} octets")
            if not has_bdat and not _was_sent(content, played):
                wrong.append(f"the body is not what was sent: {content[-200:]!r}")


def _without_id(line: bytes) -> bytes:
    return _QUEUED_KIND if line.startswith(_QUEUED_KIND) else line


def _fault_of(line: bytes) -> str:
    """Return what is wrong with one reply line, or nothing."""
    if line == _QUEUED_KIND or _BARE.fullmatch(line):
        return ""
    match = _REPLY.fullmatch(line)
    if match is None:
        return "not a reply line"
    if len(line) > 510:
        return "a reply line of more than 512 octets"
    status = _STATUS.match(match[3])
    if status is None:
        return "no enhanced status"
    return "" if status[1] == match[1] else "the enhanced status is of another class"


def _faults_of_content(queue_id: str, content: bytes) -> list[str]:
    """Return what is wrong with one spooled content."""
    wrong = []
    if stray := _STRAY.search(content):
        wrong.append(f"spooled with {stray[0]!r}: {content[: stray.end()][-60:]!r}")
    header = content.partition(b"\r\n\r\n")[0] + b"\r\n"
    if not header.startswith((b"Received: from ", b"X-Relay-Id: ")):
        wrong.append(f"spooled without Received: {content[:60]!r}")
    named = _RELAY_ID.search(header)
    if named is None or named[1].decode() != queue_id:
        wrong.append("spooled without its own X-Relay-Id")
    if removed := _REMOVED.search(header):
        wrong.append(f"spooled with {removed[0]!r}")
    return wrong


def _was_sent(content: bytes, played: Played) -> bool:
    """Whether the body stands in what the client sent, once stuffed dots are taken from it."""
    sent = _STUFFED.sub(b"\r\n", played.sent)
    if played.normalizes:
        sent = _STRAY.sub(b"\r\n", sent)
    body = content.partition(b"\r\n\r\n")[2]
    return b"\r\n" + body + b".\r\n" in sent
