"""`python -m tests.system.activated`: the relay with sockets handed to it as systemd does.

RELAY_TEST_FDS names the descriptors; they become those from 3 on. The words behind it are the
relay's own. systemd gives the id of the very process, which only that process knows here.
"""

from __future__ import annotations

import fcntl
import os

from relay.cli import main

# Out of the way of what they become.
_ASIDE = 200

if __name__ == "__main__":
    given = [int(number) for number in os.environ.pop("RELAY_TEST_FDS").split(",")]
    aside = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _ASIDE) for number in given]
    for target, number in enumerate(aside, start=3):
        os.dup2(number, target)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
    main()
