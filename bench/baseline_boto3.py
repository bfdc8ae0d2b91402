"""What one writes in an afternoon: aiosmtpd in front, boto3 behind, nothing durable.

Run as `python -m bench.baseline_boto3 SMTP_PORT SES_URL`. SES is asked before the 250, in threads,
as well as this can be done with the two libraries as they come.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import uvloop
from aiosmtpd.smtp import SMTP
from botocore.config import Config

LANES = 10


class Handler:
    """Sends each message through SES and answers with its message id."""

    def __init__(self, url: str) -> None:
        self._lanes = ThreadPoolExecutor(LANES)
        self._ses = boto3.client(
            "ses",
            region_name="eu-west-1",
            endpoint_url=url,
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
            config=Config(
                max_pool_connections=LANES, retries={"total_max_attempts": 1, "mode": "standard"}
            ),
        )

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Take the content onward."""

        def send() -> str:
            answer = self._ses.send_raw_email(
                Source=envelope.mail_from,
                Destinations=envelope.rcpt_tos,
                RawMessage={"Data": envelope.content},
            )
            return str(answer["MessageId"])

        message_id = await asyncio.get_running_loop().run_in_executor(self._lanes, send)
        return f"250 Ok {message_id}"


async def main(port: int, url: str) -> None:
    """Serve until killed."""
    handler = Handler(url)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="bench", data_size_limit=64 << 20), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
