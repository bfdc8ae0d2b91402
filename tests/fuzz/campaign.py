"""A run of many sessions: scripts are picked, mutated, played and judged, and the first fault kept.

A script whose replies follow one another in an order never seen before joins those that are picked
from: replies are where the state of a session shows (as in AFLNet), and cost nothing to watch.
Knows no SMTP.
"""

from __future__ import annotations

import ctypes
import gc
import random
import resource
import signal
import time
from asyncio import events
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.fuzz.invariants import Judge
from tests.fuzz.loop import SteppedLoop
from tests.fuzz.mutate import mutate
from tests.fuzz.script import Script, read, write
from tests.fuzz.world import World

HERE: Final = Path(__file__).parent
CORPUS: Final = HERE / "corpus"
"""Scripts somebody wrote or a fault left behind; in the repository."""
GROWN: Final = HERE / "grown"
"""Scripts that were found worth keeping; not in the repository."""
CRASHES: Final = HERE / "crashes"

# CPU seconds one session may take: a thousand times what it does take.
_HANG: Final = 1.0
# CPU seconds that may be spent on making a find smaller.
_PATIENCE: Final = 3.0
# How many found scripts are kept, and of what size: the fuzzer's own memory is measured too.
_MOST_KEPT: Final = 1500
_LARGEST_KEPT: Final = 2000
_GROWTH: Final = 5 * 1024 * 1024
# The share of a run after which memory must not grow.
_WARM_UP: Final = 0.2


class HangError(KeyboardInterrupt):
    """One session took too much CPU time. What asyncio lets through, and no boundary may catch."""


@dataclass(slots=True)
class Report:
    """What came of a campaign."""

    sessions: int = 0
    seconds: float = 0.0
    """Of CPU time, as everywhere here: how busy the machine is otherwise makes no difference."""
    mails: int = 0
    replies: int = 0
    """Different reply lines heard."""
    grown: int = 0
    """Scripts that joined those picked from."""
    growth: int = 0
    """Octets by which resident memory grew after the warm-up."""
    fault: Script | None = None
    complaints: list[str] = field(default_factory=list)


def corpus(*directories: Path) -> list[Script]:
    """Return the scripts of these directories."""
    files = [file for one in directories if one.is_dir() for file in sorted(one.iterdir())]
    return [read(file.read_text()) for file in files if file.suffix == ".session"]


def resident() -> int:
    """Return the resident memory of this process, in octets, less what it merely has not returned.

    Pieces of all sizes leave holes in malloc's heap, whoever makes them; these are no growth.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Stage:
    """All worlds over one loop, and the judge. To be closed."""

    def __init__(self) -> None:
        self.judge = Judge()
        self.mails = 0
        self._worlds: dict[str, World] = {}
        self._open()

    def _open(self) -> None:
        self._loop = SteppedLoop()
        events._set_running_loop(self._loop)

    def faults_of(self, script: Script) -> list[str]:
        """Play a script and return what is wrong; anything raised is wrong too."""
        world = self._worlds.get(script.world)
        if world is None:
            world = self._worlds[script.world] = World(script.world, self._loop)
        try:
            with _watched():
                played = world.play(script)
        except HangError:
            wrong = [f"a hang: {_HANG} seconds of CPU time in one session"]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
            wrong = [f"raised {error!r}"]
        else:
            self.mails += len(played.spool.committed)
            wrong = self.judge.complaints(played)
        if wrong:
            # What a fault left behind must not be blamed on the next script.
            self.close()
            self._open()
        return wrong

    def close(self) -> None:
        """End the worlds and the loop."""
        for world in self._worlds.values():
            world.close()
        self._worlds.clear()
        self._loop.abandon()
        events._set_running_loop(None)


@contextmanager
def stage() -> Iterator[Stage]:
    """Yield a stage on which scripts can be played; no other loop may run meanwhile."""
    before = signal.signal(signal.SIGVTALRM, _hangs)
    one = Stage()
    try:
        yield one
    finally:
        one.close()
        signal.signal(signal.SIGVTALRM, before)


def _hangs(*_: Any) -> None:
    raise HangError


@contextmanager
def _watched() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_VIRTUAL, _HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)


def run(
    seeds: Sequence[Script],
    seed: int,
    is_over: Callable[[int, float], float],
    keep: Path | None = None,
    patience: float = _PATIENCE,
) -> Report:
    """Play until `is_over`, given sessions and CPU seconds, says 1.0, or until the first fault.

    `patience` is how many CPU seconds may be spent on making that smaller.
    """
    rng, report, began = random.Random(seed), Report(), time.process_time()  # noqa: S311
    pool, seen = list(seeds), set[tuple[int, ...]]()
    warm: int | None = None
    with stage() as on:
        for script in _endless(pool, rng):
            report.complaints = on.faults_of(script)
            report.sessions += 1
            if report.complaints:
                report.fault = shrink(script, on, patience) if patience else script
                report.complaints = on.faults_of(report.fault) or report.complaints
                break
            kinds = on.judge.last
            new = {*zip(kinds, kinds[1:], kinds[2:], strict=False)} - seen
            if new and script.size <= _LARGEST_KEPT and len(pool) < _MOST_KEPT + len(seeds):
                seen |= new
                pool.append(script)
                report.grown += 1
                if keep is not None:
                    save(script, keep)
            if report.sessions % 256 == 0:
                done = is_over(report.sessions, time.process_time() - began)
                if done >= _WARM_UP and warm is None:
                    warm = resident()
                if done >= 1.0:
                    break
        if warm is not None:
            report.growth = resident() - warm
        if report.growth > _GROWTH and report.fault is None:
            report.complaints = [f"memory grew by {report.growth} octets after the warm-up"]
        report.mails, report.replies = on.mails, len(on.judge.kinds)
    report.seconds = time.process_time() - began
    return report


def campaign(
    seed: int,
    sessions: int,
    seconds: float,
    keep: Path | None = None,
    patience: float = _PATIENCE,
) -> Report:
    """Play so many sessions, or for so many CPU seconds; 0 is no bound. Finds go to `keep`."""

    def share(done: int, took: float) -> float:
        return max(done / sessions if sessions else 0.0, took / seconds if seconds else 0.0)

    seeds = corpus(CORPUS) if keep is None else corpus(CORPUS, keep)
    return run(seeds, seed, share, keep, patience)


def _endless(pool: list[Script], rng: random.Random) -> Iterator[Script]:
    """Yield the pool as it is, then relatives of its scripts for ever."""
    yield from list(pool)
    while True:
        yield mutate(rng.choice(pool), rng.choice(pool), rng)


def shrink(script: Script, on: Stage, patience: float) -> Script:
    """Return the smallest script found in so many CPU seconds that is wrong in the same way."""
    wanted = _gist(on.faults_of(script))
    if not wanted:
        return script
    until = time.process_time() + patience
    shrunk = True
    while shrunk:
        shrunk = False
        for smaller in _smaller(script):
            if time.process_time() > until:
                return script
            if wanted & _gist(on.faults_of(smaller)):
                script, shrunk = smaller, True
                break
    return script


def _gist(complaints: Iterable[str]) -> set[str]:
    """Return complaints without what differs from script to script."""
    return {complaint.partition(":")[0].strip("0123456789") for complaint in complaints}


def _smaller(script: Script) -> Iterator[Script]:
    moves = script.moves
    for at, move in enumerate(moves):
        yield replace(script, moves=moves[:at] + moves[at + 1 :])
        length = len(move.octets)
        for part in (2, 8, length):
            step = length // max(part, 1)
            for start in range(0, length if 1 <= part <= 200 else 0, max(step, 1)):
                less = move.octets[:start] + move.octets[start + max(step, 1) :]
                if less:
                    yield replace(
                        script, moves=(*moves[:at], move._replace(octets=less), *moves[at + 1 :])
                    )


def save(script: Script, directory: Path) -> Path:
    """Write a script under a name made of what it is; return the file."""
    directory.mkdir(exist_ok=True)
    text = write(script)
    file = directory / f"{sha256(text.encode()).hexdigest()[:12]}.session"
    file.write_text(text)
    return file
