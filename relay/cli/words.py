"""How the command line shows things: data on standard output, talk on standard error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def fail(words: str, exit_code: int) -> NoReturn:
    """Say what is wrong on standard error and end."""
    say(f"relay: {words}")
    sys.exit(exit_code)


def say(words: str) -> None:
    """Say something to a person: on standard error, so that data stays clean."""
    print(words, file=sys.stderr)  # noqa: T201


def clean(words: str) -> str:
    """Return text without what would speak to a terminal: clients and SES have a say in it."""
    return _CONTROLS.sub("?", words)


def show(words: str) -> None:
    """Print a line of data."""
    print(words)  # noqa: T201


def show_json(items: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line: an interface, unlike the tables."""
    for item in items:
        show(json.dumps({"v": 1, **item}, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    """Print an aligned table for people; scripts use --json. What is no id folds, ids never."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, needed here only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        is_id = column in ("QUEUE ID", "ADDRESS")
        table.add_column(column, no_wrap=is_id, overflow="ignore" if is_id else "fold")
    for row in rows:
        # Text, not markup.
        table.add_row(*(Text(clean(cell)) for cell in row))
    console = Console()
    # A pipe has no width to fit into.
    Console(width=None if console.is_terminal else 500).print(table)
