"""The accounts mail leaves by, and what lets it through to each; a reload changes them.

Part of the composition root. A call to SES ends on the account it was begun on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from relay.config.configuration import Configuration, ResolvedAccount
from relay.delivery.gate import Gate
from relay.facts import Facts
from relay.mail.envelope import AccountName
from relay.ports import Clock
from relay.reloading import Step
from relay.ses.account import SesAccount
from relay.wiring import account_settings, gate_of, session_policies

# How soon it is looked again whether the last call of an account that was taken away has ended.
_LOOK: Final = 0.2  # seconds


class Accounts:
    """The accounts of a running daemon. `by_name` and `gates` are changed in place."""

    def __init__(
        self, known: Callable[[list[AccountName]], None], facts: Facts, clock: Clock
    ) -> None:
        """`known` is told the names there are, before anything is told of them."""
        self._known = known
        self._facts = facts
        self._clock = clock
        self._resolved: dict[AccountName, ResolvedAccount] = {}
        self._retiring: dict[asyncio.Task[None], SesAccount] = {}
        self.by_name: dict[AccountName, SesAccount] = {}
        self.gates: dict[AccountName, Gate] = {}

    def open(self, configuration: Configuration) -> Awaitable[object]:
        """Make the first ones; what is returned is awaited before `start`."""
        made = self._made(configuration, configuration.accounts)
        self._put_in_force(configuration, made)
        # What is slow of them asks nobody, and goes on while the spool is opened.
        return asyncio.gather(*(account.prepare() for account in made.values()))

    def start(self) -> None:
        """Begin to look after those there are."""
        for account in self.by_name.values():
            account.start()

    async def prepare(self, found: Configuration) -> Step:
        """Make the accounts that are new or not as they were."""
        changed = [one for one in found.accounts if self._resolved.get(one.name) != one]
        made = self._made(found, changed)
        await asyncio.gather(*(account.prepare() for account in made.values()))
        for account in made.values():
            account.start()

        async def undo() -> None:
            for account in made.values():
                await account.close()

        return Step(lambda: self._put_in_force(found, made), undo)

    def _made(
        self,
        configuration: Configuration,
        which: tuple[ResolvedAccount, ...] | list[ResolvedAccount],
    ) -> dict[AccountName, SesAccount]:
        names = {one.name for one in which}
        return {
            one.name: SesAccount(one, clock=self._clock, facts=self._facts)
            for one in account_settings(configuration)
            if one.name in names
        }

    def _put_in_force(
        self, configuration: Configuration, made: dict[AccountName, SesAccount]
    ) -> None:
        now = {one.name: one for one in configuration.accounts}
        self._known(list(now))
        for name in [name for name in self.by_name if name not in now or name in made]:
            self._retire(self.by_name.pop(name), self.gates.pop(name))
        for name, account in made.items():
            self.by_name[name] = account
            self.gates[name] = gate_of(now[name], account, self._facts, self._clock)
        for name, policy in session_policies(configuration).items():
            # The senders may be others, and with them what the session of a role may send as.
            self.by_name[name].limit(policy)
        self._resolved = now

    def _retire(self, account: SesAccount, gate: Gate) -> None:
        """Let go of an account once SES has answered what it is asked by it."""
        # An attempt with more calls to make gives the rest back, for the account there is now.
        gate.close()
        if gate.condition().reason:
            # Or it would be told as suspended for ever.
            self._facts.breaker(account.name, opened=False, reason="")

        async def close() -> None:
            while gate.condition().under_way:  # noqa: ASYNC110 - a gate tells nobody
                await asyncio.sleep(_LOOK)
            await account.close()

        task = asyncio.create_task(close(), name=f"end of account {account.name}")
        self._retiring[task] = account
        task.add_done_callback(lambda done: self._retiring.pop(done, None))

    async def close(self) -> None:
        """Close all, those that wait for an answer too: who calls this has waited for them."""
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        for account in (*retiring.values(), *self.by_name.values()):
            await account.close()
