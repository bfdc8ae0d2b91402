"""What happened to the accounts: suspended, slowed, out of quota, and their quota read.

The part of relay.observe.maillog that is about no mail.
"""

from __future__ import annotations

import time
from datetime import timedelta

from relay.mail.envelope import AccountName
from relay.observe.sesmetrics import HELD_BY_QUOTA
from relay.observe.spoollog import SpoolLog
from relay.policy.day import Hold
from relay.ports import SendQuota


class AccountLog(SpoolLog):
    """The facts of the accounts, told to a logger and counted."""

    def breaker(self, account: AccountName, *, opened: bool, reason: str) -> None:
        """An account's breaker opened or closed."""
        self._metrics.breaker_open[account].set(opened)
        if opened:
            self.logger.error("account.suspended", account=account, reason=reason)
        else:
            self.logger.info("account.resumed", account=account)

    def clock_skewed(self, account: AccountName, by: timedelta) -> None:
        """SES's clock is ahead of this machine's by so much; requests are signed by SES's time."""
        seconds = by.total_seconds()
        self._metrics.clock_skew[account].set(seconds)
        tell = self.logger.warning if by else self.logger.info
        tell("account.clock_skewed", account=account, ahead_seconds=seconds)

    def slowed(self, account: AccountName, rate: float, granted: float) -> None:
        """SES said that the rate was exceeded: less of it is used for a while."""
        self.logger.warning(
            "account.slowed", account=account, rate=round(rate, 2), granted=round(granted, 2)
        )

    def daily_quota(self, account: AccountName, hold: Hold, left: float) -> None:
        """The daily quota holds back others than before."""
        for whom in HELD_BY_QUOTA:
            self._metrics.quota_holds[account, whom].set(hold in (Hold.ALL, whom))
        tell = self.logger.info if hold is Hold.NOBODY else self.logger.warning
        tell("account.daily_quota", account=account, holds=hold.value, left=left)

    def quota_read(self, account: AccountName, quota: SendQuota | None, complaint: str) -> None:
        """The account's quota was read, or could not be."""
        metrics = self._metrics
        metrics.requests[account, "account"].inc()
        if quota is None:
            metrics.request_failures[account, "account", "other"].inc()
            self.logger.warning("account.quota_unread", account=account, complaint=complaint)
            return
        metrics.quota_rate[account].set(quota.rate)
        metrics.quota_daily[account].set(quota.daily)
        metrics.quota_used[account].set(quota.used)
        metrics.quota_read_at[account].set(time.time())
        self.logger.debug(
            "account.quota", account=account, rate=quota.rate, daily=quota.daily, used=quota.used
        )
