"""What a server's log says of the messages it is done with: how many, and how long they waited.

Read as it grows, which costs the server nothing; asking it would.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

# relay.observe.maillog; qmgr and smtp of Postfix (delay= is in hundredths of a second).
RELAYED: Final = re.compile(rb'"queue_seconds":([0-9.]+).*"event":"mail\.relayed"')
SENT: Final = re.compile(rb" delay=([0-9.]+), .*status=sent")


class Log:
    """The lines of a log that tell of a recipient relayed."""

    def __init__(self, path: Path, told: re.Pattern[bytes]) -> None:
        self._path = path
        self._told = told
        self._read = 0
        self.waits: list[float] = []
        """Seconds from arrival to SES's answer, of each recipient so far."""

    def read_on(self) -> int:
        """Read what was written since; return how many recipients were relayed so far."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as file:
            file.seek(self._read)
            octets = file.read()
        # The last line may be half written.
        whole = octets[: octets.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            if found := self._told.search(line):
                self.waits.append(float(found[1]))
        return len(self.waits)
