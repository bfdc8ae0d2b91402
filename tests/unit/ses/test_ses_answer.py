"""What SES's answers are taken for."""

from __future__ import annotations

import pytest

from relay.policy.verdict import Accepted, Broken, Refused, Stage
from relay.ses.answer import read_answer
from tests.unit.ses.service import REFUSED, TAKEN

MESSAGE_ID = "0102018f3a2b4c5d-12345678-90ab-cdef-1234-567890abcdef-000000"


def test_a_message_id_means_taken() -> None:
    assert read_answer(200, TAKEN.format(MESSAGE_ID).encode()) == Accepted(MESSAGE_ID)
    assert read_answer(200, TAKEN.format(f"\n {MESSAGE_ID} ").encode()) == Accepted(MESSAGE_ID)
    assert read_answer(200, TAKEN.format("a&amp;b").encode()) == Accepted("a&b")


@pytest.mark.P3
@pytest.mark.parametrize(
    "body",
    [
        "",
        "ok",
        "<html>welcome</html>",
        TAKEN.format(""),
        TAKEN.format("  "),
        TAKEN.format("two words"),
        TAKEN.format("ü"),
        TAKEN.format("x" * 257),
        TAKEN.format("<b/>"),
        REFUSED.format("Throttling", "no"),
    ],
)
def test_a_success_without_a_message_id_is_no_answer(body: str) -> None:
    answer = read_answer(200, body.encode())
    assert answer == Broken(Stage.NO_ANSWER, "HTTP 200 without a message id")


@pytest.mark.parametrize(
    ("status", "code", "message", "text"),
    [
        (400, "Throttling", "Maximum sending rate exceeded.", "Maximum sending rate exceeded."),
        (400, "InvalidParameterValue", "Duplicate header &apos;X&apos;.", "Duplicate header 'X'."),
        (
            400,
            "InvalidParameterValue",
            "Missing &lt;a&#64;b&gt; &quot;&#x40;&amp;lt;",
            'Missing <a@b> "@&lt;',
        ),
        (403, "AccessDenied", "User `x'\n is not\tauthorized", "User `x' is not authorized"),
        (400, "MessageRejected", "&#1114112;&#x110000;&unknown;", "\ufffd\ufffd&unknown;"),
        (400, "MessageRejected", "", ""),
        (500, "InternalFailure", "Gr\xfc\xdfe", "Gr\xfc\xdfe"),
    ],
)
def test_an_error_is_read(status: int, code: str, message: str, text: str) -> None:
    body = REFUSED.format(code, message).encode()
    assert read_answer(status, body) == Refused(status, code, text)


def test_an_error_may_be_pretty_printed_or_bear_no_message() -> None:
    body = (
        b"<ErrorResponse>\n <Error>\n  <Code>\n   Throttling\n  </Code>\n </Error></ErrorResponse>"
    )
    assert read_answer(400, body) == Refused(400, "Throttling", "")


def test_an_error_named_by_its_root_is_read() -> None:
    body = b"<AccessDeniedException>\n  <Message>Unable to determine service</Message>\n</AccessDeniedException>"
    assert read_answer(403, body) == Refused(
        403, "AccessDeniedException", "Unable to determine service"
    )
    body = b'<?xml version="1.0"?>\n<SerializationException/>'
    assert read_answer(400, body) == Refused(400, "SerializationException", "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b"<html>\r\n<head><title>413 Request Entity Too Large</title></head></html>",
            "413 Request Entity Too Large",
        ),
        (b'{"message":"Forbidden"}', '{"message":"Forbidden"}'),
        (b"\x00\x01\xff Bad\r\n gateway \x7f", "Bad gateway"),
        (b"", "no explanation"),
        (b"\xff" * 5000, "no explanation"),
        (b"<Code>not a code!</Code>", "not a code!"),
    ],
)
def test_a_foreign_error_is_told_in_its_first_printable_words(body: bytes, words: str) -> None:
    assert read_answer(502, body) == Refused(502, "", words)


def test_a_redirect_is_a_refusal() -> None:
    assert read_answer(301, b"") == Refused(301, "", "no explanation")
