"""What came of each recipient of a mail that is handed over, as long as that is written nowhere.

Knows outcomes. Does not know calls, or what follows from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.outcome import Ambiguous, Outcome, Relayed


class Tally:
    """Recipients, in the order given, and what came of them."""

    def __init__(self, recipients: tuple[Address, ...]) -> None:
        self.recipients = recipients
        self._settled: dict[Address, Settled] = {}

    def __bool__(self) -> bool:
        """Whether anything came of anybody."""
        return bool(self._settled)

    def __contains__(self, address: Address) -> bool:
        """Whether something came of that one."""
        return address in self._settled

    def add(self, settled: Mapping[Address, Settled]) -> None:
        """Take note of outcomes."""
        self._settled |= settled

    def outcomes(self) -> list[Outcome | None]:
        """Return what came of each; None: SES was not asked, or is answering."""
        return [outcome for _, outcome in self._each()]

    def taken(self) -> dict[Address, Relayed]:
        """Return those SES took it for."""
        return {a: o for a, o in self._each() if isinstance(o, Relayed)}

    def not_taken(self) -> tuple[Address, ...]:
        """Return those it did not."""
        return tuple(a for a, o in self._each() if not isinstance(o, Relayed))

    def doubtful(self) -> tuple[Address, ...]:
        """Return those it may have taken it for."""
        return tuple(a for a, o in self._each() if isinstance(o, Ambiguous))

    def settled_otherwise(self) -> dict[Address, Settled]:
        """Return what came of those SES did not take it for, of whom anything did."""
        return {a: s for a, s in self._settled.items() if not isinstance(s.outcome, Relayed)}

    def id_with(self, settled: Mapping[Address, Settled]) -> str:
        """Return the id by which SES took it, if with these it has for everybody; else nothing."""
        found = [*self._settled.values(), *settled.values()]
        ids = [one.outcome.ses_message_id for one in found if isinstance(one.outcome, Relayed)]
        return ids[0] if len(ids) == len(self.recipients) else ""

    @property
    def ses_message_id(self) -> str:
        """The id by which SES took it, the first of several; empty if it did not."""
        return next((one.ses_message_id for one in self.taken().values()), "")

    def _each(self) -> Iterator[tuple[Address, Outcome | None]]:
        for address in self.recipients:
            settled = self._settled.get(address)
            yield address, None if settled is None else settled.outcome
