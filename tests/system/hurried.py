"""`python -m tests.system.hurried`: the relay with deadlines a fortieth as long, or less; else as it is.

The words behind it are the relay's own. Deadlines are no configuration, and a test cannot wait.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Final

from relay import daemon
from relay.cli import main
from relay.smtp.settings import Deadlines
from relay.smtp.surroundings import Surroundings

SCALE: Final = 40
# Rates are not times: to be as strict they would have to grow, and then measure the machine.
_AS_THEY_ARE: Final = ("data_rate", "auth_floor", "commit")


def hurried() -> Deadlines:
    """Return the deadlines, scaled."""
    as_shipped = Deadlines()
    scaled = {
        one.name: getattr(as_shipped, one.name) / SCALE
        for one in fields(Deadlines)
        if one.name not in _AS_THEY_ARE
    }
    # For who is slow where nobody else waits: half an hour is much even of these minutes.
    return Deadlines(**{**scaled, "data": as_shipped.data / SCALE / 10})


if __name__ == "__main__":
    vars(daemon)["Surroundings"] = partial(Surroundings, deadlines=hurried())
    main()
