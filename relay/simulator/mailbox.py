"""What becomes of each recipient's copy: the mailbox simulator's addresses, and the settings' own.

SES Developer Guide, "Using the mailbox simulator". Decides only; `events` says it in JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.simulator.settings import Fate

if TYPE_CHECKING:
    from relay.simulator.address import Mailbox
    from relay.simulator.settings import Settings

SIMULATOR_DOMAIN: Final = "simulator.amazonses.com"

_FATES: Final = {
    "success": Fate.DELIVERED,
    "bounce": Fate.BOUNCED,
    "complaint": Fate.COMPLAINED,
    "ooto": Fate.AUTO_REPLIED,
    "suppressionlist": Fate.ON_GLOBAL_LIST,
}


def is_simulator(mailbox: Mailbox) -> bool:
    """Whether the address belongs to the mailbox simulator, which costs no daily quota."""
    return mailbox.domain.lower() == SIMULATOR_DOMAIN


def fate_of(mailbox: Mailbox, settings: Settings) -> Fate:
    """What becomes of this recipient's copy."""
    if is_simulator(mailbox):
        # Labels are allowed (bounce+label@). Any other name is an unknown user there.
        return _FATES.get(mailbox.unlabelled.local_part.lower(), Fate.BOUNCED)
    address = str(mailbox).lower()
    if address in settings.fates:
        return settings.fates[address]
    return settings.fates.get(f"@{mailbox.domain.lower()}", settings.other_recipients)
