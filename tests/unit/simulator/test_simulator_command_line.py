"""The simulator as a process."""

from __future__ import annotations

import asyncio
import signal
import sys

import aiohttp
import pytest

from relay.simulator.__main__ import parse_settings
from relay.simulator.settings import Credential, Settings


def test_without_arguments_the_defaults_hold() -> None:
    assert parse_settings([]) == Settings()


def test_every_argument_is_a_setting() -> None:
    arguments = (
        "--host ::1 --port 8005 --region us-east-1 --identity a.example --identity b@c.example "
        "--configuration-set x --configuration-set y --max-send-rate 2.5 --daily-quota -1 "
        "--sandbox --webhook http://127.0.0.1:9588/events "
        "--topic arn:aws:sns:us-east-1:123456789012:t --access-key AKIA --secret-key secret"
    )
    assert parse_settings(arguments.split()) == Settings(
        host="::1",
        port=8005,
        region="us-east-1",
        identities=frozenset({"a.example", "b@c.example"}),
        configuration_sets=frozenset({"x", "y"}),
        max_send_rate=2.5,
        daily_quota=-1,
        sandbox=True,
        webhook="http://127.0.0.1:9588/events",
        topic="arn:aws:sns:us-east-1:123456789012:t",
        credentials=(Credential(access_key="AKIA", secret_key="secret"),),
    )


@pytest.mark.parametrize("arguments", [["--port", "x"], ["--max-send-rate", "0"], ["--no"]])
def test_a_wrong_argument_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_settings(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_says_where_it_is_and_stops_when_told(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "relay.simulator",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    url = line.removeprefix("ses simulator ready at ").strip()
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_simulator/messages") as got:
        assert await got.json() == []
    process.send_signal(number)
    rest, complaints = await process.communicate()
    assert (process.returncode, rest, complaints) == (0, b"", b"")
