"""What settings take from elsewhere: the machine's name, the AWS region, the files it names.

Looks; changes nothing. Does not open certificates.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from relay.config import names
from relay.config.complaint import Finding, KeyPath
from relay.config.configuration import AssumedRole, ListenerTlsFiles, ResolvedAccount
from relay.config.feedback_values import callback_secret, raw_secret
from relay.config.files import locate, read_secret
from relay.config.listener import Listener
from relay.config.model import Account, Settings
from relay.config.sender import MAIN_ACCOUNT, Sender
from relay.config.verifiers import Secret, verifier
from relay.config.words import ListenerTls, TlsProfile
from relay.mail.envelope import AccountName, SenderName

_REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was found. Only complete when there are no findings."""

    hostname: str
    accounts: tuple[ResolvedAccount, ...]
    tls: Mapping[str, ListenerTlsFiles]
    verifiers: Mapping[SenderName, Secret]
    callback_secrets: Mapping[SenderName, Secret]
    raw_secret: Secret | None
    findings: tuple[Finding, ...]


def resolve(settings: Settings, *, directory: Path, environ: Mapping[str, str]) -> Resolved:
    """Look up all that the settings leave to their surroundings.

    `directory` is where relative paths start.
    """
    search = _Search(directory, environ)
    return Resolved(
        hostname=search.hostname(settings),
        accounts=search.accounts(settings),
        tls=search.tls(settings),
        verifiers=search.verifiers(settings),
        callback_secrets=search.callback_secrets(settings),
        raw_secret=search.raw_secret(settings),
        findings=tuple(search.findings),
    )


class _Search:
    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._environ = environ
        self.findings: list[Finding] = []

    def hostname(self, settings: Settings) -> str:
        if settings.hostname is not None:
            return settings.hostname
        # Not getfqdn: it asks DNS, and a resolver that is down would delay every start.
        machine = socket.gethostname() or "localhost"
        try:
            return names.domain(machine)
        except ValueError as error:
            message = f"must be set, because the name of this machine {error}"
            self.findings.append(Finding(("hostname",), message, (("hostname",),)))
            return "localhost"

    def accounts(self, settings: Settings) -> tuple[ResolvedAccount, ...]:
        if not settings.ses.accounts:
            region = self._region(settings.ses.region, ("ses",), ("ses", "accounts"))
            return (self._account(MAIN_ACCOUNT, Account(), region),)
        return tuple(
            self._account(name, account, self._region(account.region, ("ses", "accounts", name)))
            for name, account in settings.ses.accounts.items()
        )

    def _account(self, name: str, account: Account, region: str) -> ResolvedAccount:
        rate = account.max_send_rate
        return ResolvedAccount(
            name=AccountName(name),
            region=region,
            endpoint_url=account.endpoint_url,
            api=account.api,
            max_send_rate=None if rate is None else rate.per_second,
            daily_reserve=account.daily_reserve,
            role=None
            if account.role_arn is None
            else AssumedRole(account.role_arn, account.external_id, account.session_name),
        )

    def _region(self, region: str | None, parent: KeyPath, *also: KeyPath) -> str:
        if region is not None:
            return region
        at = (*parent, "region")
        for variable in _REGION_VARIABLES:
            if not (found := self._environ.get(variable)):
                continue
            try:
                return names.region(found)
            except ValueError as error:
                message = f"is not set, and the value of ${{{variable}}} {error}"
                break
        else:
            message = f"is missing, and neither {' nor '.join(_REGION_VARIABLES)} is set"
        self.findings.append(Finding(at, message, (at, *also)))
        return ""

    def tls(self, settings: Settings) -> Mapping[str, ListenerTlsFiles]:
        found = {}
        for listener in settings.listeners:
            if listener.tls is not ListenerTls.OFF:
                found[listener.name] = self._listener_tls(listener, settings)
        return MappingProxyType(found)

    def _listener_tls(self, listener: Listener, settings: Settings) -> ListenerTlsFiles:
        shared = settings.tls
        # With a finding, where neither has one.
        source = listener if listener.certificate or shared is None else shared
        return ListenerTlsFiles(
            certificates=tuple(self._locate(path) for path in source.certificate),
            keys=tuple(self._locate(path) for path in source.key),
            profile=listener.tls_profile or (shared.profile if shared else TlsProfile.INTERMEDIATE),
            client_ca=None if listener.client_ca is None else self._locate(listener.client_ca),
        )

    def verifiers(self, settings: Settings) -> Mapping[SenderName, Secret]:
        found: dict[SenderName, Secret] = {}
        for index, sender in enumerate(settings.senders):
            secret = sender.secret_hash or sender.token_hash or self._secret_file(index, sender)
            if secret is not None:
                found[SenderName(sender.name)] = secret
        return MappingProxyType(found)

    def callback_secrets(self, settings: Settings) -> Mapping[SenderName, Secret]:
        found: dict[SenderName, Secret] = {}
        for index, sender in enumerate(settings.senders):
            if sender.callback is not None:
                at = ("senders", index, "callback", "secret_file")
                secret = self._secret(at, sender.callback.secret_file, callback_secret)
                if secret is not None:
                    found[SenderName(sender.name)] = secret
        return MappingProxyType(found)

    def raw_secret(self, settings: Settings) -> Secret | None:
        path = settings.feedback.sns.raw_secret_file
        at = ("feedback", "sns", "raw_secret_file")
        return None if path is None else self._secret(at, path, raw_secret)

    def _secret_file(self, index: int, sender: Sender) -> Secret | None:
        if sender.secret_file is None:
            return None
        return self._secret(("senders", index, "secret_file"), sender.secret_file, verifier)

    def _secret(self, at: KeyPath, named: Path, read: Callable[[str], Secret]) -> Secret | None:
        try:
            line = read_secret(self._locate(named))
        except ValueError as error:
            # Where it was looked for, not what: a password may have been written here by mistake.
            message = f"the file {error}"
            if not named.is_absolute():
                message += f" (looked for in {self._directory})"
            self.findings.append(Finding(at, message, (at,)))
            return None
        try:
            return read(line)
        except ValueError as error:
            self.findings.append(Finding(at, f"the first line of the file {error}", (at,)))
            return None

    def _locate(self, path: Path) -> Path:
        return locate(path, directory=self._directory, environ=self._environ)
