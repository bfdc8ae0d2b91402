"""The power goes at moment after moment of a recording; what is wrong with what is left is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.power.check import Observation, observe
from tests.power.disk import Disk, Moment
from tests.power.images import SUBSETS, Image, images
from tests.power.record import SPOOL, Recording

Chosen = Callable[[int, Moment], bool]
"""Whether the moment of that number is looked at."""

_ENOUGH: Final = 20
# In this order a fault is found soonest: something has just been promised, or is about to be.
_KINDS: Final = ("a 250 is being written", "a call to SES begins", "a sync begins", "a sync ends")


@dataclass
class Report:
    """What a number of power cuts have shown."""

    moments: Counter[str] = field(default_factory=Counter)
    """Moments looked at, by what was going on."""
    images: int = 0
    openings: int = 0
    """Images that differ: those were opened."""
    mails: int = 0
    """Mails that were in one image and acknowledged, over all images."""
    complaints: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Count what another part of the same work has shown."""
        self.moments += other.moments
        self.images += other.images
        self.openings += other.openings
        self.mails += other.mails
        self.complaints += other.complaints


def moments(recording: Recording) -> Iterator[tuple[int, Moment, Disk]]:
    """Yield every moment worth a power cut, and the disk as it is then."""
    disk = Disk(str(recording.directory))
    played = disk.play(recording.calls, recording.promises.history.why)
    for number, moment in enumerate(played):
        yield number, moment, disk


def cut(
    recording: Recording,
    chosen: Chosen,
    *,
    seed: int,
    subsets: int = SUBSETS,
    enough: int = _ENOUGH,
) -> Report:
    """Cut the power in the chosen moments; open what is left of the spool, and judge it.

    Ends when there are `enough` complaints.
    """
    report = Report()
    seen: dict[bytes, Observation] = {}
    for number, moment, disk in moments(recording):
        if not chosen(number, moment):
            continue
        report.moments[moment.kind] += 1
        for image in images(disk, f"{seed}/{number}", subsets):
            report.images += 1
            found = _seen(image, seen)
            report.mails += recording.promises.at_stake(moment)
            for complaint in recording.promises.judge(found, moment):
                report.complaints.append(f"{moment}, {image.why}: {complaint}")
            report.openings = len(seen)
            if len(report.complaints) >= enough:
                return report
    return report


def search(recording: Recording, seed: int) -> Report:
    """Cut the power where mail is at stake, with few images each, until something is wrong."""
    report = Report()

    def at_stake(wanted: str) -> Chosen:
        return lambda _, moment: moment.kind == wanted and bool(recording.promises.at_stake(moment))

    for kind in _KINDS:
        report.add(cut(recording, at_stake(kind), seed=seed, subsets=3, enough=1))
        if report.complaints:
            break
    return report


def _seen(image: Image, seen: dict[bytes, Observation]) -> Observation:
    digest = image.digest
    if digest not in seen:
        seen[digest] = observe(image, SPOOL)
    return seen[digest]
