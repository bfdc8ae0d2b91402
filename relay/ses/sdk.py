"""What an account asks of the AWS SDK. Knows no SDK: relay.ses.aws is the one there is."""

from __future__ import annotations

from typing import Protocol

from relay.ports import SendQuota
from relay.ses.signer import Keys


class Aws(Protocol):
    """What an account asks of AWS besides sending; all of it blocks and may raise anything."""

    def keys(self, *, anew: bool) -> Keys | None:
        """Return the credentials, or None where there are none; `anew` forgets those known."""
        ...

    def endpoint_url(self, service: str) -> str:
        """Return where SES is, for `ses` (v1) or `sesv2`. Asks nobody."""
        ...

    def ca_bundle(self) -> str | None:
        """Return a file of trusted certificates to use instead of the system's, if any."""
        ...

    def quota(self) -> SendQuota:
        """Ask SES what the account may send."""
        ...

    def close(self) -> None:
        """Let go of what is kept open."""
        ...
