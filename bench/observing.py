"""What metrics and log lines cost per message: the facts of a mail, a hundred thousand times.

`python -m bench.observing`; fails above the budget of 0.06 ms. All CPU of the process counts, that
of the thread that writes the log included. Side by side: without log lines, with hashed addresses,
and what a scrape costs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import AccountName, Envelope, Mail, QueueId, SenderName
from relay.mail.outcome import Relayed
from relay.observe.logs import LogFormat, make_logger
from relay.observe.maillog import MailLog
from relay.observe.masking import Mask
from relay.observe.metrics import Metrics
from relay.observe.recent import Recent
from relay.observe.sink import LogWriter

BUDGET: Final = 0.06  # ms
SENDERS: Final = 50
# Messages in one group commit, as at ten clients.
_BATCH: Final = 10


def told(level: str, messages: int, mask: Mask | None = None) -> float:
    """Return the CPU in milliseconds per message."""
    with Path("/dev/null").open("wb") as nowhere:
        writer = LogWriter(nowhere)
        metrics = Metrics()
        account, senders = (
            AccountName("main"),
            [SenderName(f"app{number}") for number in range(SENDERS)],
        )
        metrics.know_listeners(["submission"])
        metrics.know_accounts([account])
        metrics.usage.know_senders(senders)
        logger = make_logger(level, LogFormat.JSON, writer, recent=Recent(), mask=mask)
        facts, now = MailLog(logger, metrics), datetime.now(UTC)
        jane = Address("jane", "example.net")
        envelope = Envelope(Address("app", "example.com"), (jane,))
        settled = Settled(Relayed("0102018f3c2a7b1e-5f0e8a1c-0000-000000"), None)
        began = time.process_time()
        for number in range(messages):
            mail = Mail(
                QueueId("06H04YCY58GVCD1MB7KG"), senders[number % SENDERS], envelope, now, 4096
            )
            facts.accepted("s1", "submission", mail, 0.001)
            facts.attempted(account, mail, (jane,), settled.outcome, 0.05)
            facts.settled(account, mail, jane, settled, now)
            if number % _BATCH == 0:
                facts.spool_committed(_BATCH, 0.002)
            if number % 1000 == 0:
                # As much as a socket would: the writer is to have its turn.
                time.sleep(0.001)
        writer.close()
        spent = time.process_time() - began
        if writer.dropped:
            raise SystemExit(f"bench: {writer.dropped} lines were dropped: nothing was measured")
    return spent / messages * 1000


def scraped() -> float:
    """Return the CPU in milliseconds of one scrape."""
    metrics = Metrics()
    metrics.know_listeners(["submission", "smtps", "legacy"])
    metrics.know_accounts([AccountName("main")])
    metrics.usage.know_senders([SenderName(f"app{number}") for number in range(SENDERS)])
    began = time.process_time()
    for _ in range(20):
        metrics.exposition()
    return (time.process_time() - began) / 20 * 1000


def main() -> int:
    """Measure and tell; return 1 above the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()

    def least(measured: Callable[[], float]) -> float:
        return min(measured() for _ in range(asked.runs))

    both = least(lambda: told("info", asked.messages))
    figures = {
        "metrics and two log lines": f"{both:.4f} ms a message (budget {BUDGET})",
        "metrics alone": f"{least(lambda: told('error', asked.messages)):.4f} ms a message",
        "with hashed addresses": (
            f"{least(lambda: told('info', asked.messages, Mask(b'k' * 32))):.4f} ms a message"
        ),
        "a scrape": f"{least(scraped):.1f} ms",
    }
    for what, figure in figures.items():
        print(f"{what:<28}{figure}")
    return int(both > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
