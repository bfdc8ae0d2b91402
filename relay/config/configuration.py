"""The configuration as one immutable value: what the rest of the relay is given.

Knows how settings become policy's rules. Does not know YAML, and reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.config.complaint import Complaint
from relay.config.model import Sender, Settings
from relay.config.verifiers import Secret
from relay.mail.envelope import AccountName, SenderName
from relay.policy import sender as policy
from relay.policy.patterns import AddressPatterns
from relay.policy.retry import RetrySchedule
from relay.policy.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class ResolvedAccount:
    """Where an account is. `max_send_rate` is in recipients per second; None: what SES grants."""

    name: AccountName
    region: str
    endpoint_url: str | None
    max_send_rate: float | None


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The certificate all encrypted listeners show; not opened yet."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One file, read. `generation` tells it from what was in force before and after.

    `settings` is the file as written, defaults filled in; `hostname`, `accounts`, `certificate` and
    `verifiers` are what it takes from elsewhere: the machine, the environment, other files.
    """

    generation: int
    file: str
    settings: Settings
    hostname: str
    accounts: tuple[ResolvedAccount, ...]
    certificate: CertificateFiles | None
    verifiers: Mapping[SenderName, Secret]
    warnings: tuple[Complaint, ...]

    def ruleset(self) -> Ruleset:
        """Return what policy decides by."""
        spool = self.settings.spool
        return Ruleset(
            generation=self.generation,
            hostname=self.hostname,
            senders=policy.Senders(self._sender(sender) for sender in self.settings.senders),
            retry=RetrySchedule(
                first=spool.retry.first, ceiling=spool.retry.ceiling, lifetime=spool.lifetime
            ),
        )

    def redacted(self) -> dict[str, Any]:
        """Return all that is in force, spelled as the file spells it, with `***` for secrets."""
        shown: dict[str, Any] = self.settings.model_dump(mode="json", by_alias=True)
        shown["hostname"] = self.hostname
        # The one unnamed account is shown under its name.
        shown["ses"]["region"] = None
        for account in self.accounts:
            entry = shown["ses"]["accounts"].setdefault(
                account.name, {"endpoint_url": None, "max_send_rate": "auto"}
            )
            entry["region"] = account.region
        return shown

    def _sender(self, sender: Sender) -> policy.Sender:
        name = SenderName(sender.name)
        secret = self.verifiers.get(name)
        limits = sender.limits
        configuration_set = sender.ses.configuration_set or self.settings.ses.configuration_set
        return policy.Sender(
            name=name,
            allowed_from=AddressPatterns(sender.allowed_from),
            limits=policy.Limits(
                message_size=limits.message_size,
                rate=limits.rate,
                burst=limits.burst or (limits.rate.count if limits.rate else 1),
                over_limit=limits.over_limit,
            ),
            route=policy.Route(
                account=AccountName(sender.ses.account),
                configuration_set=configuration_set or "",
                tags=tuple(sender.ses.tags.items()),
            ),
            login=sender.login or "",
            secret=secret.reveal() if secret else "",
            networks=sender.networks,
            priority=sender.priority,
            on_suppressed=sender.suppression,
        )
