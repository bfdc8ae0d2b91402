"""Exit codes, as in sysexits.h where it has one."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FOUND_BAD: Final = 1
"""Checked, and found bad."""
USAGE: Final = 2
UNREACHABLE: Final = 69
"""The daemon is not reachable (EX_UNAVAILABLE)."""
TRY_LATER: Final = 75
"""EX_TEMPFAIL."""
NOT_ALLOWED: Final = 77
"""EX_NOPERM."""
CONFIGURATION: Final = 78
"""EX_CONFIG; the unit file does not restart on it."""
