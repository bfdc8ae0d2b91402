"""One mail handed to SES while its client waits: the calls, what the client hears, what is kept.

Knows the modes relayed and relayed-or-queued (R6). Nothing of the mail is in the queue until it
must be: then it is committed as an entry in flight, and goes on as any attempt does. Whose turn it
is the scheduler knows; which answer follows from which outcomes relay.policy.passing does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from relay.delivery.attempt import clear_up, give_back, record
from relay.delivery.calls import Calls, Desk
from relay.delivery.gate import Gate
from relay.delivery.tally import Tally
from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import AccountName, Envelope, Mail
from relay.mail.outcome import Outcome, Relayed
from relay.mail.reply import Refusal, Reply
from relay.passing import Parcel, Passed, Shelf
from relay.policy.admission import admit_to_queue
from relay.policy.passing import OUT_OF_PATIENCE, Ending, answer, ending_of
from relay.policy.sender import Accept, Sender
from relay.ports import Claim, Content, Spool, SpoolError

LEASE: Final = timedelta(minutes=10)
"""Longer than one call may take with all its deadlines."""

# How often it is looked whether the account still lets it go on, in seconds.
_LOOK: Final = 1.0

_NOT_KEPT: Final = Refusal(
    Reply(451, "4.4.2", "Taken for some recipients, and could not be kept for the others: send it "
          "again; the message may be sent more than once"),
    "spool",
)  # fmt: skip


class _PressedError(Exception):
    """The next call is not to be made any more."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Where mail is handed over: one for the whole daemon."""

    desk: Desk
    shelf: Shelf
    spool: Spool
    leave: Callable[[Handover], bool]
    """Takes one out of the lobby; False if it did not wait there."""


class Handover(Calls):
    """One mail on its way; `answer` is what its client waits for."""

    def __init__(
        self, counter: Counter, gate: Gate, parcel: Parcel, mail: Mail, content: Content
    ) -> None:
        recipients = mail.envelope.recipients
        now = counter.desk.clock.now()
        nothing = timedelta(0)
        claim = Claim(
            mail=mail,
            content=content,
            recipients=recipients,
            attempts=dict.fromkeys(recipients, 1),
            in_doubt=(),
            marked=len(recipients),
            token=0,
            lease_until=now,
            waited=nothing,
            held=nothing,
        )
        super().__init__(counter.desk, gate, claim, parcel.ruleset, parcel.sender)
        self._counter = counter
        self._parcel = parcel
        self.answer: asyncio.Future[Passed] = asyncio.get_running_loop().create_future()
        self._tally = Tally(recipients)
        """What is recorded nowhere yet."""
        # Of a call that SES is answering.
        self._asking: tuple[Address, ...] = ()
        self._has_asked = False
        self._pressed = asyncio.Event()
        self._why: Refusal | None = None
        self._is_gone = False
        self._keeping: asyncio.Task[None] | None = None
        self._fault: Exception | None = None
        self._lease: Claim | None = None
        """Of the entry, once there is one."""

    @property
    def sender(self) -> Sender:
        """Whose mail it is, by the rules it came under."""
        return self._sender

    @property
    def generation(self) -> int:
        """Of these rules."""
        return self._ruleset.generation

    @property
    def is_kept(self) -> bool:
        """Whether there is an entry of it in the queue."""
        return self._lease is not None

    @property
    def recipients(self) -> int:
        """For how many recipients the first call is."""
        return len(self._claim.recipients)

    def press(self, why: Refusal | None = None) -> None:
        """Begin nothing more, for that reason; None: the client has gone.

        What SES is answering is seen through. In mode relayed-or-queued it is committed as an entry
        in flight, and the client waits no longer.
        """
        if self.answer.done():
            return
        self._is_gone = self._is_gone or why is None
        self._why = self._why or why
        self._pressed.set()
        if self._counter.leave(self):
            self._say(self._unasked())
        elif self._asking and self._is_queueable and self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_in_flight(self._asking))

    async def run(self, gate: Gate) -> None:
        """Make the calls and answer the client. Every way out leaves nothing half done.

        By the gate of its account as it is now: a reload may have replaced the one of before.
        """
        self._gate = gate
        try:
            await self._run()
        finally:
            if not self.answer.done():
                self.answer.set_exception(SpoolError("it could not be seen through"))

    async def _run(self) -> None:
        try:
            await self._make_calls()
        except _PressedError:
            pass
        except Exception as error:  # noqa: BLE001 - a bug of ours must not lose mail (P5)
            self._fault = error
        await self._kept()
        if self._lease is None:
            await self._conclude(self._fault)
        elif self._fault is not None:
            await clear_up(self._desk, self._lease, self._fault)
        # The reply comes first.
        self._note(self._tally.taken())

    # --- what the calls ask of us ---

    async def _call(self, group: tuple[Address, ...]) -> Outcome:
        # The last moment at which nothing has been asked for.
        if self._pressed.is_set():
            raise _PressedError
        self._asking, self._has_asked = group, True
        try:
            return await super()._call(group)
        finally:
            self._asking = ()

    async def _record(
        self,
        settled: Mapping[Address, Settled],
        mark: Sequence[Address],  # noqa: ARG002 - of an entry: by then no further call is made
    ) -> None:
        if self._keeping is not None and (taken := self._tally.id_with(settled)):
            # However long the disk takes.
            self._say(Passed(Ending.RELAYED, self._mail, taken))
        await self._kept()
        if self._lease is not None:
            await record(self._desk, self._account, self._lease, settled)
            return
        self._tally.add(settled)
        now = self._desk.clock.now()
        for address, one in settled.items():
            # Of the others it is told once it is known what becomes of them.
            if isinstance(one.outcome, Relayed):
                self._desk.facts.settled(self._account, self._mail, address, one, now)

    async def _give_back(self) -> None:
        await self._kept()
        if self._lease is not None:
            await give_back(self._desk, self._lease)

    async def _may_go_on(self, *, is_halving: bool) -> bool:  # noqa: ARG002 - nobody begins anew
        """Wait for the pace, as long as the client does; others that wait have their turns too."""
        gate, desk = self._gate, self._desk
        while not (self._pressed.is_set() or desk.is_paused(self._sender.name)):
            wait = gate.pace(self._sender.priority)
            if not gate.passes():
                return False
            if wait <= 0:
                return True
            try:
                async with asyncio.timeout(min(wait, _LOOK)):
                    await self._pressed.wait()
            except TimeoutError:
                pass
        return False

    # --- the answer ---

    async def _conclude(self, fault: Exception | None) -> None:
        """Say what became of it, and keep what is to be kept."""
        outcomes = self._tally.outcomes()
        is_taken = bool(self._tally.taken())
        if fault is not None:
            self._desk.facts.fault("handover", fault)
            if not is_taken and not self._tally.doubtful():
                self.answer.set_exception(SpoolError(f"it could not be handed over: {fault!r}"))
                return
        if not self._has_asked and not self._tally:
            self._say(self._unasked())
            return
        found = answer(self._sender.accept, outcomes)
        if found is Ending.PARTLY and self._is_gone and not self._is_queueable:
            # Nobody hears our 250: the client will send all of it again.
            self._say(Passed(Ending.AMBIGUOUS, self._mail, refusal=OUT_OF_PATIENCE))
        elif isinstance(found, Refusal):
            self._refuse(found)
        elif found is Ending.RELAYED:
            self._say(Passed(found, self._mail, self._tally.ses_message_id))
        else:
            await self._keep(found, is_taken=is_taken)

    def _refuse(self, refusal: Refusal) -> None:
        ending = ending_of(refusal, self._tally.outcomes())
        self._say(Passed(ending, self._mail, refusal=refusal))
        self._note(dict.fromkeys(self._tally.not_taken(), refusal))

    async def _keep(self, ending: Ending, *, is_taken: bool) -> None:
        """Keep it for those SES did not take it for; then tell the client."""
        if not is_taken and not self._tally.doubtful():
            backlog = self._counter.spool.backlog(self._sender.name)
            refusal = admit_to_queue(self._sender, backlog, self._mail.size)
            if refusal is not None:
                self._refuse(refusal)
                return
        try:
            lease = await self._commit(self._tally.doubtful())
        except SpoolError as error:
            if not is_taken and not self._tally.doubtful():
                self.answer.set_exception(error)
                return
            self._desk.facts.fault("handover", error)
            self._refuse(_NOT_KEPT)
            return
        self._lease = lease
        self._say(Passed(ending, self._mail, self._tally.ses_message_id, kept=lease.mail))
        try:
            await self._record_rest(lease)
            if any(address not in self._tally for address in lease.recipients):
                await give_back(self._desk, lease)
        except Exception as error:  # noqa: BLE001 - as in an attempt
            await clear_up(self._desk, lease, error)

    async def _keep_in_flight(self, asking: tuple[Address, ...]) -> None:
        """Keep what SES is being asked about, so that its client need not wait any more."""
        try:
            lease = await self._commit(asking)
        except SpoolError as error:
            # The client waits for SES's answer, then.
            self._desk.facts.fault("handover", error)
            return
        self._lease = lease
        ending = Ending.PARTLY if self._tally.taken() else Ending.QUEUED
        self._say(Passed(ending, self._mail, self._tally.ses_message_id, kept=lease.mail))
        try:
            await self._record_rest(lease, mark=asking)
        except Exception as error:  # noqa: BLE001 - dealt with once the call has ended
            self._fault = error

    async def _kept(self) -> None:
        """Return once the entry is there that is being made, if one is."""
        if self._keeping is not None:
            await self._keeping

    async def _commit(self, mark: Sequence[Address]) -> Claim:
        mail = self._mail
        rest = Envelope(mail.envelope.reverse_path, self._tally.not_taken())
        desk = self._desk
        return await self._counter.shelf.keep(
            self._parcel.draft,
            mail._replace(envelope=rest),
            self._claim.content,
            mark=mark,
            node=desk.node,
            now=desk.clock.now(),
            lease=LEASE,
        )

    async def _record_rest(self, lease: Claim, mark: Sequence[Address] = ()) -> None:
        """Record the outcomes there are of those it is kept for."""
        rest = self._tally.settled_otherwise()
        if rest:
            await record(self._desk, self._account, lease, rest, mark)

    def _unasked(self) -> Passed:
        """Say what becomes of a mail SES was not asked about."""
        if self._is_gone:
            return Passed(Ending.WITHDRAWN, self._mail)
        if self._is_queueable:
            return Passed(Ending.QUEUED, self._mail)
        return Passed(Ending.DEFERRED, self._mail, refusal=self._why or OUT_OF_PATIENCE)

    def _say(self, passed: Passed) -> None:
        if not self.answer.done():
            self.answer.set_result(passed)

    def _note(self, said: Mapping[Address, Relayed | Refusal]) -> None:
        if not said:
            return
        try:
            self._counter.shelf.note(self._mail, said, now=self._desk.clock.now())
        except SpoolError as error:
            self._desk.facts.fault("ledger", error)

    # --- what is known ---

    @property
    def _mail(self) -> Mail:
        return self._claim.mail

    @property
    def _account(self) -> AccountName:
        return self._gate.account.name

    @property
    def _is_queueable(self) -> bool:
        return self._sender.accept is Accept.RELAYED_OR_QUEUED
