"""The account's own suppression list, and the calls of SES API v2 about it.

SES API v2 Reference: Put-, Get-, Delete- and ListSuppressedDestination(s). Case does not count when
SES sends, but Get and Delete want the spelling that is listed (ses.md 4). Knows neither HTTP nor
the clock.
"""

from __future__ import annotations

import base64
import json
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qs, unquote

from relay.simulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = "/v2/email/suppression/addresses"
#: The largest page is nowhere said; 1,000 is what clients in the field ask for.
MAX_PAGE: Final = 1000
REASONS: Final = ("BOUNCE", "COMPLAINT")

_NAMES: Final[Mapping[str, Literal["Put", "Get", "Delete"]]] = {
    "PUT": "Put",
    "GET": "Get",
    "DELETE": "Delete",
}


@dataclass(frozen=True, slots=True)
class ListCall:
    """One call about the list. What it does not name is empty."""

    action: str
    address: str = ""
    reason: str = ""
    reasons: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    token: str = ""
    page: int = 100


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """What is answered, as JSON."""

    body: str


@dataclass(frozen=True, slots=True)
class _Entry:
    address: str
    reason: str
    at: datetime

    def document(self) -> dict[str, object]:
        return {
            "EmailAddress": self.address,
            "Reason": self.reason,
            "LastUpdateTime": self.at.timestamp(),
        }


def read_list_call(method: str, target: str, body: bytes) -> ListCall | ApiError | None:
    """Read a call about the list; None for a call about anything else."""
    path, _, query = target.partition("?")
    if path == PATH and method == "GET":
        return _listing(query)
    if path == PATH and method == "PUT":
        return _put(body)
    prefix, _, name = path.rpartition("/")
    if prefix == PATH and method in ("GET", "DELETE"):
        return ListCall(f"{_NAMES[method]}SuppressedDestination", unquote(name))
    return None


def _put(body: bytes) -> ListCall | ApiError:
    try:
        asked = json.loads(body)
        address, reason = asked["EmailAddress"], asked["Reason"]
    except (ValueError, KeyError, TypeError):
        return ApiError("BadRequestException", "EmailAddress and Reason are required")
    if reason not in REASONS or not isinstance(address, str) or "@" not in address:
        return ApiError("BadRequestException", "Reason must be BOUNCE or COMPLAINT")
    return ListCall("PutSuppressedDestination", address, reason)


def _listing(query: str) -> ListCall | ApiError:
    asked = parse_qs(query)
    try:
        return ListCall(
            "ListSuppressedDestinations",
            reasons=tuple(asked.get("Reason", ())),
            since=_moment(asked.get("StartDate", [""])[0]),
            until=_moment(asked.get("EndDate", [""])[0]),
            token=asked.get("NextToken", [""])[0],
            page=min(int(asked.get("PageSize", ["100"])[0]), MAX_PAGE),
        )
    except ValueError as error:
        return ApiError("BadRequestException", str(error))


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class AccountList:
    """Who is on it. Spelled as they were put; of two spellings, both."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._folded: dict[str, int] = {}
        self._sorted: list[str] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, address: str) -> bool:
        """Whether mail to it is stopped: case does not count."""
        return address.lower() in self._folded

    def put(self, address: str, reason: str, at: datetime) -> None:
        """List an address, or list it anew."""
        if address not in self._entries:
            self._folded[address.lower()] = self._folded.get(address.lower(), 0) + 1
            self._sorted = None
        self._entries[address] = _Entry(address, reason, at)

    def answer(self, call: ListCall, now: datetime) -> ListAnswer | ApiError:
        """Do what a call asks for."""
        match call.action:
            case "PutSuppressedDestination":
                self.put(call.address, call.reason, now)
                return ListAnswer("{}")
            case "ListSuppressedDestinations":
                return self._page(call)
        entry = self._entries.get(call.address)
        if entry is None:
            return ApiError(
                "NotFoundException",
                f"Email address {call.address} does not exist on your suppression list.",
                404,
            )
        if call.action == "DeleteSuppressedDestination":
            self._drop(call.address)
            return ListAnswer("{}")
        return ListAnswer(json.dumps({"SuppressedDestination": entry.document()}))

    def _drop(self, address: str) -> None:
        del self._entries[address]
        folded = address.lower()
        self._folded[folded] -= 1
        if not self._folded[folded]:
            del self._folded[folded]
        self._sorted = None

    def _page(self, call: ListCall) -> ListAnswer | ApiError:
        try:
            after = (
                base64.b64decode(call.token, b"-_", validate=True).decode() if call.token else ""
            )
        except ValueError:
            return ApiError("InvalidNextTokenException", "The specified token is invalid.")
        if self._sorted is None:
            self._sorted = sorted(self._entries)
        found: list[_Entry] = []
        at = bisect_right(self._sorted, after)
        while at < len(self._sorted) and len(found) < call.page:
            entry = self._entries[self._sorted[at]]
            at += 1
            if (
                (not call.reasons or entry.reason in call.reasons)
                and (call.since is None or entry.at >= call.since)
                and (call.until is None or entry.at <= call.until)
            ):
                found.append(entry)
        document: dict[str, object] = {
            "SuppressedDestinationSummaries": [entry.document() for entry in found]
        }
        if at < len(self._sorted):
            last = self._sorted[at - 1].encode()
            document["NextToken"] = base64.urlsafe_b64encode(last).decode()
        return ListAnswer(json.dumps(document))
