"""What an account asks of the AWS SDK. Knows no SDK: relay.ses.aws is the one there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from relay.ses.signer import Keys


@dataclass(frozen=True, slots=True)
class Role:
    """A role that is assumed with the credentials of the machine (STS API, AssumeRole)."""

    arn: str
    session_name: str
    policy: str
    """What its session is limited to, whatever the role may do: an IAM policy."""
    external_id: str = ""
    """Empty: its trust policy asks for none."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What of an account the SDK has to know. Without an endpoint URL it is AWS's own."""

    region: str
    endpoint_url: str | None = None
    role: Role | None = None


class Aws(Protocol):
    """What an account asks of AWS besides sending; all of it blocks and may raise anything."""

    def keys(self, *, anew: bool) -> Keys | None:
        """Return the credentials, or None where there are none; `anew` forgets those known."""
        ...

    def assume(self, role: Role) -> None:
        """Take this role from the next look for credentials on. Asks nobody."""
        ...

    def endpoint_url(self, service: str) -> str:
        """Return where SES is, for `ses` (v1) or `sesv2`. Asks nobody."""
        ...

    def proxy(self, url: str) -> str | None:
        """Return the URL of the proxy by which that one is reached, if any. Asks nobody."""
        ...

    def ca_bundle(self) -> str | None:
        """Return a file of trusted certificates to use instead of the system's, if any."""
        ...
