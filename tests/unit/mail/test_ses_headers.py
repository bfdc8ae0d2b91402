"""X-SES fields: what each may say, and what is refused rather than guessed."""

from __future__ import annotations

import pytest

from relay.mail.ses_headers import (
    NOTHING_ASKED,
    RESERVED_TAGS,
    SES_HEADERS,
    SesHeaderError,
    SesHeaders,
    of_text,
)

ARN = "arn:aws:ses:eu-west-1:123456789012:identity/example.com"
ALL = SesHeaders(
    configuration_set="bulk_2",
    tags=(("app", "shop"), ("run", "7")),
    source_arn=ARN,
    from_arn=f"{ARN}.au",
    return_path_arn=f"{ARN}.nz",
    contact_list="readers",
    topic="news",
    tenant="acme",
)


def test_nothing_is_asked_by_no_field() -> None:
    assert SesHeaders.read([]) == NOTHING_ASKED
    assert not NOTHING_ASKED
    assert not list(NOTHING_ASKED.fields())
    assert not NOTHING_ASKED.text()


@pytest.mark.parametrize("asked", [ALL, SesHeaders(tags=(("a", "b"),)), SesHeaders(tenant="x")])
def test_what_is_asked_is_read_back_from_its_text(asked: SesHeaders) -> None:
    assert asked
    assert of_text(asked.text()) == asked
    assert SesHeaders.read(asked.fields()) == asked
    assert {name for name, _ in asked.fields()} <= set(SES_HEADERS)


@pytest.mark.parametrize(
    "value",
    ["app=shop,run=7", " app = shop ,\trun\t=\t7 ", "app=shop, run=7"],
)
def test_blanks_around_tags_mean_nothing(value: str) -> None:
    assert SesHeaders.read([("X-SES-MESSAGE-TAGS", value)]).tags == ALL.tags


@pytest.mark.parametrize(
    "value", ["readers; topic=news", "readers;topic = news", " readers ;topic=news"]
)
def test_a_list_may_name_a_topic(value: str) -> None:
    asked = SesHeaders.read([("X-SES-LIST-MANAGEMENT-OPTIONS", value)])
    assert (asked.contact_list, asked.topic) == ("readers", "news")
    assert SesHeaders.read([("X-SES-LIST-MANAGEMENT-OPTIONS", "readers")]).topic == ""


SYNTAX = "holds letters, digits, '-' and '_' only"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("X-SES-CONFIGURATION-SET", "", f"X-SES-CONFIGURATION-SET {SYNTAX}, 64 at most"),
        ("X-SES-CONFIGURATION-SET", "a b", f"X-SES-CONFIGURATION-SET {SYNTAX}, 64 at most"),
        ("X-SES-CONFIGURATION-SET", "a" * 65, f"X-SES-CONFIGURATION-SET {SYNTAX}, 64 at most"),
        ("X-SES-TENANT", "acme/1", f"X-SES-TENANT {SYNTAX}, 64 at most"),
        ("X-SES-FROM-ARN", "example.com", "X-SES-FROM-ARN is the ARN of an SES identity"),
        ("X-SES-SOURCE-ARN", f"{ARN} x", "X-SES-SOURCE-ARN is the ARN of an SES identity"),
        (
            "X-SES-LIST-MANAGEMENT-OPTIONS",
            "readers; subject=x",
            "X-SES-LIST-MANAGEMENT-OPTIONS is written list or list; topic=name",
        ),
        ("X-SES-MESSAGE-TAGS", "", "tag 1: a tag is written name=value, with commas between tags"),
        ("X-SES-MESSAGE-TAGS", "a=1, b", "tag 2: a tag is written name=value"),
        ("X-SES-MESSAGE-TAGS", "a=1,", "tag 2: a tag is written name=value"),
        ("X-SES-MESSAGE-TAGS", "a=1; b=2", f"tag 1: the value {SYNTAX}, 256 at most"),
        ("X-SES-MESSAGE-TAGS", "a=", f"tag 1: the value {SYNTAX}, 256 at most, and is not empty"),
        ("X-SES-MESSAGE-TAGS", "=a", f"tag 1: the name {SYNTAX}"),
        ("X-SES-MESSAGE-TAGS", "ses:from=a", f"tag 1: the name {SYNTAX}"),
        ("X-SES-MESSAGE-TAGS", "a=1=2", f"tag 1: the value {SYNTAX}"),
        ("X-SES-MESSAGE-TAGS", "a=" + "b" * 257, f"tag 1: the value {SYNTAX}"),
        ("X-SES-MESSAGE-TAGS", "a=b\u0663", f"tag 1: the value {SYNTAX}"),
        ("X-SES-MESSAGE-TAGS", "a=1, a=2", "tag 2: its name is there already"),
        *(("X-SES-MESSAGE-TAGS", f"{name}=x", "the relay itself sets") for name in RESERVED_TAGS),
    ],
)
def test_what_cannot_be_read_is_told_and_not_repeated(
    name: str, value: str, complaint: str
) -> None:
    with pytest.raises(SesHeaderError) as caught:
        SesHeaders.read([(name, value)])
    assert complaint in str(caught.value)
    assert name in str(caught.value)
    assert len(value) < 3 or value not in str(caught.value)


def test_a_field_that_is_there_twice_is_refused() -> None:
    twice = [("X-SES-TENANT", "a"), ("X-SES-TENANT", "a")]
    with pytest.raises(SesHeaderError, match="X-SES-TENANT is there more than once"):
        SesHeaders.read(twice)


@pytest.mark.P5
@pytest.mark.parametrize("text", ["X-SES-TENANT:acme", "X-SES-TENANT: ac me", "Y: 1", "\n"])
def test_a_text_that_was_damaged_is_not_believed(text: str) -> None:
    with pytest.raises(SesHeaderError):
        of_text(text)
