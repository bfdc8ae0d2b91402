"""The configuration as one immutable value: what the rest of the relay is given.

Knows how settings become policy's rules. Does not know YAML, and reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay.config.complaint import Complaint, KeyPath, Mark
from relay.config.model import Account, Settings
from relay.config.sender import Destinations, Limits, Queue, Rewrite, Sender
from relay.config.verifiers import Secret
from relay.config.words import SesApi, SesHeader, TlsProfile
from relay.mail.envelope import AccountName, SenderName
from relay.policy import rewrite as policy_rewrite
from relay.policy import sender as policy
from relay.policy.patterns import AddressPatterns
from relay.policy.retry import RetrySchedule
from relay.policy.ruleset import Ruleset
from relay.policy.ses_headers import HeededHeaders


@dataclass(frozen=True, slots=True)
class AssumedRole:
    """A role to assume. Without `session_name` it is called after the machine."""

    arn: str
    external_id: str | None
    session_name: str | None


@dataclass(frozen=True, slots=True)
class ResolvedAccount:
    """Where an account is, and how it is shared.

    `max_send_rate` is in recipients per second; None: what SES grants. `daily_reserve` is the
    fraction of the daily quota that bulk senders leave to the others.
    """

    name: AccountName
    region: str
    endpoint_url: str | None
    max_send_rate: float | None
    daily_reserve: float
    api: SesApi = SesApi.AUTO
    role: AssumedRole | None = None


@dataclass(frozen=True, slots=True)
class ListenerTlsFiles:
    """What one listener's TLS is made of; no file is opened yet.

    The first key belongs to the first certificate, and so on; there is at least one pair.
    """

    certificates: tuple[Path, ...]
    keys: tuple[Path, ...]
    profile: TlsProfile
    client_ca: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One file, read. `generation` tells it from what was in force before and after.

    `settings` is the file as written, defaults filled in; `hostname`, `accounts`, `tls` (of each
    listener that has it, by name), `verifiers` and the secrets are what it takes from elsewhere:
    the machine, the environment, other files. `marks` tells where in the file a value stands,
    `variables` which of the environment's it was made of.
    """

    generation: int
    file: str
    settings: Settings
    hostname: str
    accounts: tuple[ResolvedAccount, ...]
    tls: Mapping[str, ListenerTlsFiles]
    verifiers: Mapping[SenderName, Secret]
    callback_secrets: Mapping[SenderName, Secret]
    raw_secret: Secret | None
    warnings: tuple[Complaint, ...]
    marks: Mapping[KeyPath, Mark] = field(default_factory=dict, compare=False)
    variables: Mapping[KeyPath, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def ruleset(self) -> Ruleset:
        """Return what policy decides by."""
        return Ruleset(
            generation=self.generation,
            hostname=self.hostname,
            senders=policy.Senders(self._sender(sender) for sender in self.settings.senders),
            retry=self.retry,
            trace=self.settings.trace_headers,
        )

    @property
    def retry(self) -> RetrySchedule:
        """When deferred mail is tried again."""
        spool = self.settings.spool
        return RetrySchedule(
            first=spool.retry.first, ceiling=spool.retry.ceiling, lifetime=spool.lifetime
        )

    def redacted(self) -> dict[str, Any]:
        """Return all that is in force, spelled as the file spells it, with `***` for secrets."""
        shown: dict[str, Any] = self.settings.model_dump(mode="json", by_alias=True)
        shown["hostname"] = self.hostname
        # The one unnamed account is shown under its name.
        shown["ses"]["region"] = None
        for account in self.accounts:
            entry = shown["ses"]["accounts"].setdefault(
                account.name, Account().model_dump(mode="json", by_alias=True)
            )
            entry["region"] = account.region
        return shown

    def _sender(self, sender: Sender) -> policy.Sender:
        name = SenderName(sender.name)
        secret = self.verifiers.get(name)
        configuration_set = sender.ses.configuration_set or self.settings.ses.configuration_set
        return policy.Sender(
            name=name,
            allowed_from=AddressPatterns(sender.allowed_from),
            limits=_limits(sender.limits, sender.accept),
            route=policy.Route(
                account=AccountName(sender.ses.account),
                configuration_set=configuration_set or "",
                tags=tuple(sender.ses.tags.items()),
                source_arn=sender.ses.source_arn or "",
                from_arn=sender.ses.from_arn or "",
                return_path_arn=sender.ses.return_path_arn or "",
                tenant=sender.ses.tenant or "",
            ),
            login=sender.login or "",
            secret=secret.reveal() if secret else "",
            certificates=sender.certificates,
            networks=sender.networks,
            priority=sender.priority,
            on_suppressed=sender.suppression,
            to=_destinations(sender.to),
            redirect_all=sender.redirect_all,
            rewrite=_rewrite(sender.rewrite),
            line_endings=sender.line_endings,
            ses_headers=_heeded(sender.ses_headers),
            accept=sender.accept,
            patience=sender.patience.total_seconds(),
        )


def _limits(limits: Limits, accept: policy.Accept) -> policy.Limits:
    return policy.Limits(
        message_size=limits.message_size,
        rate=limits.rate,
        burst=limits.burst or (limits.rate.count if limits.rate else 1),
        over_limit=limits.over_limit,
        recipients=limits.recipients,
        recipients_per_message=_recipients_per_message(limits, accept),
        queue=_queue_share(limits.queue),
    )


def _queue_share(queue: Queue) -> policy.QueueShare:
    size = queue.size
    if isinstance(size, float):
        return policy.QueueShare(queue.messages, fraction=size)
    return policy.QueueShare(queue.messages, octets=size)


def _recipients_per_message(limits: Limits, accept: policy.Accept) -> int:
    """Return the cap; where a quota refuses, no more at once than it ever lets go.

    Nor more than go in one call to SES, where its answer is the client's.
    """
    caps = [limits.recipients_per_message]
    if limits.over_limit is not policy.OverLimit.PACE:
        caps += [quota.count for quota in limits.recipients]
    if accept is policy.Accept.RELAYED:
        caps.append(policy.CALL)
    return min(caps)


def _destinations(to: Destinations) -> policy.Destinations:
    return policy.Destinations(
        allow=None if to.allow is None else AddressPatterns(to.allow),
        deny=AddressPatterns(to.deny),
    )


def _rewrite(rewrite: Rewrite | None) -> policy_rewrite.Rewrite | None:
    if rewrite is None:
        return None
    return policy_rewrite.Rewrite(
        when=rewrite.when,
        reverse_path=rewrite.reverse_path,
        author=rewrite.author.field if rewrite.author else "",
        keep_original=rewrite.keep_original,
    )


def _heeded(names: tuple[SesHeader, ...]) -> HeededHeaders | None:
    heeded = tuple(str(name) for name in names if name is not SesHeader.DENY)
    return HeededHeaders(heeded) if heeded else None
