"""Command after command: each to its method, junk and faults counted, faults kept from the client.

Does not know what any command does: a subclass brings the table of verbs.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, ClassVar, Final, TypeAlias

from relay.facts import Facts
from relay.mail.reply import Reply
from relay.smtp import replies
from relay.smtp.authentication import RESPONSE_LIMIT
from relay.smtp.connection import Connection
from relay.smtp.hangup import HangUpError
from relay.smtp.settings import Deadlines
from relay.smtp.wire import READ_AHEAD

# Octets, CRLF not counted. RFC 5321 section 4.5.3.1.4, and what SIZE, BODY, AUTH and the DSN
# parameters may add to MAIL and RCPT.
_LINE_LIMIT: Final = 510
_CHUNK: Final = b"BDAT"
_LINE_LIMITS: Final = {
    b"MAIL": 2048,
    b"RCPT": 2048,
    b"AUTH": RESPONSE_LIMIT + 32,
    # Whatever else stands on the line, the octets it announces must be taken for content.
    _CHUNK: READ_AHEAD,
}

# Between two accepted mails. A client that keeps its connection may well send RSET or NOOP with
# every mail; one that sends nothing else is not here to send mail.
_JUNK_LIMIT: Final = 100
# Recipients are many to a mail, so more of them may be refused, or be named again.
_WASTE_LIMIT: Final = 1000
_FAULT_LIMIT: Final = 3

# Browsers that were made to speak to us, and probes (postconf(5), smtpd_forbidden_commands).
_OTHER_PROTOCOLS: Final = frozenset(
    b"CONNECT DELETE GET HEAD OPTIONS PATCH POST PRI PUT TRACE".split()
)

Command: TypeAlias = Callable[[Any, str], Awaitable[None] | None]
"""Carries out a command, given the session and the rest of the line; what it returns is awaited."""


class Dialogue(Connection):
    """The sequence of commands of one session."""

    commands: ClassVar[Mapping[bytes, Command]]
    """What each verb does; given the session and the rest of the line."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, facts: Facts, session_id: str
    ) -> None:
        super().__init__(loop, deadlines)
        self.session_id = session_id
        self.facts = facts
        self.obeyed = self.commands
        """What each verb does now."""
        self._junk = 0
        self._waste = 0
        self._faults = 0

    @abstractmethod
    def banner(self) -> bytes:
        """Return the greeting."""

    @property
    @abstractmethod
    def is_in_transaction(self) -> bool:
        """Whether MAIL was taken and its transaction is not over."""

    @abstractmethod
    async def forget_transaction(self) -> None:
        """Return to where MAIL may be given."""

    async def forget(self) -> None:
        """Leave nothing behind of what the client has begun."""
        await self.forget_transaction()

    def greet(self) -> None:
        """Say the greeting."""
        self.say(self.banner())

    def spoken_to(self, octet: bytes) -> None:
        """Hang up on who cannot have come to send mail.

        TLS where we speak none, and what probes send: such may never come to the end of a line.
        """
        if not _may_begin(octet):
            raise HangUpError(replies.NOT_SMTP, mute=True)

    def obey(self, line: bytes) -> Coroutine[Any, Any, None] | None:
        """Obey one command; what is returned is to be awaited before the next."""
        verb, _, argument = line.partition(b" ")
        command = self.obeyed.get(verb) or self._known(verb.upper(), line)
        if command is None or (len(line) > _LINE_LIMIT and self._is_too_long(verb, line)):
            return None
        # Latin-1 keeps every octet as it is; what may be in an argument is its parser's to say.
        try:
            awaited = command(self, str(argument, "latin-1").strip(" \t"))
        except (HangUpError, EOFError):
            raise
        except Exception as error:  # noqa: BLE001 - a boundary: the session outlives our faults
            return self._failed(error)
        return None if awaited is None else self._see_through(awaited)

    async def _see_through(self, awaited: Awaitable[None]) -> None:
        """Await the rest of a command."""
        try:
            await awaited
        except (HangUpError, EOFError):
            raise
        except Exception as error:
            if self.is_lost:
                raise
            await self._failed(error)
        if self._faults >= _FAULT_LIMIT:
            raise HangUpError(replies.TOO_MANY_FAULTS)

    async def _failed(self, error: Exception) -> None:
        """End the transaction after a fault of ours; the session only if there were too many."""
        await self.forget_transaction()
        self.note_fault("smtp.command", error)
        self.say(replies.INTERNAL_ERROR.line)
        if self._faults >= _FAULT_LIMIT:
            raise HangUpError(replies.TOO_MANY_FAULTS)

    def _known(self, verb: bytes, line: bytes) -> Command | None:
        """Return what a verb means that is not written in capitals; None: nothing, and it is said.

        Hangs up on who speaks another protocol.
        """
        command = self.obeyed.get(verb)
        if command is not None:
            return command
        if verb in _OTHER_PROTOCOLS or (line and not line[:1].isalpha()):
            raise HangUpError(replies.NOT_SMTP, mute=True)
        if verb.startswith(_CHUNK):
            # Content follows, who knows how much: `BDAT<tab>86`.
            raise HangUpError(replies.BDAT_SYNTAX, linger=True)
        is_long = len(line) > _LINE_LIMIT
        self.say_junk(replies.LINE_TOO_LONG if is_long else replies.UNKNOWN_COMMAND)
        return None

    def _is_too_long(self, verb: bytes, line: bytes) -> bool:
        """Whether a line is longer than its verb allows; if so, it is said."""
        if len(line) <= _LINE_LIMITS.get(verb.upper(), _LINE_LIMIT):
            return False
        self.say_junk(replies.LINE_TOO_LONG)
        return True

    def report(self, error: Exception) -> None:
        """Report a fault outside of any command; it ends the session."""
        self.note_fault("smtp.session", error)
        self.say(replies.TOO_MANY_FAULTS.line)
        self.hung_up(replies.TOO_MANY_FAULTS)

    def hung_up(self, reply: Reply) -> None:
        """Tell it, unless the client had asked for it."""
        if reply is not replies.BYE:
            self.facts.hung_up(self.session_id, reply)

    def note_fault(self, where: str, error: Exception) -> None:
        """Report a fault of ours; after so many of them the session ends with its next reply."""
        self._faults += 1
        self.facts.fault(where, error, self.session_id)

    def count_junk(self) -> None:
        """Count what brought no mail any nearer; so many times, then hang up."""
        self._junk += 1
        if self._junk > _JUNK_LIMIT:
            raise HangUpError(replies.TOO_MUCH_JUNK)

    def count_waste(self) -> None:
        """Count a recipient that did not make the mail go any further; so many, then hang up."""
        self._waste += 1
        if self._waste > _WASTE_LIMIT:
            raise HangUpError(replies.TOO_MUCH_JUNK)

    def say_junk(self, reply: Reply) -> None:
        """Answer what brought no mail any nearer."""
        self.count_junk()
        self.say(reply.line)

    def forgive_junk(self) -> None:
        """Take note that mail was accepted."""
        self._junk = self._waste = 0


def _may_begin(octet: bytes) -> bool:
    """Whether a command line may begin so, an empty one included."""
    return octet.isalpha() or octet in b"\r\n"
