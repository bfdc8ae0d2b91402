"""`python -m tests.system.brisk`: the relay, sweeping ten times a second; else as it is.

The words behind it are the relay's own. How often it sweeps is no configuration, and a test cannot
wait for minutes.
"""

from __future__ import annotations

from relay.cli import main
from relay.delivery import sweeper

if __name__ == "__main__":
    vars(sweeper).update(TICK=0.05, REST=0.1)
    main()
