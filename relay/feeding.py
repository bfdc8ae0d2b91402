"""The loop closed: feedback taken in, what follows from it, and whoever is told of it.

Part of the composition root. Builds and starts it together; delivery neither waits for any of it
nor knows of it, but for what SES reports of mail in doubt.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from relay.config.configuration import Configuration
from relay.config.words import AccountList, Candidates, Circuit
from relay.delivery.pauses import Pauses
from relay.facts import Facts
from relay.feedback.callbacks import Dispatcher, Endpoint
from relay.feedback.certificate import SnsGateway
from relay.feedback.circuit import Circuits
from relay.feedback.effects import Doubts, Effects
from relay.feedback.intake import Confirm, Intake, Topics
from relay.feedback.outcall import post
from relay.feedback.poller import Poller
from relay.feedback.syncing import ListSync, keep_in_sync
from relay.mail.envelope import AccountName, SenderName
from relay.mail.feedback import SoftBounces
from relay.policy.session_policy import LIST_POLICY
from relay.policy.suppression import Practice
from relay.ports import Clock
from relay.ses.account import AccountSettings
from relay.ses.sdk import Whereabouts
from relay.ses.sqs import SqsQueue
from relay.ses.suppressed import SesList
from relay.store import Store
from relay.web.callbacks import CallbackDesk
from relay.web.suppressions import SuppressionDesk
from relay.wiring import account_settings, node

_WHSEC: Final = "whsec_"

Watch = Callable[[Awaitable[None], str], None]
"""Runs what must not end by itself."""


class Feeding:
    """Intake, callbacks, reputation and SES's own lists, of one daemon."""

    def __init__(
        self,
        store: Store,
        configuration: Callable[[], Configuration],
        gateway: SnsGateway,
        *,
        facts: Facts,
        clock: Clock,
    ) -> None:
        self._store = store
        self._configuration = configuration
        self._facts = facts
        self._clock = clock
        doubts = Doubts(store.queue, store.queue, node=node(), facts=facts, clock=clock)
        self.effects = Effects(
            store.record, doubts, lambda: practice(configuration()), facts, clock
        )
        self.intake = Intake(lambda: topics(configuration()), gateway, self.effects, facts, clock)
        self._dispatcher = Dispatcher(
            store.callbacks,
            lambda: endpoints(configuration()),
            post,
            facts=facts,
            clock=clock,
            jitter=random.random,
        )
        self._lists: dict[Whereabouts, SesList] = {}
        self._syncs: dict[AccountName, tuple[Whereabouts, ListSync]] = {}
        self._stop = asyncio.Event()

    def syncs(self) -> Mapping[AccountName, ListSync]:
        """Return how the list of each account in force is followed."""
        for one in account_settings(self._configuration()):
            where = _whereabouts(one)
            known = self._syncs.get(one.name)
            if known is None or known[0] != where:
                listing = self._lists.setdefault(where, SesList(where))
                sync = ListSync(one.name, listing, self._store.sync, clock=self._clock)
                self._syncs[one.name] = (where, sync)
        names = {one.name for one in self._configuration().accounts}
        return {name: sync for name, (_, sync) in self._syncs.items() if name in names}

    def _close_lists(self) -> None:
        for listing in self._lists.values():
            listing.close()

    def writes_through(self) -> bool:
        """Whether what operators change is changed at SES too."""
        listed = self._configuration().settings.suppression.account_list
        return listed is AccountList.WRITE_THROUGH

    def suppression_desk(self) -> SuppressionDesk:
        """Return what operators work on the list with."""
        return SuppressionDesk(
            record=self._store.record,
            syncs=self.syncs,
            writes_through=self.writes_through,
            facts=self._facts,
            clock=self._clock,
        )

    def callback_desk(self) -> CallbackDesk:
        """Return what operators look at callbacks with."""
        return CallbackDesk(book=self._store.callbacks, facts=self._facts, clock=self._clock)

    def start(self, pauses: Pauses, watch: Watch, stack: AsyncExitStack) -> Circuits:
        """Begin, and return the circuits.

        `watch` runs what must not end by itself, `stack` ends it.
        """
        circuits = Circuits(
            self._store.reputation,
            self._store.record.let_expire,
            pauses,
            lambda: pausing(self._configuration()),
            facts=self._facts,
            clock=self._clock,
        )
        stack.callback(self._close_lists)
        self._store.callbacks.on_made = self._dispatcher.wake
        watch(self._dispatcher.run(), "callbacks")
        stack.callback(self._dispatcher.stop)
        watch(circuits.run(), "circuits")
        stack.callback(circuits.stop)
        settings = self._configuration().settings
        if settings.suppression.account_list is not AccountList.OFF:
            watch(keep_in_sync(self.syncs, self._facts, self._stop), "lists")
            stack.callback(self._stop.set)
        url = settings.feedback.sqs.queue_url
        if url is not None:
            region = self._configuration().accounts[0].region
            poller = Poller(lambda: SqsQueue(url, region), self.intake.take_queued, self._facts)
            watch(poller.run(), "poller")
            stack.callback(poller.stop)
        return circuits


def wants_callbacks(configuration: Callable[[], Configuration]) -> Callable[[SenderName], bool]:
    """Return what says whether a sender's application is told of its mail."""
    return lambda sender: sender in configuration().callback_secrets


def topics(configuration: Configuration) -> Topics:
    """Return the SNS topics that are believed."""
    sns, secret = configuration.settings.feedback.sns, configuration.raw_secret
    return Topics(
        frozenset(sns.topics),
        Confirm(sns.confirm),
        frozenset(version.value for version in sns.signature_versions),
        "" if secret is None else secret.reveal(),
    )


def practice(configuration: Configuration) -> Practice:
    """Return what of feedback suppresses."""
    settings = configuration.settings.suppression
    soft = settings.soft_bounces
    return Practice(
        settings.bounce_expiry,
        SoftBounces(soft.count, soft.within, soft.expiry),
        suppresses_candidates=settings.complaint_candidates is Candidates.SUPPRESS,
    )


def endpoints(configuration: Configuration) -> Mapping[SenderName, Endpoint]:
    """Return where applications are told."""
    found = {}
    for sender in configuration.settings.senders:
        secret = configuration.callback_secrets.get(SenderName(sender.name))
        if sender.callback is not None and secret is not None:
            key = base64.b64decode(secret.reveal().removeprefix(_WHSEC))
            found[SenderName(sender.name)] = Endpoint(sender.callback.url, key)
    return found


def pausing(configuration: Configuration) -> Mapping[SenderName, bool]:
    """Return which senders there are, and whether each is paused when its circuit breaks."""
    return {
        SenderName(sender.name): sender.circuit is Circuit.PAUSE
        for sender in configuration.settings.senders
    }


def _whereabouts(account: AccountSettings) -> Whereabouts:
    """Return where an account is, for keys that may do with its list what there is to do."""
    role = account.role
    limited = None if role is None else replace(role, policy=LIST_POLICY)
    return Whereabouts(account.region, account.endpoint_url, limited)
