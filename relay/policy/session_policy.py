"""What the session of an assumed role may do: send as the addresses of its senders, and no more.

A second lock behind admission: keys that leak from this process send as nobody else. Knows the
grammar of IAM policies (IAM User Guide, "Condition operators") and SES's condition keys (SES
Developer Guide, "Controlling access"). Does not know STS.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from relay.mail.address import Address
from relay.policy.patterns import AddressPatterns

POLICY_LIMIT: Final = 2048
"""Characters of a session policy (STS API Reference, AssumeRole, Policy)."""
SENDING: Final = ("ses:SendRawEmail", "ses:SendEmail")
"""Both: SendEmail with raw content is authorised as SendRawEmail."""
READING: Final = ("ses:GetSendQuota", "ses:GetAccount")

LISTING: Final = (
    "ses:ListSuppressedDestinations",
    "ses:GetSuppressedDestination",
    "ses:PutSuppressedDestination",
    "ses:DeleteSuppressedDestination",
)

_KEY: Final = "ses:FromAddress"


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """A policy as JSON text, and what of it is wider than what was asked for, for want of room.

    Of the domains in `widened` it allows all addresses; unless it `is_bound`, any From address.
    """

    text: str
    widened: tuple[str, ...] = ()
    is_bound: bool = True


def session_policy(patterns: Iterable[str]) -> SessionPolicy:
    """Return the policy for all that the senders of an account may write as (their `from`).

    Addresses are compared without regard to case, as the relay does. Domains cannot be: there is no
    such operator for wildcards, so a domain is allowed in lower case and as it is written.
    """
    domains, addresses = _sorted(patterns)
    widened: list[str] = []
    length = len(_text(domains, [one for ones in addresses.values() for one in ones]))
    # Those that take the most room first, so that as many as can be stay as they are.
    for domain in sorted(addresses, key=lambda name: -sum(map(len, addresses[name]))):
        if length <= POLICY_LIMIT:
            break
        gone = addresses.pop(domain)
        domains[f"*@{domain}"] = None
        widened.append(domain)
        length += len(domain) + 5 - sum(len(json.dumps(one)) + 1 for one in gone)
    text = _text(domains, [one for ones in addresses.values() for one in ones])
    if len(text) > POLICY_LIMIT:
        return SessionPolicy(_dump([_allow(SENDING), _allow(READING)]), is_bound=False)
    return SessionPolicy(text, tuple(sorted(widened)))


def _sorted(patterns: Iterable[str]) -> tuple[dict[str, None], dict[str, list[str]]]:
    """Return patterns of domains, and by domain the addresses that none of those holds."""
    patterns = list(dict.fromkeys(patterns))
    whole = [pattern for pattern in patterns if pattern.startswith("@")]
    held = AddressPatterns(tuple(whole))
    domains: dict[str, None] = {}
    for pattern in whole:
        # `@.example.com` is its subdomains, not the domain itself.
        glob = f"*@*{pattern[1:]}" if pattern.startswith("@.") else f"*{pattern}"
        domains |= dict.fromkeys((glob.lower(), glob))
    addresses: dict[str, list[str]] = {}
    for pattern in patterns:
        if not pattern.startswith("@") and not held.hold(address := Address.parse(pattern)):
            addresses.setdefault(address.domain, []).append(_escaped(str(address)))
    return domains, addresses


def _escaped(address: str) -> str:
    """Return an address of which IAM takes nothing for a variable; a local part may have a `$`."""
    return address.replace("$", "${$}")


def _text(domains: Iterable[str], addresses: list[str]) -> str:
    return _dump(_statements(list(domains), addresses))


def _statements(domains: list[str], addresses: list[str]) -> Iterator[dict[str, Any]]:
    # Conditions of one statement must all hold, and either is enough.
    if addresses:
        yield _allow(SENDING, {"StringEqualsIgnoreCase": {_KEY: addresses}})
    if domains:
        yield _allow(SENDING, {"StringLike": {_KEY: domains}})
    yield _allow(READING)


def _allow(actions: tuple[str, ...], condition: object = None) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return statement if condition is None else {**statement, "Condition": condition}


def _dump(statements: Iterable[dict[str, Any]]) -> str:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return json.dumps(document, separators=(",", ":"))


LIST_POLICY: Final = _dump([_allow(LISTING)])
"""The policy for keys that keep the account's suppression list, and can send nothing."""
