"""Whether what a power cut left is what was promised: the real recovery is run on an image.

Looks first, judges then: the same image may have to stand for several moments.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Final

from relay.mail.entry import QueuedMail, State
from relay.operators import Selection
from relay.ports import Claim, ContentFile, SpoolError
from relay.store import Store
from tests.crash.disk import Pair
from tests.crash.mails import Letter, digest_of, mark_of, without_trace
from tests.fakes import FrozenClock, RecordingFacts
from tests.power.disk import Moment
from tests.power.history import History
from tests.power.images import Image

_PATIENCE: Final = timedelta(minutes=30)
_MANY: Final = 1_000_000
# Octets. Nothing is short here, and 64 MiB for each of thousands of images take their time.
_RESERVE: Final = 4096
_SHELVES: Final = Path("/dev/shm")  # noqa: S108 - nothing of an image need be durable


@dataclass(frozen=True)
class Seen:
    """One mail as the relay would send it after the power cut."""

    states: Mapping[str, State]
    """Of each recipient."""
    reverse_path: str
    mark: int
    digest: bytes


@dataclass
class Observation:
    """What the relay makes of an image."""

    mails: dict[str, Seen] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    """What is wrong with it, whatever was promised."""


def observe(image: Image, spool: str) -> Observation:
    """Have the relay open a spool as the power cut left it, and see what it would send."""
    where = _SHELVES if _SHELVES.is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="relay-power-", dir=where))
    try:
        image.write(directory)
        return asyncio.run(_look(directory / spool))
    finally:
        shutil.rmtree(directory)


async def _look(spool: Path) -> Observation:
    seen = Observation()
    # Late enough for everything that waits for its time.
    clock = FrozenClock(datetime.now(UTC) + timedelta(hours=1))
    try:
        async with await Store.open(
            spool,
            clock=clock,
            facts=RecordingFacts(),
            node="node-1",
            ambiguous_wait=_PATIENCE,
            min_free=0.01,
            reserve=_RESERVE,
            unsafe=True,
        ) as store:
            if store.recovered.corrupt:
                seen.complaints.append(f"it finds damage: {store.recovered}")
            await _look_into(store, spool, clock, seen)
    except SpoolError as error:
        seen.complaints.append(f"it cannot be used: {error}")
    return seen


async def _look_into(store: Store, spool: Path, clock: FrozenClock, seen: Observation) -> None:
    entries = await _entries(store)
    names = {str(entry.mail.queue_id) for entry in entries}
    left = [one.name for one in (spool / "content").iterdir() if one.name not in names]
    if left:
        seen.complaints.append(f"files that no row names are left: {left}")
    clock.advance(2 * _PATIENCE)
    wants = dict.fromkeys(await store.queue.senders(), _MANY)
    claims = await store.queue.claim(
        wants, node="node-1", now=clock.now(), lease=_PATIENCE, chunk=50, room=_MANY
    )
    claimed = {claim.mail.queue_id: claim for claim in claims.taken}
    for entry in entries:
        name, states = entry.mail.queue_id, {str(r.address): r.state for r in entry.recipients}
        claim = claimed.get(name)
        if claim is None:
            seen.complaints.append(f"{name} is {entry.state}, and never sent")
        elif set(map(str, claim.recipients)) != states.keys():
            seen.complaints.append(f"{name} is sent to some of {states} only")
        else:
            seen.mails[name] = _seen(claim, states)


async def _entries(store: Store) -> list[QueuedMail]:
    entries: list[QueuedMail] = []
    after: str | None = ""
    while after is not None:
        page = await store.queue.find(Selection(), after, _MANY)
        entries += page.entries
        after = page.after
    return entries


def _seen(claim: Claim, states: Mapping[str, State]) -> Seen:
    content = claim.content
    octets = content.path.read_bytes() if isinstance(content, ContentFile) else content
    return Seen(
        states,
        str(claim.mail.envelope.reverse_path),
        mark_of(octets),
        digest_of(without_trace(octets)),
    )


@dataclass(frozen=True)
class Promises:
    """What an image is held against."""

    history: History
    letters: Mapping[int, Letter]
    """Every mail that a client has begun to send, by its mark."""
    promised: Mapping[str, Letter]
    """Those a client was told of, by queue id."""

    def at_stake(self, moment: Moment) -> int:
        """Return how many mails were acknowledged by then and are still owed to somebody."""
        return sum(
            self.history.acknowledged[name] <= moment.line
            and any(
                self.history.told.get((name, one), inf) > moment.line for one in letter.recipients
            )
            for name, letter in self.promised.items()
        )

    def judge(self, seen: Observation, moment: Moment) -> list[str]:
        """Return what is wrong with what is seen after a power cut in that moment."""
        complaints = list(seen.complaints)
        owed = dict(self.promised)
        for name, mail in seen.mails.items():
            letter = self.letters.get(mail.mark)
            if letter is None or (mail.reverse_path, mail.digest) != (
                letter.reverse_path,
                letter.digest,
            ):
                complaints.append(f"{name}: would be sent, and is nothing anybody sent")
                continue
            owed[name] = letter
            if strangers := mail.states.keys() - set(letter.recipients):
                complaints.append(f"{name}: would be sent to {strangers}")
        for name, letter in owed.items():
            found = seen.mails.get(name)
            if found is None and self.history.acknowledged[name] > moment.line:
                continue
            states = {} if found is None else found.states
            for one in letter.recipients:
                complaints += self._judge((name, one), states.get(one), moment)
        return complaints

    def _judge(self, pair: Pair, state: State | None, moment: Moment) -> list[str]:
        """Judge one recipient; without a state it is not in the spool."""
        history, taken = self.history, self.history.taken.get(pair, [])
        if state is None:
            if any(call.at <= moment.at for call in taken):
                return []
            return [f"{pair}: LOST, and SES has not taken it"]
        complaints = []
        if history.told.get(pair, inf) <= moment.line:
            complaints.append(f"{pair}: TWICE, it was told as relayed")
        begun = [line for line in history.begun.get(pair, ()) if line <= moment.line]
        # What may have gone out is in doubt, and not just sent again as if it had not.
        is_taken = bool(begun) and any(call.begun == begun[-1] for call in taken)
        if is_taken and state is not State.AMBIGUOUS:
            complaints.append(f"{pair}: TWICE, it is {state} though its last call had begun")
        return complaints
