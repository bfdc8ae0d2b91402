"""`python -m tests.crash`: a relay that is killed again and again, and what it lost.

    python -m tests.crash --kills 480            three of four at named points, the others at random
    python -m tests.crash --kills 480 --seed 7   the same once more, as far as time allows
    python -m tests.crash --sabotage             relays broken on purpose: each must be found out

Exit code 1 when anything was wrong, or a sabotage was not found; what the relay left on the disk is
kept then. `make crash N=480` runs both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.crash import report
from tests.crash.books import Books
from tests.crash.campaign import Campaign, Settings, plan
from tests.crash.sabotage import SABOTAGES
from tests.forked import Nursery
from tests.system.house import environment

_SHOWN: Final = 20
_TOLD_EVERY: Final = 50
# Mails acknowledged in each run that is not ended by a point, however slow the machine is.
_WARM: Final = 100


def _campaign(nursery: Nursery, kills: int, seed: int) -> bool:
    directory = Path(tempfile.mkdtemp(prefix="relay-crash-"))
    began = time.monotonic()
    endings = plan(kills, seed)

    def tell(books: Books) -> None:
        if len(books.runs) % _TOLD_EVERY == 0:
            so_far = f"{len(books.runs)} of {len(endings)} runs, {books.acknowledged:,} messages"
            print(so_far, file=sys.stderr)

    campaign = Campaign(directory, Settings(endings, seed, warm=_WARM), nursery, on_end=tell)
    asyncio.run(campaign.run())
    books = campaign.books
    print(report.by_ending(books), end="\n\n")
    print(report.histogram(books), end="\n\n")
    print(report.summary(books), end="\n\n")
    print(f"seed {seed}, {time.monotonic() - began:.0f} s")
    return _told(books.complaints, directory)


def _told(complaints: list[str], directory: Path) -> bool:
    """Say what is wrong, if anything is; return whether nothing is."""
    for complaint in complaints[:_SHOWN]:
        print(f"WRONG: {complaint}")
    if complaints:
        print(f"{len(complaints)} complaints; the spool is in {directory}")
    else:
        shutil.rmtree(directory)
    return not complaints


def _sabotages(nursery: Nursery, seed: int) -> bool:
    """Run each way to be broken that a kill can show; return whether all were found."""
    missed = 0
    for name, sabotage in SABOTAGES.items():
        if not sabotage.endings:
            continue
        directory = Path(tempfile.mkdtemp(prefix="relay-crash-"))
        campaign = Campaign(directory, Settings(sabotage.endings, seed, name), nursery)
        asyncio.run(campaign.run())
        shutil.rmtree(directory)
        complaints = campaign.books.complaints
        found = sabotage.found_in(complaints)
        missed += not found
        runs = len(campaign.books.runs)
        said = f"found in run {runs}: {found[:160]}" if found else f"NOT FOUND in {complaints[:3]}"
        print(f"{name}: {said}", flush=True)
    return not missed


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--sabotage", action="store_true", help="relays broken on purpose")
    arguments = parser.parse_args()
    seed = int.from_bytes(os.urandom(3), "big") if arguments.seed is None else arguments.seed
    nursery = Nursery(environment=environment())
    try:
        good = not arguments.kills or _campaign(nursery, arguments.kills, seed)
        if arguments.sabotage:
            good = _sabotages(nursery, seed) and good
    finally:
        nursery.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
