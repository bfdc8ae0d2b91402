"""Options that several verbs have, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relay.cli import ADMIN_VARIABLE, CONFIG_VARIABLE

ConfigOption = Annotated[
    Path,
    # Whether it can be read is found, and said, where it is read.
    typer.Option(
        "--config", "-c", envvar=CONFIG_VARIABLE, readable=False, help="Configuration file."
    ),
]
AdminOption = Annotated[
    Path,
    typer.Option(
        "--admin", envvar=ADMIN_VARIABLE, readable=False, help="Admin socket of the running daemon."
    ),
]
SpoolOption = Annotated[
    Path | None,
    typer.Option(
        "--spool",
        readable=False,
        help="Work on this spool of a stopped daemon. Without it: ask the daemon, or, where none "
        "answers, work on the spool of its configuration.",
    ),
]
ForOption = Annotated[str, typer.Option("--for", help="For how long, such as 15m; a day at most.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object a line, for scripts; the table may change.")
]
