"""An account's own suppression list at SES (aftermath.AccountList), asked through botocore.

Knows the calls (SES API v2 Reference) and that one entry is one spelling: there, case counts. Does
not know what is made of the list, or how often it may be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

from relay.aftermath import Listed, ListPage, TokenError
from relay.ses.sdk import Whereabouts
from relay.unawaited import UnawaitedThreads

T = TypeVar("T")

PAGE: Final = 1000

_NOT_FOUND: Final = "NotFoundException"
_BAD_TOKEN: Final = "InvalidNextTokenException"  # noqa: S105 - the name of an error


class _Sdk(Protocol):
    def client(self, service: str) -> Any: ...


class SesList:
    """Asks one account, one call at a time, in a thread of its own."""

    def __init__(
        self, whereabouts: Whereabouts, sdk: Callable[[Whereabouts], _Sdk] | None = None
    ) -> None:
        """`sdk` is called in the thread when it is first needed; None is botocore."""
        self._whereabouts = whereabouts
        self._open = sdk or _botocore
        self._client: Any = None
        self._thread = UnawaitedThreads(1, "ses-list")

    async def page(self, since: datetime | None, token: str) -> ListPage:
        """Return some of the list, of what changed `since`; raise TokenError."""
        asked: dict[str, Any] = {"PageSize": PAGE}
        if since is not None:
            asked["StartDate"] = since
        if token:
            asked["NextToken"] = token

        def ask(client: Any) -> ListPage:
            said = client.list_suppressed_destinations(**asked)
            entries = [
                Listed(one["EmailAddress"], one["Reason"], _utc(one["LastUpdateTime"]))
                for one in said.get("SuppressedDestinationSummaries", ())
            ]
            return ListPage(entries, said.get("NextToken") or "")

        try:
            return await self._ask(ask)
        except Exception as error:
            if _code_of(error) == _BAD_TOKEN:
                raise TokenError(str(error)) from error
            raise

    async def find(self, address: str) -> Listed | None:
        """Return the entry of exactly that spelling, or None."""

        def ask(client: Any) -> Listed:
            said = client.get_suppressed_destination(EmailAddress=address)["SuppressedDestination"]
            return Listed(said["EmailAddress"], said["Reason"], _utc(said["LastUpdateTime"]))

        try:
            return await self._ask(ask)
        except Exception as error:
            if _code_of(error) == _NOT_FOUND:
                return None
            raise

    async def put(self, address: str, reason: str) -> None:
        """Add an address; `reason` is BOUNCE or COMPLAINT."""
        await self._ask(
            lambda client: client.put_suppressed_destination(EmailAddress=address, Reason=reason)
        )

    async def remove(self, address: str) -> bool:
        """Remove the entry of exactly that spelling; False if there is none."""
        try:
            await self._ask(
                lambda client: client.delete_suppressed_destination(EmailAddress=address)
            )
        except Exception as error:
            if _code_of(error) == _NOT_FOUND:
                return False
            raise
        return True

    def close(self) -> None:
        """Let go of the connections, once a call under way has ended by its own deadline."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    async def _ask(self, question: Callable[[Any], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: question(self._opened()))

    # In the thread.

    def _opened(self) -> Any:
        if self._client is None:
            self._client = self._open(self._whereabouts).client("sesv2")
        return self._client

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()


def _botocore(whereabouts: Whereabouts) -> _Sdk:
    from relay.ses.aws import Botocore  # noqa: PLC0415 - slow to import, and here in a thread

    return Botocore(whereabouts)


def _code_of(error: Exception) -> str:
    """Return the name SES has for an error; empty where SES has said nothing."""
    said = getattr(error, "response", None)
    code = said.get("Error", {}).get("Code", "") if isinstance(said, dict) else ""
    return str(code)


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
