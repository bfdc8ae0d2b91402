"""A virtual environment whose pip installs locked packages without a network.

What the lock names is installed already, where the tests run; a new environment is shown it. That
it is whole, and pinned by hash, is for others to say. Everything else pip does, it does.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

_PIP = """\
#!/bin/sh
case " $* " in
*" --require-hashes "*) echo '{packages}' > "$(echo {home}/lib/python3.*/site-packages)/tests.pth" ;;
*) exec {home}/bin/python -m pip --disable-pip-version-check --quiet "$@" ;;
esac
"""


def quick(command: str) -> str:
    """Return a command with what takes long, and would be replaced, left out."""
    return command.replace(" -m venv ", " -m venv --without-pip ")


def tame(home: Path) -> None:
    """Give a virtual environment its pip."""
    pip = home / "bin" / "pip"
    pip.write_text(_PIP.format(home=home, packages=sysconfig.get_path("purelib")))
    pip.chmod(0o755)
