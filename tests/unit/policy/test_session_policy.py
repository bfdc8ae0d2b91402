"""The session of a role may send as the addresses of its senders, read its quota, and no more."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.address import Address
from relay.policy.patterns import AddressPatterns
from relay.policy.session_policy import POLICY_LIMIT, session_policy


def allows(text: str, address: str) -> bool:
    """Judge as IAM would: StringLike by case, StringEqualsIgnoreCase not."""
    return any(
        "ses:SendRawEmail" in one["Action"]
        and ("Condition" not in one or _holds(one["Condition"], address))
        for one in statements(text)
    )


def _holds(condition: dict[str, Any], address: str) -> bool:
    (operator, keys), *more = condition.items()
    assert not more, "two operators must both hold"
    wanted = keys["ses:FromAddress"]
    if operator == "StringEqualsIgnoreCase":
        return address.lower() in [one.replace("${$}", "$").lower() for one in wanted]
    assert operator == "StringLike"
    return any(fnmatchcase(address, one) for one in wanted)


def statements(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    assert document["Version"] == "2012-10-17"
    found: list[dict[str, Any]] = document["Statement"]
    for one in found:
        assert (one["Effect"], one["Resource"]) == ("Allow", "*")
        if "ses:SendRawEmail" in one["Action"]:
            assert one["Action"] == ["ses:SendRawEmail", "ses:SendEmail"]
        else:
            assert one["Action"] == ["ses:GetSendQuota", "ses:GetAccount"]
            assert "Condition" not in one
    return found


PATTERNS = ["billing@example.com", "@Invoices.example.com", "@.example.org", "a$b*c?@example.net"]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("billing@example.com", True),
        ("Billing@Example.COM", True),
        ("other@example.com", False),
        ("x@billing@example.com", False),
        ("any@invoices.example.com", True),
        ("any@Invoices.example.com", True),
        ("any@invoices.example.com.evil.example", False),
        ("any@sub.example.org", True),
        ("any@a.b.example.org", True),
        ("any@example.org", False),
        ("any@evilexample.org", False),
        ("a$b*c?@example.net", True),
        ("a$bxc!@example.net", False),
    ],
)
def test_it_allows_what_from_allows(address: str, *, allowed: bool) -> None:
    policy = session_policy(PATTERNS)
    assert allows(policy.text, address) is allowed
    assert policy.is_bound
    assert policy.widened == ()


def test_without_senders_nothing_may_be_sent() -> None:
    assert not allows(session_policy([]).text, "a@example.com")


def test_addresses_that_a_domain_holds_take_no_room() -> None:
    many = [f"user{number}@example.com" for number in range(1000)]
    assert session_policy([*many, "@example.com"]) == session_policy(["@example.com"])


def test_the_domain_with_the_most_addresses_is_widened_first_and_named() -> None:
    many = [f"user{number}@many.example" for number in range(100)]
    few = [f"user{number}@few.example" for number in range(10)]
    policy = session_policy([*few, *many])
    assert policy.widened == ("many.example",)
    assert len(policy.text) <= POLICY_LIMIT
    assert allows(policy.text, "anybody@many.example")
    assert allows(policy.text, "user3@few.example")
    assert not allows(policy.text, "anybody@few.example")


def test_more_domains_than_fit_leave_it_unbound() -> None:
    policy = session_policy([f"@domain{number}.example" for number in range(200)])
    assert not policy.is_bound
    assert allows(policy.text, "anybody@anywhere.example")


LOCAL = st.from_regex(r"[a-z0-9$*?+]{1,20}", fullmatch=True)
DOMAIN = st.from_regex(r"[a-z]{1,12}\.example", fullmatch=True)
PATTERN = st.one_of(
    st.builds("{}@{}".format, LOCAL, DOMAIN), st.builds("@{}".format, DOMAIN),
    st.builds("@.{}".format, DOMAIN),
)  # fmt: skip


@given(st.lists(PATTERN, max_size=150))
def test_it_always_fits_and_never_allows_less_than_from(patterns: list[str]) -> None:
    policy = session_policy(patterns)
    assert len(policy.text) <= POLICY_LIMIT
    for pattern in patterns:
        address = pattern if "@" not in pattern[:1] else f"x@y{pattern[1:]}"
        if AddressPatterns(tuple(patterns)).hold(Address.parse(address)):
            assert allows(policy.text, address)
