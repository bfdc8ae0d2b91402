"""What an AWS API refuses a call with: code, text, HTTP status.

Knows no rule, no XML and no HTTP; `answers` renders it, `rules` and `signature` decide on it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiError:
    """One refusal, in AWS's own words."""

    code: str
    text: str
    status: int = 400

    @property
    def at_fault(self) -> str:
        """Who is to blame, in the words of the query protocol's `Type` element."""
        return "Receiver" if self.status >= 500 else "Sender"  # noqa: PLR2004 - the HTTP class


def invalid(text: str) -> ApiError:
    """Malformed content, address or size: one code for all of them in the v1 API."""
    return ApiError("InvalidParameterValue", text)


def rejected(text: str) -> ApiError:
    """Accepted as a call, refused as mail: identity, account or content."""
    return ApiError("MessageRejected", text)


def throttled(text: str) -> ApiError:
    """Too fast, or too much for one day; only the text tells which."""
    return ApiError("Throttling", text)
