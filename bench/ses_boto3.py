"""boto3's way to SES alone: `python -m bench.ses_boto3 URL SIZE CALLS LANES`.

A thread a lane, as the library is used. Prints the CPU of a call in milliseconds.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

from bench.ses_sample import sample


def main(url: str, *, size: int, calls: int, lanes: int) -> None:
    """Measure and print."""
    content = sample(size)
    ses = boto3.client(
        "ses",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
        config=Config(
            max_pool_connections=lanes, retries={"total_max_attempts": 1, "mode": "standard"}
        ),
    )

    def lane(count: int) -> None:
        for _ in range(count):
            ses.send_raw_email(
                Source="bench@example.com",
                Destinations=["someone@example.net"],
                RawMessage={"Data": content},
                Tags=[{"Name": "relay-id", "Value": "06H04YCY58GVCD1MB7KG"}],
            )

    with ThreadPoolExecutor(lanes) as threads:
        list(threads.map(lane, [5] * lanes))
        before = time.process_time()
        list(threads.map(lane, [calls // lanes] * lanes))
        print((time.process_time() - before) / calls * 1000)


if __name__ == "__main__":
    _size, _calls, _lanes = map(int, sys.argv[2:])
    main(sys.argv[1], size=_size, calls=_calls, lanes=_lanes)
