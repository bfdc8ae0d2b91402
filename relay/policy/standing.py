"""What of all that is known of a recipient is shown as where its mail stands.

Knows the words of the ledger, and that *relayed* is not *delivered* (P4).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# From what says most. What SES reports comes in any order, twice, and years late; each outweighs
# what may have been reported before it.
_WEIGHTIEST: Final = (
    "complained",
    "bounced",
    "rejected",
    "delivered",
    "delayed",
    "sent",
    "relayed",
)
_SENT: Final = frozenset({"sent", "relayed"})


def standing(facts: Iterable[str]) -> str:
    """Return where mail to one recipient stands; `facts` are those of the ledger, the last last.

    Until SES has it, that is the last of what happened here.
    """
    told = list(facts)
    found = next((one for one in _WEIGHTIEST if one in told), None)
    if found is None:
        return told[-1] if told else "unknown"
    return "sent" if found in _SENT else found
