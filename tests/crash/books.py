"""The books: what clients were told, what SES took, what was on disk in between, and what is owed.

Pure bookkeeping; every complaint is a sentence. The rules are R1, R2 and R12: what was acknowledged
is taken by SES byte for byte, for every recipient. What is taken twice has an excuse, each excuse is
good for one repetition, and an orderly stop excuses nothing:

    W1  the client had written all of its mail, and had not read the 250, when the relay was killed
    W2  SES had the request, and its outcome was not on disk, when the relay was killed
        or SES, by the weather, gave no answer
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from relay.delivery.gate import LANES
from tests.crash.clients import Attempt, Stage
from tests.crash.disk import Line, Pair
from tests.crash.mails import Letter

_ALPHABET: Final = {sign: n for n, sign in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}
_RANDOM_BITS: Final = 52
# Client and relay read the same clock; both round.
_SLACK: Final = 0.005  # seconds
# What the relay never has to say here: nothing was damaged, refused for good, or a fault of ours.
_NEVER: Final = frozenset({"fault", "spool.corrupt", "spool.failed", "mail.failed"})
_W2: Final = "it was in W2"
_NO_ANSWER: Final = "SES gave no answer"


@dataclass(eq=False)
class Run:
    """One life of the relay, from its start to its end."""

    number: int
    ending: str
    """How it is to end: the name of a point, at random, or by a stop."""
    is_orderly: bool = False
    open_calls: int = 0
    """Calls that SES was answering in the moment of the kill, and ..."""
    open_mails: int = 0
    """... clients that were waiting for their 250; known only of kills at random."""
    in_w2: int = 0
    """Calls that SES had taken and whose outcome was not on disk."""
    waiting: int = 0
    """Clients that had written all of their mail and not read the reply."""
    repeated: int = 0
    """Calls in W2 that were made once more."""
    copies: int = 0
    """Mails of clients in W1 that were kept, and sent beside what the client sent again."""
    takings: list[Taking] = field(default_factory=list, repr=False)
    attempts: list[Attempt] = field(default_factory=list, repr=False)


@dataclass(eq=False)
class Taking:
    """One call whose mail SES took."""

    queue_id: str
    recipients: tuple[str, ...]
    message_id: str
    run: Run
    excuse: str = ""
    """Why what it took may be taken once more, if there is a reason."""
    is_repeated: bool = False
    """Whether that happened."""

    @property
    def pairs(self) -> list[Pair]:
        """What it took."""
        return [(self.queue_id, one) for one in self.recipients]


class Books:
    """Everything that happened, and what is wrong with it."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.runs: list[Run] = []
        self.acknowledged = 0
        """Mails whose 250 was read."""
        self.recipients = 0
        """Their recipients."""
        self.repeated_by_weather = 0
        """Calls made once more because SES gave no answer."""
        self.letters: dict[int, Letter] = {}
        """Every mail that a client has begun to send, by its mark."""
        self._attempts: dict[int, list[tuple[Attempt, Run]]] = defaultdict(list)
        self._marks: dict[str, int] = {}
        """The mark of each queue id that SES has seen."""
        self._takings: dict[Pair, list[Taking]] = defaultdict(list)
        self._owed: set[Pair] = set()
        """Acknowledged and not yet taken."""
        self._told: set[Pair] = set()
        """What the relay says it has relayed."""
        self.left: set[Pair] = set()
        """What the spool has to send, as far as the log tells; right while the relay lives."""

    # --- while it runs ---

    def begin(self, ending: str, *, is_orderly: bool = False) -> Run:
        """Open the books of a run."""
        run = Run(len(self.runs), ending, is_orderly)
        self.runs.append(run)
        return run

    @property
    def promised(self) -> dict[str, Letter]:
        """Return the mail behind each queue id that a client was told."""
        attempts = (attempt for tried in self._attempts.values() for attempt, _ in tried)
        return {one.queue_id: one.letter for one in attempts if one.stage is Stage.ACKNOWLEDGED}

    def attempted(self, attempt: Attempt) -> None:
        """Take note that a client has begun or ended an attempt."""
        letter = attempt.letter
        if attempt.ended is None:
            self.letters[letter.mark] = letter
            self._attempts[letter.mark].append((attempt, self.runs[-1]))
            self.runs[-1].attempts.append(attempt)
        elif attempt.stage is Stage.ACKNOWLEDGED:
            self.acknowledged += 1
            self.recipients += len(letter.recipients)
            pairs = {(attempt.queue_id, one) for one in letter.recipients}
            self._owed |= {pair for pair in pairs if pair not in self._takings}

    def took(
        self,
        queue_id: str,
        recipients: tuple[str, ...],
        message_id: str,
        *,
        letter: Letter | None,
        loses_answer: bool = False,
    ) -> None:
        """Take note that SES took a mail; without a letter it is none that anybody sent."""
        taking = Taking(queue_id, recipients, message_id, self.runs[-1])
        if loses_answer:
            taking.excuse = _NO_ANSWER
        taking.run.takings.append(taking)
        if letter is None:
            self.complaints.append(f"{queue_id}: SES took as {message_id} what nobody sent")
            return
        if self._marks.setdefault(queue_id, letter.mark) != letter.mark:
            self.complaints.append(f"{queue_id}: it was another mail before")
        for stranger in set(recipients) - set(letter.recipients):
            self.complaints.append(f"{queue_id}: {stranger} is nobody it was sent to")
        for pair in taking.pairs:
            takings = self._takings[pair]
            if takings:
                self._repeated(pair, takings[-1])
            takings.append(taking)
            self._owed.discard(pair)

    def _repeated(self, pair: Pair, earlier: Taking) -> None:
        if not earlier.excuse:
            self.complaints.append(
                f"{pair}: TWICE, although what SES said as {earlier.message_id} was recorded, "
                f"in run {earlier.run.number} ({earlier.run.ending})"
            )
        elif not earlier.is_repeated:
            if earlier.excuse is _W2:
                earlier.run.repeated += 1
            else:
                self.repeated_by_weather += 1
        earlier.is_repeated = True

    def heard(self, line: Mapping[str, Any]) -> None:
        """Take note of a line of the log."""
        event = line["event"]
        if event == "mail.queued":
            self.left |= {(line["queue_id"], one) for one in line["recipients"]} - self._told
        elif event == "mail.relayed":
            pair = (line["queue_id"], line["recipient"])
            self._told.add(pair)
            self.left.discard(pair)
        elif event in _NEVER or (event == "spool.opened" and line["corrupt"]):
            self.complaints.append(f"in run {self.runs[-1].number} it said {dict(line)}")

    # --- when it has ended ---

    def killed(self, open_calls: int) -> None:
        """Take note of what is under way in the moment of a kill."""
        run = self.runs[-1]
        run.open_calls = open_calls
        run.open_mails = sum(
            one.stage is Stage.WAITING and one.ended is None for one in run.attempts
        )

    def end(self, kept: Collection[Pair]) -> None:
        """Close the books of a run: everybody has gone, and `kept` is what the spool has to send."""
        run = self.runs[-1]
        self.left = set(kept)
        run.waiting = sum(attempt.stage is Stage.WAITING for attempt in run.attempts)
        lost = self._owed - set(kept)
        self._owed -= lost
        for queue_id, count in Counter(queue_id for queue_id, _ in lost).items():
            self.complaints.append(
                f"{queue_id}: LOST for {count} recipients: acknowledged, not taken by SES, and no "
                f"more in the spool after run {run.number} ({run.ending})"
            )
        for pair in sorted(self._told & set(kept)):
            self.complaints.append(f"{pair}: told as relayed, not recorded, in run {run.number}")
        for taking in run.takings:
            self._look_for(taking, {pair for pair in taking.pairs if pair in kept})

    def _look_for(self, taking: Taking, left: set[Pair]) -> None:
        """Find out whether a call was in W2 when its relay ended."""
        run = taking.run
        # What was taken again since is what the later call is to answer for.
        left = {pair for pair in left if self._takings[pair][-1] is taking}
        if not left or taking.excuse:
            return
        if len(left) != len(taking.pairs):
            self.complaints.append(f"{taking.queue_id}: an outcome recorded for some: {left}")
        if run.is_orderly:
            self.complaints.append(f"{taking.queue_id}: a stop left SES's answer unrecorded")
            return
        taking.excuse = _W2
        run.in_w2 += 1

    @property
    def owed(self) -> int:
        """For how many recipients mail was acknowledged and not taken."""
        return len(self._owed)

    def close(self, kept: Collection[Pair], ledger: Iterable[Line]) -> None:
        """Close the books for good, the relay having come to rest."""
        for pair in sorted(kept):
            self.complaints.append(f"{pair}: still in the spool at the end")
        for pair in sorted(self._owed):
            self.complaints.append(f"{pair}: LOST, never taken by SES")
        names = defaultdict(list)
        for name, mark in self._marks.items():
            names[mark].append(name)
        for mark, found in names.items():
            self._explain(found, self._attempts[mark])
        for run in self.runs:
            if run.repeated + run.copies > run.in_w2 + run.waiting:
                self.complaints.append(f"more was sent twice than was under way: {run}")
            # No lane goes on before the outcome of its call is recorded.
            if run.in_w2 > LANES:
                self.complaints.append(f"more calls were unrecorded than there are lanes: {run}")
        self._compare(ledger)

    def _explain(self, names: list[str], attempts: list[tuple[Attempt, Run]]) -> None:
        """Find the attempt that each queue id of a mail comes from; each is good for one."""
        told = {attempt.queue_id for attempt, _ in attempts if attempt.queue_id}
        waited = [one for one in attempts if one[0].stage is Stage.WAITING]
        for name in names:
            if name in told:
                continue
            at = moment_of(name)
            found = next((one for one in waited if _spans(one[0], at)), None)
            if found is None:
                during = [a.stage.name for a, _ in attempts if _spans(a, at)]
                self.complaints.append(f"{name}: sent, and its client's attempt was {during}")
                continue
            waited.remove(found)
            _, run = found
            run.copies += 1
            if run.is_orderly:
                self.complaints.append(f"{name}: kept by an orderly stop that did not say so")

    def _compare(self, ledger: Iterable[Line]) -> None:
        """Compare what the relay remembers with what SES did."""
        facts: dict[Pair, list[Line]] = defaultdict(list)
        for line in ledger:
            facts[line.queue_id, line.recipient].append(line)
        for pair, takings in self._takings.items():
            said = facts.pop(pair, [])
            relayed = [line.ses_message_id for line in said if line.fact == "relayed"]
            doubts = sum(line.fact == "ambiguous" for line in said)
            if relayed != [takings[-1].message_id]:
                self.complaints.append(
                    f"{pair}: the ledger has it as relayed by {relayed}, "
                    f"and SES took it as {[one.message_id for one in takings]}"
                )
            if doubts < len(takings) - 1:
                self.complaints.append(
                    f"{pair}: sent {len(takings)} times; that this may happen was said {doubts}x"
                )
        for pair, lines in facts.items():
            if any(line.fact == "relayed" for line in lines):
                self.complaints.append(f"{pair}: the ledger has it as relayed; SES never took it")


def moment_of(queue_id: str) -> float:
    """Return when a queue id was drawn: its upper half is a time, in milliseconds."""
    number = 0
    for sign in queue_id:
        number = number << 5 | _ALPHABET[sign]
    return (number >> _RANDOM_BITS) / 1000


def _spans(attempt: Attempt, at: float) -> bool:
    ended = attempt.ended
    return attempt.began - _SLACK <= at and (ended is None or at <= ended + _SLACK)
