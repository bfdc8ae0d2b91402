"""Sets of addresses as operators write them: exact, by domain, or by the domains below one.

Knows nothing of who the addresses belong to or what follows when one is in the set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from relay.mail.address import Address


@dataclass(frozen=True, slots=True)
class AddressPatterns:
    """Addresses: exact, `@domain`, or `@.domain` for all its subdomains (not the domain itself)."""

    patterns: tuple[str, ...]
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _domains: frozenset[str] = field(init=False, repr=False, compare=False)
    _parents: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact, domains, parents = set(), set(), []
        for pattern in self.patterns:
            if pattern.startswith("@."):
                parents.append(pattern[1:].lower())
            elif pattern.startswith("@"):
                domains.add(pattern[1:].lower())
            else:
                exact.add(Address.parse(pattern).folded)
        object.__setattr__(self, "_exact", frozenset(exact))
        object.__setattr__(self, "_domains", frozenset(domains))
        object.__setattr__(self, "_parents", tuple(parents))

    def hold(self, address: Address) -> bool:
        """Whether the address is in the set. Case is ignored, as SES ignores it."""
        domain = address.domain
        return (
            domain in self._domains
            or (bool(self._exact) and address.folded in self._exact)
            or (bool(self._parents) and domain.endswith(self._parents))
        )

    def that_holds(self, address: Address) -> str | None:
        """Return the first pattern, as written, that holds the address; or None."""
        if not self.hold(address):
            return None
        return next(
            pattern for pattern in self.patterns if AddressPatterns((pattern,)).hold(address)
        )


NOBODY: Final = AddressPatterns(())
