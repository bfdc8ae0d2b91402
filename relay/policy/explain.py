"""Why a mail would be admitted or refused: the functions of admission, asked step by step.

Knows what to ask in which order, and how to name the rule that decided. Decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import assert_never

from relay.mail.address import Address, AddressError, AddressFault
from relay.mail.feedback import Suppression
from relay.mail.header import HeaderBlock, HeaderError
from relay.mail.reply import Refusal
from relay.policy.admission import (
    Auth,
    admit_header,
    admit_recipient,
    admit_reverse_path,
    identify,
    refuse_address,
)
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Accept, Host, OnSuppressed, OverLimit, Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A mail nobody has sent yet. What is None is not asked about; `<>` is an empty text.

    The client is the sender it proved to be, or whoever its network names.
    """

    proven: Sender | None = None
    proof: str = "name"
    """The key of the sender by which it proved to be that one, as the configuration spells it."""
    host: Host
    auth: Auth
    reverse_path: str | None = None
    author: str | None = None
    """The value of the From field."""
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One decision: what about, what came of it, and the rule that made it.

    `rule` is where to look in the configuration; empty where no key of it had a say.
    """

    about: str
    outcome: str
    rule: str
    refusal: Refusal | None = None


def explain(
    ruleset: Ruleset,
    question: Question,
    suppression: Callable[[Address, Sender], Suppression | None],
) -> Iterator[Step]:
    """Yield the decisions on a mail in the order SMTP asks for them.

    A refusal ends it, but for that of one recipient among others.
    """
    found = identify(
        ruleset.senders, question.auth, authenticated=question.proven, host=question.host
    )
    if isinstance(found, Refusal):
        yield _refused("sender", found, f"listener auth: {question.auth}")
        return
    yield Step("sender", found.name, _recognised_by(ruleset, question, found))
    for asked, answer in (
        (question.reverse_path, _reverse_path),
        (question.author, _author),
    ):
        if asked is not None:
            step = answer(found, asked)
            yield step
            if step.refusal is not None:
                return
    steps = [_recipient(found, one, suppression) for one in question.recipients]
    yield from steps
    if steps and all(step.refusal for step in steps):
        return
    yield Step("limits", _limits(found), _key(found, "limits"))
    yield Step("accept", _accept(found), _key(found, "accept"))
    yield Step("route", _route(found), _key(found, "ses"))


def _recognised_by(ruleset: Ruleset, question: Question, sender: Sender) -> str:
    if question.proven is not None:
        return _key(sender, question.proof)
    found = ruleset.senders.network_of(question.host)
    return _key(sender, f"networks: {found[0]}") if found else ""


def _reverse_path(sender: Sender, text: str) -> Step:
    given = _mailbox(text) if text else None
    answer = admit_reverse_path(sender, given, 0)
    if isinstance(answer, Refusal):
        return _refused("reverse-path", answer, _key(sender, "from"))
    if answer == given:
        pattern = sender.allowed_from.that_holds(answer)
        return Step("reverse-path", str(answer), _key(sender, f"from: {pattern}"))
    return Step("reverse-path", str(answer), _key(sender, "rewrite.reverse_path"))


def _author(sender: Sender, text: str) -> Step:
    try:
        header = HeaderBlock.parse(f"From: {text}\r\n".encode("utf-8", "replace"))
    except HeaderError:
        header = HeaderBlock.parse(b"From: \x00\r\n")
    answer = admit_header(sender, header)
    if isinstance(answer, Refusal):
        return _refused("author", answer, _key(sender, "from"))
    is_rewritten = answer is not header
    rule = _key(sender, "rewrite.from" if is_rewritten else "from")
    author = next(answer.named(b"from")).value.decode("utf-8", "replace")
    return Step("author", author, rule)


def _recipient(
    sender: Sender, text: str, suppression: Callable[[Address, Sender], Suppression | None]
) -> Step:
    address = _mailbox(text)
    if isinstance(address, AddressFault):
        return _refused("recipient", refuse_address(address, reverse_path=False), "")
    found = suppression(address, sender)
    refusal = admit_recipient(sender, address, found)
    if refusal is not None:
        is_suppressed = refusal.reason == "suppressed"
        rule = "the suppression list" if is_suppressed else _destination_rule(sender, address)
        return _refused("recipient", refusal, rule)
    if sender.redirect_all is not None:
        return Step("recipient", str(sender.redirect_all), _key(sender, "redirect_all"))
    if found is not None and sender.on_suppressed is OnSuppressed.DROP:
        return Step("recipient", "accepted and not mailed", _key(sender, "suppression: drop"))
    return Step("recipient", str(address), _destination_rule(sender, address))


def _destination_rule(sender: Sender, address: Address) -> str:
    to = sender.to
    denied = to.deny.that_holds(address)
    if denied is not None:
        return _key(sender, f"to.deny: {denied}")
    if to.allow is None:
        return ""
    allowed = to.allow.that_holds(address)
    return _key(sender, f"to.allow: {allowed}" if allowed else "to.allow")


def _limits(sender: Sender) -> str:
    limits = sender.limits
    words = [f"at most {limits.message_size} octets"]
    if limits.rate is not None:
        words.append(f"{limits.rate.of('messages')} (burst {limits.burst})")
    words += [rate.of("recipients") for rate in limits.recipients]
    if len(words) > 1:
        is_paced = limits.over_limit is OverLimit.PACE
        words.append("above that sent later" if is_paced else "above that refused")
    return ", ".join(words)


def _accept(sender: Sender) -> str:
    match sender.accept:
        case Accept.QUEUED:
            return "queued: 250 once it is safe in the spool"
        case Accept.RELAYED:
            return "relayed: 250 once SES has taken it; what SES refuses, the client keeps"
        case Accept.RELAYED_OR_QUEUED:
            return (
                f"relayed-or-queued: 250 once SES has taken it; else within {sender.patience:g} s"
            )
        case _:
            assert_never(sender.accept)


def _route(sender: Sender) -> str:
    route = sender.route
    words = [f"account {route.account}"]
    words += [
        f"{what} {value}"
        for what, value in (
            ("configuration set", route.configuration_set),
            ("tenant", route.tenant),
            ("From of", route.from_arn),
            ("reverse-path of", route.source_arn),
            ("feedback address of", route.return_path_arn),
        )
        if value
    ]
    if sender.ses_headers is not None:
        words.append(f"or as its {', '.join(sender.ses_headers.names)} say")
    return ", ".join(words)


def _mailbox(text: str) -> Address | AddressFault:
    try:
        return Address.parse(text)
    except AddressError as error:
        return error.fault


def _key(sender: Sender, key: str) -> str:
    return f"senders.{sender.name}.{key}"


def _refused(about: str, refusal: Refusal, rule: str) -> Step:
    return Step(about, f"refused: {refusal.reply}", rule, refusal)
