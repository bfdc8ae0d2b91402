"""The command line: verbs, their words and their exit codes.

`relay serve` is the daemon and must stay small, so it is dispatched here before the libraries that
draw help texts and tables are imported.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Final

CONFIG_PATH: Final = Path("/etc/ses-relay/relay.yaml")
CONFIG_VARIABLE: Final = "RELAY_CONFIG"
ADMIN_VARIABLE: Final = "RELAY_ADMIN"
ADMIN_PATH: Final = Path("/run/ses-relay/admin.sock")


def main() -> None:
    """Run the command line and exit."""
    match sys.argv[1:]:
        case ["serve"]:
            path = Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_PATH)
        case ["serve", "--config" | "-c", name]:
            path = Path(name)
        case ["health"] | ["health", "--live"]:
            # Asked every few seconds by whoever watches a container.
            from relay.cli.health import health  # noqa: PLC0415

            admin = Path(os.environ.get(ADMIN_VARIABLE) or ADMIN_PATH)
            sys.exit(health(admin, live="--live" in sys.argv))
        case ["queue", *words]:
            # By itself: the program around it has options that are read first, at 0.2 s.
            from relay.cli.queue_app import queue  # noqa: PLC0415 - typer and rich, 100 ms

            queue(words, prog_name="relay queue")
            return
        case _:
            from relay.cli.app import app  # noqa: PLC0415 - typer and rich, 100 ms

            app(prog_name="relay")
            return
    # To look for garbage while modules are loaded takes a sixth of the time of starting; `serve`
    # has it looked for again.
    gc.disable()
    # structlog would import it, 5 MiB, for tracebacks in colour that a daemon never draws.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from relay.cli.serve import serve  # noqa: PLC0415

    sys.exit(serve(path))
