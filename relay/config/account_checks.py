"""Whether what an account's senders may write as fits the session of its role."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.complaint import ANY, Finding
from relay.config.model import Settings
from relay.policy.session_policy import POLICY_LIMIT, session_policy


def from_patterns(settings: Settings, account: str) -> Iterator[str]:
    """Yield what the senders of an account may write as."""
    for sender in settings.senders:
        if sender.ses.account == account:
            yield from sender.allowed_from


def check_accounts(settings: Settings) -> Iterator[Finding]:
    """Warn of session policies that allow more than the senders' from, for want of room."""
    for name, account in settings.ses.accounts.items():
        if account.role_arn is None:
            continue
        policy = session_policy(from_patterns(settings, name))
        if policy.widened:
            allows = f"all addresses of {', '.join(policy.widened)}"
        elif not policy.is_bound:
            allows = "any From address"
        else:
            continue
        here = ("ses", "accounts", name, "role_arn")
        message = (
            f"the policy of its session holds {POLICY_LIMIT} characters, and not all that its "
            f"senders may write as: it allows {allows}; the relay itself heeds from as ever"
        )
        yield Finding(here, message, (here, ("senders", ANY, "from")), is_warning=True)
