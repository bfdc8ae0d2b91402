"""Reading the small files a configuration is made of. Does not know what is in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SECRET_FILE_LIMIT: Final = 64 * 1024


def read_file(path: Path, limit: int) -> bytes:
    """Return a file's octets; raise ValueError with a sentence about the file otherwise.

    The sentence does not name the path: what was written there may not have been one.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(limit + 1)
    except IsADirectoryError:
        raise ValueError("is a directory, not a file") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {os.strerror(error.errno or 0)}") from None
    except ValueError:
        raise ValueError("is not a path") from None
    if len(octets) > limit:
        raise ValueError(f"is too large: {limit} octets are the most")
    return octets


def read_secret(path: Path) -> str:
    """Return the first line of a secret file; raise ValueError with a sentence otherwise."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):
        kind = stat.S_IFREG  # reading it will say what is wrong
    # Opening a pipe would wait for its writer, and with it the whole reload.
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise ValueError("is not a regular file")
    lines = read_file(path, SECRET_FILE_LIMIT).splitlines()
    try:
        return lines[0].decode("ascii").strip() if lines else ""
    except UnicodeDecodeError:
        return ""


def locate(path: Path, *, directory: Path, environ: Mapping[str, str]) -> Path:
    """Return where a file named in the configuration is.

    A relative path is looked for in `$CREDENTIALS_DIRECTORY`, where systemd puts the credentials of
    the service (systemd.exec(5), LoadCredential=), and otherwise beside the configuration file.
    """
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and not path.is_absolute():
        candidate = Path(credentials) / path
        # os.path.exists, unlike Path.exists, is False rather than raises where a name is too long.
        if os.path.exists(candidate):  # noqa: PTH110
            return candidate
    return directory / path
