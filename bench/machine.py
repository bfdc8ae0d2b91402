"""What the figures were measured on, and what was measured. Read from the machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from bench.subjects import ROOT, SBIN


def _first(text: str, pattern: str, default: str = "unknown") -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else default


def _said(*command: str) -> str:
    """Return what a program says of its version, or nothing when it is not installed."""
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PATH": SBIN},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout + done.stderr


def _file_system(path: Path) -> str:
    """Return the type of the file system a path lies on (proc(5))."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, type_, *_ = line.split()
        if path.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, type_
    return kind


def described() -> list[tuple[str, str]]:
    """Return name and value of all that figures depend on."""
    cpu = _first(Path("/proc/cpuinfo").read_text(), r"^model name\s*: (.*)$")
    memory = int(_first(Path("/proc/meminfo").read_text(), r"^MemTotal:\s*(\d+)", "0"))
    return [
        ("date", f"{datetime.now(UTC):%Y-%m-%d}"),
        ("commit", _said("git", "describe", "--always", "--dirty").strip()),
        ("processor", f"{os.cpu_count()} x {cpu}"),
        ("memory", f"{memory / 1024**2:.0f} GiB"),
        ("kernel", platform.release()),
        ("file system of spool and queue", _file_system(ROOT)),
        ("Python", platform.python_version()),
        ("Postfix", _first(_said("postconf", "mail_version"), r"= (.*)$", "none")),
        ("nginx", _first(_said("nginx", "-v"), r"nginx/(\S+)", "none")),
        ("load when it began", f"{os.getloadavg()[0]:.2f}"),
    ]
