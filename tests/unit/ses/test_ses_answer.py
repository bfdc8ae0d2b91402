"""What SES's answers are taken for."""

from __future__ import annotations

import pytest

from relay.policy.verdict import Accepted, Answer, Broken, Refused, Stage
from relay.ses import answer as v1
from relay.ses import answer_v2 as v2
from relay.ses.http1 import Response
from tests.unit.ses.service import REFUSED, TAKEN


def read_answer(status: int, body: bytes) -> Answer:
    return v1.read(Response(status, {}, body, keeps_alive=True))


def read_answer_v2(status: int, body: bytes, error_type: bytes | None = None) -> Answer:
    fields = {} if error_type is None else {b"x-amzn-errortype": error_type}
    return v2.read(Response(status, fields, body, keeps_alive=True))


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


# --- v2 -------------------------------------------------------------------------------------------


def test_v2_a_message_id_means_taken() -> None:
    body = f'{{"MessageId":"{MESSAGE_ID}"}}'.encode()
    assert read_answer_v2(200, body) == Accepted(MESSAGE_ID)


@pytest.mark.P3
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"null",
        b"[]",
        b"{}",
        b'{"MessageId": null}',
        b'{"MessageId": 7}',
        b'{"MessageId": ""}',
        b'{"MessageId": "two words"}',
        b'{"MessageId": "x',
        b'{"message": "no"}',
        b"[" * 100_000,
        b'{"MessageId": "\xff"}',
    ],
)
def test_v2_a_success_without_a_message_id_is_no_answer(body: bytes) -> None:
    answer = read_answer_v2(200, body)
    assert answer == Broken(Stage.NO_ANSWER, "HTTP 200 without a message id")


@pytest.mark.parametrize(
    ("status", "named", "body", "code", "text"),
    [
        (429, b"TooManyRequestsException", b'{"message":"slow"}', "TooManyRequestsException", "slow"),
        (
            400,
            b"com.amazonaws.ses.v2#BadRequestException:http://internal.amazon.com/coral/",
            b'{"message":"Duplicate header \'X\'."}',
            "BadRequestException",
            "Duplicate header 'X'.",
        ),
        (403, b"AccessDeniedException", b'{"Message":"User x\\n is not"}', "AccessDeniedException", "User x is not"),
        (404, None, b'{"__type":"a#NotFoundException","message":"m"}', "NotFoundException", "m"),
        (400, None, b'{"code":"MessageRejected","message":null}', "MessageRejected", ""),
        (500, b"InternalFailure", b"", "InternalFailure", ""),
        (502, b"", b"<html><title>Bad gateway</title></html>", "", "Bad gateway"),
        (403, None, b'{"message":"Forbidden"}', "", '{"message":"Forbidden"}'),
        (400, b"not a code!", b"", "", "no explanation"),
        (301, None, b"", "", "no explanation"),
    ],
)  # fmt: skip
def test_v2_an_error_is_read(
    status: int, named: bytes | None, body: bytes, code: str, text: str
) -> None:
    assert read_answer_v2(status, body, named) == Refused(status, code, text)
