"""The books find what is wrong: each rule of R1 and R12, broken once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from relay.mail.envelope import new_queue_id
from tests.crash.books import Books, moment_of
from tests.crash.clients import Attempt, Stage
from tests.crash.disk import Line
from tests.crash.mails import Letter

JANE, JOHN = "jane@example.net", "john@example.net"
LETTER = Letter(1, "app@example.com", (JANE, JOHN), b"digest")
RAN_UNTIL_KILLED = "at random"


class Story:
    """Books, and what happens in them."""

    def __init__(self) -> None:
        self.books = Books()
        self.books.begin(RAN_UNTIL_KILLED)

    def attempt(self, stage: Stage) -> str:
        """A client tries to hand over the mail; return the queue id it would have."""
        at = time.time()
        attempt = Attempt(LETTER, at - 1)
        self.books.attempted(attempt)
        queue_id = new_queue_id(datetime.fromtimestamp(at - 0.5, UTC))
        attempt.stage, attempt.ended = stage, at
        if stage is Stage.ACKNOWLEDGED:
            attempt.queue_id = queue_id
        self.books.attempted(attempt)
        return queue_id

    def take(
        self, queue_id: str, *recipients: str, name: str = "m1", loses_answer: bool = False
    ) -> None:
        self.books.took(queue_id, recipients, name, letter=LETTER, loses_answer=loses_answer)

    def end(self, *kept: tuple[str, str], orderly: bool = False) -> None:
        self.books.runs[-1].is_orderly = orderly
        self.books.end(kept)
        self.books.begin("at rest")

    def close(self, *ledger: Line) -> None:
        self.books.end(())
        self.books.close((), ledger)


def relayed(queue_id: str, *names: str) -> list[Line]:
    """What the ledger should say of a mail taken as each of these names in turn."""
    return [
        Line(queue_id, one, "relayed" if name == names[-1] else "ambiguous", name)
        for one in (JANE, JOHN)
        for name in names
    ]


@pytest.fixture(name="story")
def _story() -> Story:
    return Story()


def test_a_queue_id_tells_its_time() -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123000, UTC)
    assert moment_of(new_queue_id(at)) == at.timestamp()


def test_mail_that_is_acknowledged_and_taken_once_is_no_complaint(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.end()
    story.close(*relayed(name, "m1"))
    assert story.books.complaints == []


def test_a_call_in_w2_may_be_made_once_more(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.end((name, JANE), (name, JOHN))
    story.take(name, JANE, JOHN, name="m2")
    story.close(*relayed(name, "m1", "m2"))
    assert story.books.complaints == []
    run = story.books.runs[0]
    assert (run.in_w2, run.repeated) == (1, 1)


def test_a_client_in_w1_may_find_its_mail_kept_twice(story: Story) -> None:
    first = story.attempt(Stage.WAITING)
    story.end((first, JANE), (first, JOHN))
    second = story.attempt(Stage.ACKNOWLEDGED)
    for number, name in enumerate((first, second)):
        story.take(name, JANE, JOHN, name=f"m{number}")
    story.close(*relayed(first, "m0"), *relayed(second, "m1"))
    assert story.books.complaints == []
    run = story.books.runs[0]
    assert (run.waiting, run.copies) == (1, 1)


def test_a_call_without_an_answer_may_be_made_once_more(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN, loses_answer=True)
    story.take(name, JANE, JOHN, name="m2")
    story.close(*relayed(name, "m1", "m2"))
    assert story.books.complaints == []
    assert story.books.repeated_by_weather == 1


def lost_at_a_kill(story: Story) -> None:
    story.attempt(Stage.ACKNOWLEDGED)
    story.end()


def never_taken(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE)
    story.end((name, JOHN))
    story.books.close((), relayed(name, "m1")[:1])


def twice_although_recorded(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.end()
    story.take(name, JANE, JOHN, name="m2")


def three_times_for_one_excuse(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.end((name, JANE), (name, JOHN))
    story.take(name, JANE, JOHN, name="m2")
    story.take(name, JANE, JOHN, name="m3")


def unrecorded_at_a_stop(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.end((name, JANE), (name, JOHN), orderly=True)


def recorded_for_some(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.end((name, JANE))


def kept_by_a_stop(story: Story) -> None:
    first = story.attempt(Stage.WAITING)
    story.end((first, JANE), (first, JOHN), orderly=True)
    second = story.attempt(Stage.ACKNOWLEDGED)
    for number, name in enumerate((first, second)):
        story.take(name, JANE, JOHN, name=f"m{number}")
    story.close(*relayed(first, "m0"), *relayed(second, "m1"))


def sent_although_refused(story: Story) -> None:
    first = story.attempt(Stage.REFUSED)
    second = story.attempt(Stage.ACKNOWLEDGED)
    for number, name in enumerate((first, second)):
        story.take(name, JANE, JOHN, name=f"m{number}")
    story.close(*relayed(first, "m0"), *relayed(second, "m1"))


def told_and_not_recorded(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.books.heard({"event": "mail.relayed", "queue_id": name, "recipient": JANE})
    story.end((name, JANE), (name, JOHN))


def not_as_sent(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.books.took(name, (JANE, JOHN), "m1", letter=None)


def to_a_stranger(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN, "eve@example.net")


def not_in_the_ledger(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.close(*relayed(name, "m1")[:1])


def only_in_the_ledger(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.close(*relayed(name, "m1"), *relayed("0" * 20, "m2"))


def repeated_without_a_word(story: Story) -> None:
    name = story.attempt(Stage.ACKNOWLEDGED)
    story.take(name, JANE, JOHN)
    story.end((name, JANE), (name, JOHN))
    story.take(name, JANE, JOHN, name="m2")
    story.close(*relayed(name, "m2"))


def a_fault_of_ours(story: Story) -> None:
    story.books.heard({"event": "fault", "where": "scheduler"})


def damage_at_the_start(story: Story) -> None:
    story.books.heard({"event": "spool.opened", "corrupt": 1})


@pytest.mark.P1
@pytest.mark.P3
@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (lost_at_a_kill, "LOST for 2 recipients"),
        (never_taken, "LOST, never taken"),
        (twice_although_recorded, "TWICE"),
        (three_times_for_one_excuse, "TWICE"),
        (unrecorded_at_a_stop, "a stop left"),
        (recorded_for_some, "recorded for some"),
        (kept_by_a_stop, "kept by an orderly stop"),
        (sent_although_refused, "its client's attempt was"),
        (told_and_not_recorded, "told as relayed"),
        (not_as_sent, "nobody sent"),
        (to_a_stranger, "eve@example.net is nobody"),
        (not_in_the_ledger, "the ledger has it as relayed by []"),
        (only_in_the_ledger, "SES never took it"),
        (repeated_without_a_word, "sent 2 times"),
        (a_fault_of_ours, "it said"),
        (damage_at_the_start, "it said"),
    ],
)
def test_what_is_wrong_is_found(story: Story, happens: Callable[[Story], None], words: str) -> None:
    happens(story)
    assert any(words in complaint for complaint in story.books.complaints), story.books.complaints
