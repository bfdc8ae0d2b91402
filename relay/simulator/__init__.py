"""A local Amazon SES and SNS, for `relay demo`, for staging and for tests.

    async with Simulator(Settings(identities=frozenset({"example.com"}))) as simulator:
        client = boto3.client("ses", endpoint_url=simulator.url, region_name="eu-west-1", ...)

It speaks the v1 query API (SendRawEmail, GetSendQuota) and the v2 JSON API (SendEmail with raw
content, GetAccount), believes only valid Signature Version 4,
refuses what SES refuses in SES's words, keeps what it was sent, fails on demand, and posts signed
SNS messages about what became of the mail. It imports no other package of the relay and no SDK, so
that it is a second opinion: where relay and simulator read AWS's documents differently, a test
fails.

    settings       what the account is like, open questions about AWS included
    query_api      requests in, XML, JSON or a fault out            inspection  /_simulator/...
    service        one account: where the parts meet                simulator   the public object
    signature      is the request signed?                           form        the body's fields
    submission     the call; address, content: the readings of it   rules       what SES refuses
    quota          rates and the day's allowance                    shelf       messages taken
    mailbox        what becomes of a recipient's copy               events      SES events as JSON
    sns            envelopes and signatures                         publisher   posts and retries
    subscriptions  who confirmed what                               faults      what goes wrong
    json_call      a call of v2 and its fields                      json_answers  JSON
    watch          waiting without sleeping                         answers     XML
"""

from relay.simulator.errors import ApiError
from relay.simulator.faults import (
    Act,
    CutAnswer,
    Delay,
    Fault,
    Garble,
    Hang,
    LoseAnswer,
    Refuse,
    ResetUnread,
)
from relay.simulator.publisher import Attempt
from relay.simulator.service import Call
from relay.simulator.settings import (
    DEMO_CREDENTIAL,
    Credential,
    Fate,
    Sending,
    Settings,
    Throttle,
)
from relay.simulator.shelf import Message
from relay.simulator.simulator import Simulator
from relay.simulator.subscriptions import Subscription

__all__ = [
    "DEMO_CREDENTIAL",
    "Act",
    "ApiError",
    "Attempt",
    "Call",
    "Credential",
    "CutAnswer",
    "Delay",
    "Fate",
    "Fault",
    "Garble",
    "Hang",
    "LoseAnswer",
    "Message",
    "Refuse",
    "ResetUnread",
    "Sending",
    "Settings",
    "Simulator",
    "Subscription",
    "Throttle",
]
