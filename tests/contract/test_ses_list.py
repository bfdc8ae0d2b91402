"""The account's suppression list through botocore, kept by the simulated SES."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from relay.aftermath import AccountList, TokenError
from relay.ses.sdk import Whereabouts
from relay.ses.suppressed import SesList
from relay.simulator import DEMO_CREDENTIAL, Settings, Simulator
from relay.simulator.settings import Fate

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(name="simulator")
async def _simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Settings(control_rate=None)) as simulator:
        yield simulator


@pytest.fixture(name="listing")
async def _listing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AccountList]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", DEMO_CREDENTIAL.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", DEMO_CREDENTIAL.secret_key)
    listing = SesList(Whereabouts("eu-west-1", simulator.url))
    yield listing
    listing.close()
    listing._thread.shutdown(wait=True)


async def test_an_entry_is_found_and_removed_by_its_own_spelling_alone(
    listing: AccountList,
) -> None:
    await listing.put("Jane+x@Example.net", "BOUNCE")
    found = await listing.find("Jane+x@Example.net")
    assert found is not None
    assert (found.address, found.reason) == ("Jane+x@Example.net", "BOUNCE")
    assert datetime.now(UTC) - found.at < timedelta(minutes=1)
    assert await listing.find("jane+x@example.net") is None
    assert not await listing.remove("jane+x@example.net")
    assert await listing.remove("Jane+x@Example.net")
    assert await listing.find("Jane+x@Example.net") is None


async def test_the_list_is_read_page_by_page_and_since_a_moment(
    simulator: Simulator, listing: AccountList
) -> None:
    for n in range(2500):
        simulator.suppressed.put(f"user{n:04}@example.net", "BOUNCE", AT)
    simulator.suppressed.put("zoe@example.net", "COMPLAINT", AT + timedelta(days=1))
    token, seen = "", 0
    while True:
        page = await listing.page(None, token)
        seen, token = seen + len(page.entries), page.token
        if not token:
            break
    assert seen == 2501
    page = await listing.page(AT + timedelta(hours=1), "")
    found, token = list(page.entries), page.token
    while token:
        page = await listing.page(AT + timedelta(hours=1), token)
        found, token = [*found, *page.entries], page.token
    assert [(one.address, one.at) for one in found] == [("zoe@example.net", AT + timedelta(days=1))]
    with pytest.raises(TokenError):
        await listing.page(None, "###")


async def test_other_errors_are_as_the_sdk_has_them(
    simulator: Simulator, listing: AccountList
) -> None:
    simulator.change(Settings(credentials=()))
    with pytest.raises(Exception, match="security token") as refused:
        await listing.find("jane@example.net")
    assert not isinstance(refused.value, TokenError)


def test_what_bounces_for_good_is_listed_and_not_delivered_to_again() -> None:
    """As the account-level list of SES, which new accounts have."""
    settings = Settings(fates={"gone@example.net": Fate.BOUNCED})
    simulator = Simulator(settings)
    assert "GONE@example.net" not in simulator.suppressed
    simulator.suppressed.put("Gone@Example.net", "BOUNCE", AT)
    assert "gone@example.net" in simulator.suppressed
    assert len(simulator.suppressed) == 1
