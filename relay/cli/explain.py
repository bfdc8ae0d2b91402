"""`relay explain`: whether a mail would be admitted, and which rule says so.

Reads the configuration file, so that it can be asked before the daemon is; asks the daemon only
whether the recipient is suppressed. Decides nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relay.cli.client import AdminClient, AdminError
from relay.cli.complaints import complain
from relay.cli.exits import FOUND_BAD, OK, USAGE
from relay.cli.words import say, show, show_json
from relay.config.complaint import ConfigurationError
from relay.config.configuration import Configuration
from relay.config.loader import load
from relay.mail.address import Address
from relay.mail.envelope import SenderName
from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.admission import Auth
from relay.policy.explain import Question, Step, explain
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Host, Sender, host_of
from relay.policy.suppression import binds


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options as given; empty or None where they were not."""

    sender: str
    login: str
    certificate: str
    ip: str
    listener: str
    reverse_path: str | None
    author: str | None
    recipients: Sequence[str]


class _UsageError(Exception):
    """A question that makes no sense; in words for whoever asked it."""


def run(config: Path, admin: Path, asked: Asked, *, as_json: bool) -> int:
    """Print the decisions; return 0 if the mail would be admitted, 1 if not."""
    try:
        configuration = load(config, generation=1, environ=os.environ)
    except ConfigurationError as error:
        return complain(error)
    ruleset = configuration.ruleset()
    try:
        question = _question(configuration, ruleset, asked)
    except _UsageError as error:
        say(f"relay: {error}")
        return USAGE
    steps = list(explain(ruleset, question, _Suppressions(admin).find))
    if as_json:
        show_json(_document(step) for step in steps)
    else:
        _show(steps)
    return FOUND_BAD if any(step.refusal for step in steps) else OK


def _question(configuration: Configuration, ruleset: Ruleset, asked: Asked) -> Question:
    proven, proof = _proven(ruleset, asked)
    return Question(
        proven=proven,
        proof=proof,
        host=_host(asked.ip),
        auth=_auth(configuration, asked),
        reverse_path=None if asked.reverse_path is None else _bare(asked.reverse_path),
        author=asked.author,
        recipients=tuple(_bare(recipient) for recipient in asked.recipients),
    )


def _bare(path: str) -> str:
    """Take the angle brackets off a path, if it has any."""
    return path[1:-1] if path.startswith("<") and path.endswith(">") else path


def _proven(ruleset: Ruleset, asked: Asked) -> tuple[Sender | None, str]:
    """Return which sender the client proved to be, and by what; None where only its address is."""
    given = [name for name in ("sender", "login", "certificate") if getattr(asked, name)]
    if not given and not asked.ip:
        raise _UsageError("say who the client is: --sender, --login, --certificate or --ip")
    if len(given) > 1:
        raise _UsageError(f"--{' and --'.join(given)} each name the sender: give one")
    senders = ruleset.senders
    if asked.login:
        found = senders.with_login(asked.login)
        if found is None:
            raise _UsageError("no sender has that login: AUTH would fail with 535 5.7.8")
        return found, f"login: {asked.login}"
    if asked.certificate:
        found = senders.with_certificate([asked.certificate])
        if found is None:
            raise _UsageError("no sender has that name among its certificates")
        return found, f"certificates: {asked.certificate}"
    if asked.sender:
        found = senders.get(SenderName(asked.sender))
        if found is None:
            known = ", ".join(senders)
            raise _UsageError(f"there is no sender of that name; there is {known}")
        return found, "name"
    return None, ""


def _host(text: str) -> Host:
    try:
        return host_of(text or "127.0.0.1")
    except ValueError:
        raise _UsageError("--ip is not an IP address") from None


def _auth(configuration: Configuration, asked: Asked) -> Auth:
    """Return what the listener asks; without a name, what the most lenient one does."""
    name = asked.listener
    listeners = {one.name: one.auth for one in configuration.settings.listeners}
    if name:
        if name not in listeners:
            raise _UsageError(f"there is no listener of that name; there is {', '.join(listeners)}")
        if listeners[name] is Auth.OFF and asked.login:
            raise _UsageError("that listener takes no AUTH: ask with --ip or --certificate")
        return listeners[name]
    return next(
        auth for auth in (Auth.OFF, Auth.OPTIONAL, Auth.REQUIRED) if auth in listeners.values()
    )


class _Suppressions:
    """The daemon's list, as far as it can be asked."""

    def __init__(self, admin: Path) -> None:
        self._admin = admin

    def find(self, address: Address, sender: Sender) -> Suppression | None:
        try:
            found = AdminClient(self._admin).ask("GET", "suppressions", str(address))
        except AdminError as error:
            if error.exit_code != FOUND_BAD:
                say(f"note: whether {address} is suppressed is not known: {error}")
            return None
        now = datetime.now(UTC)
        entries = [_entry(one) for one in found["entries"]]
        return next((entry for entry in entries if binds(entry, sender, now)), None)


def _entry(found: Mapping[str, Any]) -> Suppression:
    until = found["until"]
    return Suppression(
        found["address"],
        SuppressionReason(found["reason"]),
        found["detail"],
        datetime.fromisoformat(found["since"]),
        scope=found["scope"],
        until=None if until is None else datetime.fromisoformat(until),
    )


def _show(steps: Sequence[Step]) -> None:
    for step in steps:
        rule = f"   [{step.rule}]" if step.rule else ""
        show(f"{step.about:<14}{step.outcome}{rule}")


def _document(step: Step) -> dict[str, object]:
    return {
        "about": step.about,
        "outcome": step.outcome,
        "rule": step.rule,
        "refused": step.refusal is not None,
    }
