"""What `relay check --live` asks AWS: whose credentials these are, and who may be written as.

Every method blocks and may raise anything that botocore raises. Sends nothing, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Final

from relay.ports import SendQuota
from relay.ses.aws import Botocore

# As many as one question may name (SES API GetIdentityVerificationAttributes).
_AT_ONCE: Final = 100


class Survey(Botocore):
    """One account, asked once."""

    def caller(self) -> str:
        """Return the ARN of whom we are to AWS (STS API GetCallerIdentity)."""
        client = self._opened().create_client("sts", region_name=self._whereabouts.region)
        try:
            arn: str = client.get_caller_identity()["Arn"]
        finally:
            client.close()
        return arn

    def quota(self, *, by_v2: bool) -> SendQuota:
        """Return what the account may send, by the API that its mail goes by."""
        client: Any = self._new_client("sesv2" if by_v2 else "ses")
        try:
            said = client.get_account()["SendQuota"] if by_v2 else client.get_send_quota()
        finally:
            client.close()
        return SendQuota(
            rate=_unbounded(said["MaxSendRate"]),
            daily=_unbounded(said["Max24HourSend"]),
            used=said["SentLast24Hours"],
        )

    def verified(self, identities: Collection[str]) -> set[str]:
        """Return which of the addresses and domains SES has verified for the account."""
        client: Any = self._new_client("ses")
        asked, found = sorted(identities), set()
        try:
            for at in range(0, len(asked), _AT_ONCE):
                said = client.get_identity_verification_attributes(
                    Identities=asked[at : at + _AT_ONCE]
                )
                found |= {
                    identity
                    for identity, attributes in said["VerificationAttributes"].items()
                    if attributes["VerificationStatus"] == "Success"
                }
        finally:
            client.close()
        return found


def _unbounded(number: float) -> float:
    """Return the number, or infinity for SES's -1."""
    return math.inf if number < 0 else float(number)
