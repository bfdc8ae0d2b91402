"""`python -m tests.crash.launcher`: the relay, to be killed at a named point, or broken on purpose.

The words behind it are the relay's own. Patience is shorter than the relay's: it is no
configuration, and a proof cannot wait half an hour for what is ambiguous. Nothing else differs,
unless the environment says so.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Final

from relay import daemon
from relay.cli import main
from relay.delivery import calls, scheduler
from relay.policy import breaker, retry, verdict
from relay.store import mover, schema, thread
from tests.crash import points, sabotage
from tests.crash.hooks import put

POINT: Final = "TEST_KILLED_AT"
"""Environment: the point at which to be killed, ..."""
PASSAGE: Final = "TEST_KILLED_AT_PASSAGE"
"""... at which passage of it, ..."""
SABOTAGE: Final = "TEST_SABOTAGE"
"""... the way to be broken, ..."""
MIGRATIONS: Final = "TEST_MIGRATIONS"
"""... and how many migrations this release has more than ours."""

AMBIGUOUS_WAIT: Final = timedelta(milliseconds=300)


_LESS: Final[tuple[tuple[object, str, object], ...]] = (
    (daemon, "AMBIGUOUS_WITHOUT_EVENTS", AMBIGUOUS_WAIT),
    (retry, "AMBIGUOUS_WITHOUT_EVENTS", AMBIGUOUS_WAIT),
    (retry, "AMBIGUOUS_WITH_EVENTS", AMBIGUOUS_WAIT),
    (verdict, "RATE_WAIT", timedelta(milliseconds=20)),
    (breaker, "FIRST_PAUSE", 0.05),
    (breaker, "LONGEST_PAUSE", 0.5),
    (calls, "RECORD_AGAIN", 0.1),
    (scheduler, "SPOOL_AGAIN", 0.1),
    # So that logs are folded away again and again, under load and at rest.
    (schema, "_WAL_PAGES", 400),
    (thread, "IDLE", 0.05),
    (mover, "_PACE", 0.02),
)


def hurry() -> None:
    """Have everything that waits wait less."""
    for module, name, value in _LESS:
        put(module, name, value)


def run() -> None:
    """Be the relay that the environment asks for."""
    asked = os.environ
    hurry()
    more = points.migrations(int(asked.get(MIGRATIONS, "0")))
    put(schema, "SPOOL", (*schema.SPOOL, *more))
    if SABOTAGE in asked:
        sabotage.sabotage(asked[SABOTAGE])
    if POINT in asked:
        points.set_trap(asked[POINT], int(asked[PASSAGE]))
    main()


if __name__ == "__main__":
    run()
