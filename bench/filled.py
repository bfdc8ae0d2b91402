"""A spool with as many queued messages as one asks for, made in seconds, as a kill -9 leaves it.

`python -m bench.filled DIRECTORY --messages 1000000`. The rows are written by the relay's own code,
so they are what the relay itself would have written; nothing else of it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from relay.mail.address import Address
from relay.mail.entry import State
from relay.mail.envelope import Envelope, Mail, SenderName, new_queue_id
from relay.store import schema
from relay.store.columns import milliseconds
from relay.store.spool import Arrival, Insertion
from relay.store.uptime import Uptime

SENDERS: Final = tuple(SenderName(name) for name in ("app", "newsletter", "gone"))
"""Nine in ten are the second's; the third is configured nowhere."""

_PAGE: Final = 5000
_REVERSE_PATH: Final = Address("bounces", "example.com")
_HEADER: Final = b"From: bounces@example.com\r\nTo: someone@example.net\r\nSubject: queued\r\n\r\n"
# What of the rows is made something else than due: every so many-eth.
_FAILED, _HELD, _CLAIMED = 101, 211, 20_011
_TURNED: Final = """
    UPDATE {table} SET state = '{state}', due_at = {due_at}, reason = '{reason}'
    WHERE {key} > :after AND {key} % {every} = 0"""


class Filling(NamedTuple):
    """How much is queued, and in what."""

    messages: int
    size: int
    """Octets of the content of each that is in a row."""
    files: int = 0
    """How many of them have their content in a file of its own."""
    file_size: int = 131_073
    """Octets of each such file, nearly all of them a hole: they have no place on the disk."""
    scheduled: int = 5
    """Of how many one waits for its next attempt, an hour off or two; of 1, all do."""


def fill(spool: Path, filling: Filling, *, now: datetime) -> None:
    """Make the spool directory, which must not be there yet."""
    spool.mkdir(mode=0o700, parents=True)
    for name in ("content", "corrupt"):
        (spool / name).mkdir(mode=0o700)
    with contextlib.closing(schema.connect(spool / "spool.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        schema.migrate(connection, schema.SPOOL)
        uptime = Uptime(time.monotonic)
        uptime.begin(connection)
        insert, arrivals = Insertion(uptime), _arrivals(filling, now)
        after = 0
        while page := list(islice(arrivals, _PAGE)):
            connection.execute("BEGIN IMMEDIATE")
            insert(connection, page)
            _turn_some(connection, after, filling.scheduled, now)
            connection.execute("COMMIT")
            after += len(page)
            for arrival in page:
                if arrival.octets is None:
                    with (spool / "content" / arrival.mail.queue_id).open("wb") as file:
                        file.write(_HEADER)
                        file.truncate(arrival.mail.size)


def _arrivals(filling: Filling, now: datetime) -> Iterator[Arrival]:
    body = _HEADER + b"x" * (filling.size - len(_HEADER))
    checksum = zlib.crc32(body)
    # A header, and the rest a hole.
    hole = zlib.crc32(_HEADER + bytes(filling.file_size - len(_HEADER)))
    # As much mail as came in a day.
    step = timedelta(days=1) / max(1, filling.messages)
    app, newsletter, gone = SENDERS
    for number in range(filling.messages):
        at = now - timedelta(days=1) + number * step
        sender = app if number % 10 == 0 else gone if number % 1000 == 1 else newsletter
        recipient = Address(f"user{number}", "example.net")
        in_file = number < filling.files
        envelope = Envelope(_REVERSE_PATH, (recipient,))
        size = filling.file_size if in_file else len(body)
        mail = Mail(new_queue_id(at), sender, envelope, at, size)
        yield Arrival(mail, hole, None) if in_file else Arrival(mail, checksum, body)


def _turn_some(connection: sqlite3.Connection, after: int, scheduled: int, now: datetime) -> None:
    """Have some deferred, failed, held, or claimed when the process was killed."""
    later = milliseconds(now + timedelta(hours=1))
    for every, state, due_at, reason in (
        (scheduled, State.SCHEDULED, f"{later} + {{key}} % 3600000", "throttled"),
        (_FAILED, State.FAILED, "NULL", "rejected"),
        (_HELD, State.HELD, "NULL", "access_denied"),
    ):
        for table, key in (("entry", "id"), ("recipient", "entry")):
            words = {"table": table, "key": key, "every": every, "state": state, "reason": reason}
            statement = _TURNED.format(due_at=due_at.format(key=key), **words)
            connection.execute(statement, {"after": after})
    connection.execute(
        """INSERT INTO attempt SELECT id, 1, 'node', 0, ?, (
                SELECT address FROM recipient WHERE recipient.entry = entry.id)
            FROM entry WHERE id > ? AND id % ? = 0""",
        (milliseconds(now), after, _CLAIMED),
    )
    connection.execute(
        "UPDATE entry SET state = ?, due_at = NULL, token = 1 WHERE id > ? AND id % ? = 0",
        (State.IN_FLIGHT, after, _CLAIMED),
    )


def main() -> None:
    """Make a spool where the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.filled", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=4096, help="octets of each message")
    parser.add_argument("--files", type=int, default=0, help="how many are in files of their own")
    arguments = parser.parse_args()
    filling = Filling(arguments.messages, arguments.size, arguments.files)
    fill(arguments.directory, filling, now=datetime.now(UTC))


if __name__ == "__main__":
    main()
