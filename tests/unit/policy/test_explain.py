"""explain asks the functions that decide, and names the rule that decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from relay.mail.address import Address
from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.admission import Auth
from relay.policy.explain import Question, Step, explain
from relay.policy.patterns import AddressPatterns
from relay.policy.rewrite import Rewrite
from relay.policy.sender import Accept, Destinations, Limits, OnSuppressed, OverLimit, Rate, host_of
from relay.policy.ses_headers import HeededHeaders
from tests.builders import a_ruleset, a_sender

BOUNCED = Address.parse("bounced@example.net")
PRINTERS = replace(
    a_sender("printers"),
    networks=(ip_network("10.20.0.0/16"),),
    allowed_from=AddressPatterns(("scanner@example.com", "@.example.com")),
    to=Destinations(AddressPatterns(("@example.net",)), AddressPatterns(("boss@example.net",))),
)
BILLING = replace(
    a_sender(),
    login="billing",
    on_suppressed=OnSuppressed.DROP,
    rewrite=Rewrite(reverse_path=Address.parse("b@example.com"), author="b@example.com"),
    limits=Limits(1000, Rate(10, 1.0), 50, OverLimit.REFUSE, recipients=(Rate(5000, 86_400.0),)),
)
RULESET = a_ruleset(PRINTERS, BILLING)
AT_A_PRINTER = Question(host=host_of("10.20.0.1"), auth=Auth.OFF)
AS_BILLING = Question(
    host=host_of("192.0.2.1"), auth=Auth.REQUIRED, proven=BILLING, proof="login: billing"
)


def suppressed(address: Address, _sender: object) -> Suppression | None:
    if address != BOUNCED:
        return None
    return Suppression(
        str(address), SuppressionReason.BOUNCE, "no such user", datetime(2026, 1, 2, tzinfo=UTC)
    )


def _short(step: Step) -> str:
    return step.outcome if step.refusal is None else f"refused: {str(step.refusal.reply)[:9]}"


def answers(question: Question) -> list[str]:
    return [
        f"{step.about}: {_short(step)} [{step.rule}]"
        for step in explain(RULESET, question, suppressed)
        if step.about not in ("limits", "accept", "route")
    ]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (AT_A_PRINTER, "sender: printers [senders.printers.networks: 10.20.0.0/16]"),
        (AS_BILLING, "sender: billing [senders.billing.login: billing]"),
        (
            replace(AT_A_PRINTER, host=host_of("192.0.2.1")),
            "sender: refused: 550 5.7.1 [listener auth: off]",
        ),
        (
            replace(AT_A_PRINTER, auth=Auth.REQUIRED),
            "sender: refused: 530 5.7.0 [listener auth: required]",
        ),
        (
            replace(AT_A_PRINTER, reverse_path="scanner@example.com"),
            "reverse-path: scanner@example.com [senders.printers.from: scanner@example.com]",
        ),
        (
            replace(AT_A_PRINTER, reverse_path="x@a.example.com"),
            "reverse-path: x@a.example.com [senders.printers.from: @.example.com]",
        ),
        (
            replace(AT_A_PRINTER, reverse_path=""),
            "reverse-path: refused: 550 5.7.1 [senders.printers.from]",
        ),
        (
            replace(AS_BILLING, reverse_path="root"),
            "reverse-path: b@example.com [senders.billing.rewrite.reverse_path]",
        ),
        (
            replace(AT_A_PRINTER, author="Scanner <scanner@example.com>"),
            "author: Scanner <scanner@example.com> [senders.printers.from]",
        ),
        (
            replace(AT_A_PRINTER, author="x@evil.example"),
            "author: refused: 550 5.7.1 [senders.printers.from]",
        ),
        (
            replace(AT_A_PRINTER, author="two\r\nlines"),
            "author: refused: 550 5.6.0 [senders.printers.from]",
        ),
        (
            replace(AS_BILLING, author="root"),
            "author: b@example.com [senders.billing.rewrite.from]",
        ),
        (
            replace(AT_A_PRINTER, recipients=("jane@example.net",)),
            "recipient: jane@example.net [senders.printers.to.allow: @example.net]",
        ),
        (
            replace(AT_A_PRINTER, recipients=("boss@example.net",)),
            "recipient: refused: 550 5.7.1 [senders.printers.to.deny: boss@example.net]",
        ),
        (
            replace(AT_A_PRINTER, recipients=("jane@example.org",)),
            "recipient: refused: 550 5.7.1 [senders.printers.to.allow]",
        ),
        (
            replace(AT_A_PRINTER, recipients=("bounced@example.net",)),
            "recipient: refused: 550 5.1.1 [the suppression list]",
        ),
        (
            replace(AS_BILLING, recipients=("bounced@example.net",)),
            "recipient: accepted and not mailed [senders.billing.suppression: drop]",
        ),
        (replace(AS_BILLING, recipients=("jane",)), "recipient: refused: 553 5.1.3 []"),
        (replace(AS_BILLING, recipients=("jane@example.net",)), "recipient: jane@example.net []"),
    ],
)
def test_the_rule_that_decided_is_named(question: Question, expected: str) -> None:
    assert answers(question)[-1] == expected


def test_nothing_is_said_after_a_refusal_but_of_other_recipients() -> None:
    question = replace(AT_A_PRINTER, reverse_path="", author="x", recipients=("jane@example.net",))
    assert len(list(explain(RULESET, question, suppressed))) == 2
    question = replace(AT_A_PRINTER, recipients=("boss@example.net", "jane@example.net"))
    assert [step.about for step in explain(RULESET, question, suppressed)] == [
        "sender",
        "recipient",
        "recipient",
        "limits",
        "accept",
        "route",
    ]
    question = replace(AT_A_PRINTER, recipients=("boss@example.net",))
    assert [step.about for step in explain(RULESET, question, suppressed)] == [
        "sender",
        "recipient",
    ]


def test_limits_and_route_are_told() -> None:
    *_, limits, accept, route = explain(RULESET, AS_BILLING, suppressed)
    assert limits.outcome == (
        "at most 1000 octets, 10 messages per second (burst 50), 5000 recipients per day, "
        "above that refused"
    )
    assert accept.outcome == "queued: 250 once it is safe in the spool"
    assert route.outcome == "account main"
    lent = replace(
        BILLING, route=replace(BILLING.route, configuration_set="c", tenant="t", from_arn="arn:x")
    )
    *_, route = explain(a_ruleset(lent), replace(AS_BILLING, proven=lent), suppressed)
    assert route.outcome == "account main, configuration set c, tenant t, From of arn:x"


@pytest.mark.parametrize(
    ("accept", "words"),
    [
        (Accept.RELAYED, "relayed: 250 once SES has taken it; what SES refuses, the client keeps"),
        (
            Accept.RELAYED_OR_QUEUED,
            "relayed-or-queued: 250 once SES has taken it; else within 20 s",
        ),
    ],
)
def test_what_a_250_means_is_told(accept: Accept, words: str) -> None:
    sender = replace(BILLING, accept=accept)
    question = replace(AS_BILLING, proven=sender)
    *_, step, _ = explain(a_ruleset(sender), question, suppressed)
    assert (step.outcome, step.rule) == (words, "senders.billing.accept")


def test_mail_that_is_redirected_goes_nowhere_else() -> None:
    staging = replace(BILLING, redirect_all=Address.parse("staging@example.com"))
    question = replace(AS_BILLING, proven=staging, recipients=("bounced@example.net",))
    step = list(explain(a_ruleset(staging), question, suppressed))[1]
    assert step.outcome == "staging@example.com"
    assert step.rule == "senders.billing.redirect_all"


def test_the_route_says_by_which_fields_a_mail_may_choose_another() -> None:
    heeded = HeededHeaders(("X-SES-CONFIGURATION-SET", "X-SES-MESSAGE-TAGS"))
    ruleset = a_ruleset(replace(PRINTERS, ses_headers=heeded))
    *_, route = explain(ruleset, AT_A_PRINTER, suppressed)
    assert route.outcome == (
        "account main, or as its X-SES-CONFIGURATION-SET, X-SES-MESSAGE-TAGS say"
    )
