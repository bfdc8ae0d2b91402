"""The form body of a query call."""

from __future__ import annotations

import re
from urllib.parse import quote_plus, urlencode

from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.form import Form


def test_fields_are_read_as_text_and_as_octets() -> None:
    form = Form(b"Action=SendRawEmail&Source=a%40b.c&Name=J%C3%B6rg+K&Empty=&&=lost")
    assert form.text("Action") == "SendRawEmail"
    assert form.text("Source") == "a@b.c"
    assert form.text("Name") == "Jörg K"
    assert form.text("Empty") == ""
    assert form.octets("Source") == b"a@b.c"
    assert form.text("Absent") is None
    assert form.octets("Absent") is None


def test_a_field_given_twice_keeps_its_first_value() -> None:
    assert Form(b"A=1&A=2").text("A") == "1"


def test_lists_end_at_the_first_gap() -> None:
    form = Form(b"D.member.2=b&D.member.1=a&D.member.4=lost")
    assert list(form.members("D")) == ["a", "b"]
    assert list(form.members("E")) == []


def test_a_pair_may_lack_its_value() -> None:
    form = Form(b"T.member.1.Name=n&T.member.1.Value=v&T.member.2.Name=m&T.member.3.Value=w")
    assert list(form.pairs("T")) == [("n", "v"), ("m", ""), ("", "w")]


@given(st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=40), max_size=5))
def test_what_a_client_encodes_is_read_back(fields: dict[str, str]) -> None:
    form = Form(urlencode(fields).encode())
    assert {name: form.text(name) for name in fields} == fields


@given(st.binary(max_size=60))
def test_octets_survive_however_they_are_escaped(octets: bytes) -> None:
    upper = quote_plus(octets)
    lower = re.sub("%..", lambda escape: escape.group().lower(), upper)
    for value in (upper, lower):
        assert Form(b"D=" + value.encode()).octets("D") == octets


@given(st.binary(max_size=60))
def test_no_body_is_too_broken_to_be_read(body: bytes) -> None:
    Form(body).text("Action")
