"""The credentials of a role that is assumed with those of the machine.

Knows STS's AssumeRole through botocore. Every method blocks and may raise anything that botocore
raises.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.session import Session

from relay.ses.sdk import Role

LIFETIME: Final = 3600
"""Seconds. What expires is renewed a quarter of an hour ahead: after 45 minutes."""


class AssumedRole(CredentialProvider):  # type: ignore[misc]
    """Where a session with a role finds its credentials."""

    METHOD = "relay-assume-role"

    def __init__(self, source: Session, role: Role, region: str, config: Config) -> None:
        super().__init__()
        self._source = source
        self._role = role
        self._region = region
        self._config = config

    def load(self) -> Any:
        """Return credentials that renew themselves; None where there are none to assume with."""
        credentials = self._source.get_credentials()
        if credentials is None:
            return None
        role = self._role
        asked = {
            "RoleSessionName": role.session_name,
            "Policy": role.policy,
            "DurationSeconds": LIFETIME,
        }
        if role.external_id:
            asked["ExternalId"] = role.external_id
        fetcher = AssumeRoleCredentialFetcher(
            partial(self._source.create_client, region_name=self._region, config=self._config),
            credentials,
            role.arn,
            extra_args=asked,
        )
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)
