"""`python -m relay.simulator`: the simulator as a process of its own, for staging.

Reads the command line and waits for a signal. Prints one line when it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from relay.simulator.settings import DEMO_CREDENTIAL, Credential, Settings
from relay.simulator.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_settings(arguments: Sequence[str]) -> Settings:
    """The settings that a command line asks for."""
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m relay.simulator", description="A local Amazon SES and SNS."
    )
    parser.add_argument("--host", default=default.host)
    parser.add_argument("--port", type=int, default=default.port, help="0 takes any free port")
    parser.add_argument("--region", default=default.region)
    parser.add_argument(
        "--identity", action="append", help="a verified domain or address; repeatable"
    )
    parser.add_argument("--configuration-set", action="append", help="repeatable")
    parser.add_argument(
        "--max-send-rate", type=float, default=default.max_send_rate, help="-1 is unlimited"
    )
    parser.add_argument(
        "--daily-quota", type=int, default=default.daily_quota, help="-1 is unlimited"
    )
    parser.add_argument("--sandbox", action="store_true")
    parser.add_argument("--webhook", metavar="URL", help="subscribe this endpoint at start")
    parser.add_argument("--topic", metavar="ARN", help="the topic that events are published to")
    parser.add_argument("--access-key", default=DEMO_CREDENTIAL.access_key)
    parser.add_argument("--secret-key", default=DEMO_CREDENTIAL.secret_key)
    given = parser.parse_args(arguments)
    try:
        return Settings(
            host=given.host,
            port=given.port,
            region=given.region,
            identities=frozenset(given.identity or default.identities),
            configuration_sets=frozenset(given.configuration_set or default.configuration_sets),
            max_send_rate=given.max_send_rate,
            daily_quota=given.daily_quota,
            sandbox=given.sandbox,
            webhook=given.webhook,
            topic=given.topic,
            credentials=(Credential(access_key=given.access_key, secret_key=given.secret_key),),
        )
    except ValueError as error:
        parser.error(str(error))


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Simulator(settings) as simulator:
        sys.stdout.write(f"ses simulator ready at {simulator.url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(parse_settings(sys.argv[1:])))
