"""What `relay check --live` looks at: whether AWS knows us, grants us anything, and as whom.

Part of the composition root. Asks AWS; sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from relay.config.configuration import Configuration
from relay.inspecting import Found
from relay.ports import SendQuota
from relay.ses.account import AccountSettings
from relay.ses.api import Preference
from relay.ses.sdk import Whereabouts
from relay.ses.survey import Survey
from relay.wiring import account_settings


def survey(configuration: Configuration) -> Iterator[Found]:
    """Yield what is found of each account."""
    for settings in account_settings(configuration):
        yield from _of_account(configuration, settings)


def _of_account(configuration: Configuration, settings: AccountSettings) -> Iterator[Found]:
    what = f"account {settings.name}"
    asked = Survey(Whereabouts(settings.region, settings.endpoint_url, settings.role))
    try:
        yield Found(True, f"{what}: AWS knows us as {asked.caller()}")
        quota = asked.quota(by_v2=settings.api is Preference.V2)
    except Exception as error:  # noqa: BLE001 - the SDK raises what it likes
        yield Found(False, f"{what}: {error}")
        return
    yield Found(True, f"{what}: {_granted(quota)}")
    yield from _identities(what, wanted(configuration, settings.name), asked.verified)


def wanted(configuration: Configuration, account: str) -> dict[str, list[str]]:
    """Return what the senders of an account write as, and of which identities one is enough.

    What another account lets us write as, by its ARN, is for that account to answer.
    """
    return {
        str(one): _identities_for(str(one))
        for sender in configuration.settings.senders
        if sender.ses.account == account and sender.ses.from_arn is None
        for one in sender.allowed_from
    }


def _identities_for(allowed: str) -> list[str]:
    """Return the address, its domain, and those above it: SES takes a domain for its subdomains."""
    local, _, domain = allowed.rpartition("@")
    domain = domain.removeprefix(".")
    labels = domain.split(".")
    above = [".".join(labels[at:]) for at in range(len(labels) - 1)]
    return [allowed, *above] if local else above


def _identities(
    what: str, needed: dict[str, list[str]], verified: Callable[[set[str]], set[str]]
) -> Iterator[Found]:
    candidates = {one for several in needed.values() for one in several}
    if not candidates:
        return
    try:
        found = verified(candidates)
    except Exception as error:  # noqa: BLE001 - the SDK raises what it likes
        # Mail can go out without this permission, and that of a role's session never has it.
        yield Found(None, f"{what}: whether its identities are verified is not known: {error}")
        return
    for allowed, several in needed.items():
        if found.isdisjoint(several):
            yield Found(False, f"{what}: {allowed} is not verified in this region; mail would wait")
        else:
            yield Found(True, f"{what}: {allowed} is verified")


def _granted(quota: SendQuota) -> str:
    daily = "no daily quota" if quota.daily == float("inf") else f"{quota.daily:g} in 24 hours"
    return f"{quota.rate:g} recipients a second, {daily}, {quota.used:g} used"
