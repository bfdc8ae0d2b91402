"""How the keys of a sender must fit together, and fit the listeners and accounts there are.

Looks at the settings only; networks, which senders share, are relay.config.network_checks's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from relay.config.complaint import ANY, Finding, KeyPath, spell
from relay.config.measures import MESSAGE_SIZE_LIMIT, RECIPIENTS_LIMIT, show_size
from relay.config.model import Settings
from relay.config.sender import MAIN_ACCOUNT, Limits, Sender
from relay.config.words import SesApi, SesHeader
from relay.mail.ses_headers import RESERVED_TAGS, TAGS_LIMIT, V2_HEADERS
from relay.policy.admission import Auth
from relay.policy.patterns import AddressPatterns
from relay.policy.sender import CALL, PATIENCE, Accept, OverLimit

_EVERY_AUTH: Final = ("listeners", ANY, "auth")
_EVERY_AUTHORITY: Final = ("listeners", ANY, "client_ca")


def check_sender(at: KeyPath, sender: Sender, settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with one sender."""
    yield from _recognition(at, sender)
    yield from _reach(at, sender, settings)
    yield from _rewrite(at, sender)
    yield from _redirect(at, sender)
    yield from _limits((*at, "limits"), sender.limits)
    yield from _queue((*at, "limits"), sender.limits)
    yield from _accept(at, sender)
    accounts = tuple(settings.ses.accounts) or (MAIN_ACCOUNT,)
    if sender.ses.account not in accounts:
        account = (*at, "ses", "account")
        yield Finding(
            account,
            f"there is no account '{sender.ses.account}'; there is {', '.join(accounts)}",
            (account, ("ses", "accounts", sender.ses.account)),
        )
    yield from _ses(at, sender, settings)
    yield from _ses_headers(at, sender)


def _recognition(at: KeyPath, sender: Sender) -> Iterator[Finding]:
    login = (*at, "login")
    names = ("secret_hash", "token_hash", "secret_file")
    verifiers = [(*at, name) for name in names]
    given = [name for name in names if getattr(sender, name) is not None]
    if not (sender.login or sender.networks or sender.certificates):
        yield Finding(
            at,
            "can never be recognised: give it a login, networks, or certificates",
            (login, (*at, "networks"), (*at, "certificates")),
        )
    if sender.login is not None and not given:
        yield Finding(
            login,
            "nothing to check its password against: give one of secret_hash, token_hash, "
            "secret_file",
            (login, *verifiers),
        )
    if sender.login is None and given:
        yield Finding((*at, given[0]), "has no use without a login", (login,))
    for name in given[1:]:
        yield Finding(
            (*at, name),
            f"only one of {', '.join(given)} can be what the login is checked against",
            ((*at, given[0]), (*at, name)),
        )


def _reach(at: KeyPath, sender: Sender, settings: Settings) -> Iterator[Finding]:
    """Warn of ways of recognition that no listener offers."""
    has_authorities = any(listener.client_ca for listener in settings.listeners)
    if sender.certificates and not has_authorities:
        yield Finding(
            (*at, "certificates"),
            "are never asked for: no listener has client_ca",
            ((*at, "certificates"), _EVERY_AUTHORITY),
            is_warning=True,
        )
    auths = {listener.auth for listener in settings.listeners}
    if sender.login is not None and auths == {Auth.OFF}:
        yield Finding(
            (*at, "login"),
            "is never asked for: no listener has auth: required or optional",
            ((*at, "login"), _EVERY_AUTH),
            is_warning=True,
        )
    if sender.networks and auths == {Auth.REQUIRED}:
        yield Finding(
            (*at, "networks"),
            "are never looked at: no listener has auth: off or optional",
            ((*at, "networks"), _EVERY_AUTH),
            is_warning=True,
        )


def _rewrite(at: KeyPath, sender: Sender) -> Iterator[Finding]:
    rewrite, here = sender.rewrite, (*at, "rewrite")
    if rewrite is None:
        return
    reverse_path, author = (*here, "reverse_path"), (*here, "from")
    if rewrite.reverse_path is None and rewrite.author is None:
        yield Finding(
            here, "changes nothing: give reverse_path, from, or both", (reverse_path, author)
        )
    if rewrite.author is None and not rewrite.keep_original:
        original = (*here, "keep_original")
        yield Finding(original, "has no meaning without from", (original, author))
    allowed = AddressPatterns(sender.allowed_from)
    for where, address in (
        (reverse_path, rewrite.reverse_path),
        (author, rewrite.author.address if rewrite.author else None),
    ):
        if address is not None and not allowed.hold(address):
            message = (
                f"this sender may not write as {address}: add it to {spell((*at, 'from'))}, or use "
                "an address that is there"
            )
            yield Finding(where, message, (where, (*at, "from")))


def _ses(at: KeyPath, sender: Sender, settings: Settings) -> Iterator[Finding]:
    ses = (*at, "ses")
    tenant, size, arn = (*ses, "tenant"), (*at, "limits", "message_size"), (*ses, "source_arn")
    account = settings.ses.accounts.get(sender.ses.account)
    if account is not None and account.api is SesApi.V1:
        api = ("ses", "accounts", sender.ses.account, "api")
        if sender.ses.tenant is not None:
            message = f"is known to v2 of the SES API only, and {spell(api)} is v1"
            yield Finding(tenant, message, (tenant, api))
        if sender.limits.message_size > MESSAGE_SIZE_LIMIT:
            message = (
                f"is more than v1 of the SES API takes, and {spell(api)} is v1: at most "
                f"{MESSAGE_SIZE_LIMIT} octets ({show_size(MESSAGE_SIZE_LIMIT)})"
            )
            yield Finding(size, message, (size, api))
        needed = [name for name in sender.ses_headers if name in V2_HEADERS]
        if needed:
            here = (*at, "ses_headers")
            message = f"{needed[0]} is known to v2 of the SES API only, and {spell(api)} is v1"
            yield Finding(here, message, (here, api))
    if sender.ses.source_arn is not None and sender.ses.from_arn is None:
        author = (*ses, "from_arn")
        message = "authorises the reverse-path only: SES wants from_arn for the From header too"
        yield Finding(arn, message, (arn, author), is_warning=True)


def _ses_headers(at: KeyPath, sender: Sender) -> Iterator[Finding]:
    here, tags = (*at, "ses_headers"), (*at, "ses", "tags")
    if SesHeader.DENY in sender.ses_headers and len(sender.ses_headers) > 1:
        yield Finding(here, "is either deny or names of header fields, not both", (here,))
    most = TAGS_LIMIT - len(RESERVED_TAGS)
    if len(sender.ses.tags) > most:
        yield Finding(
            tags, f"are more than {most}: with the relay's own, {TAGS_LIMIT} are possible", (tags,)
        )


def _redirect(at: KeyPath, sender: Sender) -> Iterator[Finding]:
    if sender.redirect_all is not None:
        here = (*at, "redirect_all")
        yield Finding(
            here,
            f"all mail of this sender goes to {sender.redirect_all} and nobody else; leave "
            "redirect_all out to send to its recipients",
            (here,),
            is_warning=True,
        )


def _accept(at: KeyPath, sender: Sender) -> Iterator[Finding]:
    limits, accept = sender.limits, (*at, "accept")
    over, most = (*at, "limits", "over_limit"), (*at, "limits", "recipients_per_message")
    patience = (*at, "patience")
    if sender.accept is Accept.QUEUED and sender.patience != timedelta(seconds=PATIENCE):
        yield Finding(patience, "has no meaning with accept: queued", (patience, accept))
    if sender.accept is not Accept.RELAYED:
        return
    is_bounded = limits.rate is not None or limits.recipients
    if limits.over_limit is OverLimit.PACE and is_bounded:
        message = (
            "relayed keeps no mail to send it later, which is what over_limit: pace (the default) "
            "means: write over_limit: refuse, or accept: relayed-or-queued"
        )
        yield Finding(accept, message, (accept, over))
    if CALL < limits.recipients_per_message < RECIPIENTS_LIMIT:
        message = (
            f"is more than Amazon SES takes at once, and accept: relayed answers for all of them: "
            f"at most {CALL}, or accept: relayed-or-queued"
        )
        yield Finding(most, message, (most, accept))


def _limits(at: KeyPath, limits: Limits) -> Iterator[Finding]:
    rate, recipients, burst, over = (
        (*at, key) for key in ("rate", "recipients", "burst", "over_limit")
    )
    if limits.burst is not None and limits.rate is None:
        yield Finding(burst, "has no meaning without a rate", (burst, rate))
    is_bounded = limits.rate is not None or limits.recipients
    if limits.over_limit is not OverLimit.PACE and not is_bounded:
        yield Finding(over, "has no meaning without a rate or recipients", (over, rate, recipients))
    first: dict[float, KeyPath] = {}
    for place, limit in enumerate(limits.recipients):
        here = (*recipients, place)
        earlier = first.setdefault(limit.seconds, here)
        if earlier != here:
            message = f"{spell(earlier[-2:])} is over the same time: keep one per h and one per day"
            yield Finding(here, message, (here, earlier))


def _queue(at: KeyPath, limits: Limits) -> Iterator[Finding]:
    size, largest = (*at, "queue", "size"), (*at, "message_size")
    if isinstance(limits.queue.size, int) and limits.queue.size < limits.message_size:
        yield Finding(
            size,
            "is less than message_size: its largest messages would never be accepted; lower "
            "message_size, so that they are refused at once",
            (size, largest),
            is_warning=True,
        )
