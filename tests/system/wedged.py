"""`python -m tests.system.wedged`: the relay on a disk that waits for as long as a file is there.

RELAY_TEST_WEDGE names the file. What takes a minute takes three seconds here, and what takes five
seconds a quarter of one. The words behind it are the relay's own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from relay import pulse
from relay.cli import main
from relay.store import writer
from relay.store.health import Health

SCALE = 20

if __name__ == "__main__":
    wedge = Path(os.environ["RELAY_TEST_WEDGE"])
    make_durable = Health.make_durable

    def wait_for_the_disk(self: Health, *arguments: Any) -> None:
        while wedge.exists():
            time.sleep(0.01)
        make_durable(self, *arguments)

    vars(pulse).update(STUCK=pulse.STUCK / SCALE)
    vars(writer).update(SLOW=writer.SLOW / SCALE, _LOOK=writer._LOOK / SCALE)
    setattr(Health, "make_durable", wait_for_the_disk)  # noqa: B010 - as mypy wants it
    main()
