"""An account: its carrier, its credentials, and what SES grants it.

Knows what has to be kept up while the daemon runs. Nothing here needs AWS to answer at start, and
nothing blocks: whatever asks the network or reads files does so in threads of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from relay.facts import Facts
from relay.mail.envelope import AccountName
from relay.ports import Clock, SendQuota
from relay.ses import quota
from relay.ses.api import V1, V2, Choice, Preference
from relay.ses.caller import Caller
from relay.ses.carrier import SesCarrier
from relay.ses.credentials import Credentials, Schedule
from relay.ses.lines import Lines
from relay.ses.pool import Deadlines
from relay.ses.sdk import Aws, Role, Whereabouts
from relay.ses.signer import Keys
from relay.unawaited import UnawaitedThreads

QUOTA_EVERY: Final = timedelta(minutes=5)
QUOTA_RETRY: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """Region, endpoint and role of an account, and how it is looked after."""

    name: AccountName
    region: str
    endpoint_url: str | None = None
    """None: AWS's own for the region, or what AWS_ENDPOINT_URL_SES or AWS_ENDPOINT_URL says."""
    role: Role | None = None
    api: Preference = Preference.AUTO
    max_send_rate: float | None = None
    """Recipients per second; None: whatever SES grants."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    credentials: Schedule = field(default_factory=Schedule)
    quota_every: timedelta = QUOTA_EVERY
    quota_retry: timedelta = QUOTA_RETRY


class SesAccount:
    """Named credentials + region + endpoint; see relay.ports.Account.

    Construct, `prepare` and `start` (or `async with`), use, `close`. Calls under way when it closes
    break; who stops the daemon awaits them first.
    """

    def __init__(
        self,
        settings: AccountSettings,
        *,
        clock: Clock,
        facts: Facts,
        aws: Callable[[Whereabouts], Aws] | None = None,
    ) -> None:
        """`aws` is called in a thread; None is botocore."""
        name = settings.name
        self.name = name
        self._settings = settings
        self._facts = facts
        self._open_aws = aws or _botocore
        self._aws: Aws | None = None
        self._role = settings.role
        self._opening = threading.Lock()
        self._quota: SendQuota | None = None
        # Asking AWS, and reading large content, never wait for each other.
        self._asking = UnawaitedThreads(2, f"ses-{name}-ask")
        self._reading = ThreadPoolExecutor(4, thread_name_prefix=f"ses-{name}-read")
        self._credentials = Credentials(
            self._look,
            threads=self._asking,
            schedule=settings.credentials,
            tell=self._tell_credentials,
        )
        self._lines = Lines(
            self._opened,
            region=settings.region,
            deadlines=settings.deadlines,
            threads=self._asking,
        )
        self._caller = Caller(
            self._credentials, clock=clock, on_skew=lambda by: facts.clock_skewed(name, by)
        )
        self.carrier = SesCarrier(
            self._caller, self._lines, Choice(settings.api), threads=self._reading
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False

    @property
    def quota(self) -> SendQuota | None:
        """What SES granted when last asked, and no faster than the operator allows.

        None until SES has answered once, unless the operator named a rate: then that holds, so
        that an account without permission to read its quota is paced as told.
        """
        quota, most = self._quota, self._settings.max_send_rate
        if most is None:
            return quota
        if quota is None:
            return SendQuota(rate=most, daily=float("inf"), used=0.0)
        return replace(quota, rate=min(quota.rate, most))

    async def prepare(self) -> None:
        """Do beforehand what is slow and asks nobody, half a second with botocore.

        Best awaited before clients come: some of it holds the interpreter for 60 ms. Never raises:
        what fails is tried again, and told, when credentials are looked for.
        """
        loop = asyncio.get_running_loop()
        with suppress(Exception):
            await loop.run_in_executor(self._asking, self._prepared)

    @property
    def complaint(self) -> str:
        """Why there are no credentials, or nothing."""
        return "" if self._credentials.current is not None else self._credentials.complaint

    @property
    def keys(self) -> Keys | None:
        """The credentials in use."""
        return self._credentials.current

    def limit(self, policy: str) -> None:
        """Have its role, if it has one, limited to this policy, by a new session if it changed.

        The old one sends until there is a new one, and ends with its hour.
        """
        role = self._role
        if role is not None and role.policy != policy:
            self._role = replace(role, policy=policy)
            self._credentials.renew()

    def start(self) -> None:
        """Begin to look for credentials and to read the quota."""
        self._tasks = [
            asyncio.create_task(self._credentials.run(), name=f"credentials of {self.name}"),
            asyncio.create_task(self._read_quota(), name=f"quota of {self.name}"),
        ]

    async def close(self) -> None:
        """Stop, and close every connection."""
        if self._is_closed:
            return
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._lines.close()
        # What still waits for the network in there ends by its own deadlines; nobody waits for it.
        self._asking.shutdown(wait=False)
        self._reading.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        await self.prepare()
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # In threads.

    def _look(self, *, anew: bool) -> Keys | None:
        """Find credentials, and before that the way to SES."""
        aws = self._prepared()
        if self._role is not None:
            aws.assume(self._role)
        return aws.keys(anew=anew)

    def _prepared(self) -> Aws:
        """Do once what takes long and asks nobody."""
        aws = self._opened()
        # The other one is found when it is first needed, which it may never be.
        self._lines.draw(V2 if self._settings.api is Preference.V2 else V1)
        return aws

    def _opened(self) -> Aws:
        with self._opening:
            if self._aws is None:
                settings = self._settings
                self._aws = self._open_aws(
                    Whereabouts(settings.region, settings.endpoint_url, settings.role)
                )
            return self._aws

    # On the loop.

    async def _read_quota(self) -> None:
        settings = self._settings
        await self._credentials.first()
        while True:
            read = await self._read_quota_once()
            wait = settings.quota_every if read else settings.quota_retry
            await asyncio.sleep(wait.total_seconds())

    async def _read_quota_once(self) -> bool:
        keys = self._credentials.current
        if keys is None:
            self._facts.quota_read(self.name, None, self._credentials.complaint)
            return False
        question = quota.V2 if self._settings.api is Preference.V2 else quota.V1
        try:
            granted = await quota.ask(self._caller, self._lines, keys, question)
        except Exception as error:  # noqa: BLE001 - the SDK raises what it likes; asked again later
            self._facts.quota_read(self.name, None, str(error) or type(error).__name__)
            return False
        number = 1 if self._quota is None else self._quota.number + 1
        self._quota = replace(granted, number=number)
        self._facts.quota_read(self.name, granted, "")
        return True

    def _tell_credentials(self, keys: Keys | None, complaint: str) -> None:
        key = keys.access_key if keys is not None else ""
        event = "credentials_missing" if complaint else "credentials_found"
        self._facts.service(event, account=self.name, access_key=key, complaint=complaint)


def _botocore(whereabouts: Whereabouts) -> Aws:
    # Importing it takes a quarter of a second, which neither the loop nor `relay --help` has.
    from relay.ses.aws import Botocore  # noqa: PLC0415

    return Botocore(whereabouts)
