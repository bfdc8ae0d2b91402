"""PLAIN and LOGIN as the clients there are speak them."""

from __future__ import annotations

from base64 import b64encode

import pytest

from relay.smtp.sasl import MECHANISMS, Credentials, ExchangeError


def b64(text: str) -> bytes:
    return b64encode(text.encode("latin-1"))


def exchange(mechanism: str, initial: bytes | None, *lines: bytes) -> tuple[list[bytes], object]:
    """Return the challenges, and the credentials or the reply that ended the exchange."""
    steps = MECHANISMS[mechanism](initial)
    said: list[bytes] = []
    waiting = list(lines)
    try:
        said.append(next(steps))
        while True:
            said.append(steps.send(waiting.pop(0)))
    except StopIteration as end:
        assert not waiting
        return said, end.value
    except ExchangeError as error:
        return said, str(error.reply)


PROVEN = Credentials("billing", b"swordfish")


@pytest.mark.parametrize(
    ("mechanism", "initial", "lines", "said"),
    [
        ("PLAIN", b64("\0billing\0swordfish"), [], []),
        ("PLAIN", b64("billing\0billing\0swordfish"), [], []),
        ("PLAIN", None, [b64("\0billing\0swordfish")], [b"334 \r\n"]),
        (
            "LOGIN",
            None,
            [b64("billing"), b64("swordfish")],
            [b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n"],
        ),
        # .NET and Outlook send the user name along.
        ("LOGIN", b64("billing"), [b64("swordfish")], [b"334 UGFzc3dvcmQ6\r\n"]),
    ],
)
def test_credentials_come_out(
    mechanism: str, initial: bytes | None, lines: list[bytes], said: list[bytes]
) -> None:
    assert exchange(mechanism, initial, *lines) == (said, PROVEN)


@pytest.mark.parametrize(
    ("mechanism", "initial", "lines"),
    [
        ("PLAIN", b"*", []),
        ("PLAIN", None, [b"*"]),
        ("LOGIN", None, [b"*"]),
        ("LOGIN", b64("billing"), [b"*"]),
    ],
)
def test_a_star_cancels(mechanism: str, initial: bytes | None, lines: list[bytes]) -> None:
    assert exchange(mechanism, initial, *lines)[1] == "501 5.5.2 Authentication cancelled"


@pytest.mark.parametrize(
    ("mechanism", "initial", "lines"),
    [
        ("PLAIN", b"not base64", []),
        ("PLAIN", b"AGJpbGxpbmcAc3dvcmRmaXNo=", []),
        ("PLAIN", b"AGJpbGxpbmcAc3dvcmRmaXN", []),
        ("PLAIN", b"", []),
        ("PLAIN", b"=", []),
        ("PLAIN", b64("billing\0swordfish"), []),
        ("PLAIN", b64("\0billing\0sword\0fish"), []),
        ("LOGIN", None, [b"\xff\xff"]),
    ],
)
def test_what_is_not_of_the_mechanism_is_said(
    mechanism: str, initial: bytes | None, lines: list[bytes]
) -> None:
    answer = exchange(mechanism, initial, *lines)[1]
    assert isinstance(answer, str)
    assert answer.startswith("501 5.5.2 ")


def test_nobody_may_act_for_another() -> None:
    assert exchange("PLAIN", b64("boss\0billing\0swordfish"))[1] == Credentials(None, b"swordfish")


def test_a_login_that_is_not_text_is_nobodys() -> None:
    assert exchange("PLAIN", b64("\0\xff\xfe\0swordfish"))[1] == Credentials(None, b"swordfish")


def test_a_password_does_not_show() -> None:
    assert "swordfish" not in repr(PROVEN)
