"""`relay demo`: the whole story, told live, and a Ctrl-C that drains."""

from __future__ import annotations

import asyncio
import re
import smtplib
from pathlib import Path
from signal import SIGINT

import pytest

from tests.system.house import CLI, ROOT, environment, run

MAIL = "From: app@example.com\nSubject: Hello\n\nHi!\n"


class Story:
    """A running demo and the lines it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def told(self, pattern: str) -> re.Match[str]:
        """Return the first match of the pattern in a line from now on."""
        assert self.process.stdout is not None
        while True:
            raw = await self.process.stdout.readline()
            assert raw, f"the story ended without {pattern!r}:\n" + "".join(self.lines)
            line = raw.decode()
            self.lines.append(line)
            if match := re.search(pattern, line):
                return match


def send(port: int, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("app@example.com", [recipient], MAIL)


async def test_a_newcomer_watches_mail_travel(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *CLI,
        "demo",
        "--smtp-port",
        "0",
        cwd=ROOT,
        env=environment(AWS_ACCESS_KEY_ID="not used", HOME=str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    story = Story(process)
    port = int((await story.told(r"The relay listens on 127\.0\.0\.1:(\d+)"))[1])
    command = (await story.told(r"^  (\S*python\S* -c .*)$"))[1]

    # The command it prints is run as it stands.
    code, said = await run("sh", "-c", command)
    assert code == 0, said
    name = (await story.told(r"^accepted +(\w{20}) from app@example\.com to success@"))[1]
    await story.told(rf"^relayed +{name} to success@\S+: SES took it as \S+-000000")
    await story.told(rf"^delivered +{name} success@simulator")

    await asyncio.to_thread(send, port, "bounce@simulator.amazonses.com")
    await story.told(r"^bounced +\w{20} bounce@\S+: smtp; 550 5\.1\.1")
    await story.told(r"^suppressed +bounce@\S+ will be refused")
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"5\.1\.1 Suppressed since"):
        await asyncio.to_thread(send, port, "bounce@simulator.amazonses.com")
    await story.told(r"^refused .*RCPT bounce@\S+: 550 5\.1\.1 Suppressed since")

    await asyncio.to_thread(send, port, "complaint@simulator.amazonses.com")
    await story.told(r"^complained +\w{20} complaint@")
    await story.told(r"^suppressed +complaint@")

    process.send_signal(SIGINT)
    await story.told(r"^draining ")
    await story.told(r"^stopped ")
    assert await process.wait() == 0
