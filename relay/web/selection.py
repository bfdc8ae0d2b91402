"""Which mail a request means: the words of the admin API made a Selection.

Knows words, and that one nobody knows is never passed over: it would mean more mail than was meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from relay.mail.address import Address, AddressError
from relay.mail.entry import State
from relay.mail.envelope import SENDER_NAME, SenderName
from relay.mail.header import message_id
from relay.operators import Selection
from relay.web.resource import bad_request, queue_id

_LISTS: Final = ("id", "state")
_WORDS: Final = (*_LISTS, "sender", "address", "older_than", "newer_than", "message_id", "why")
_LONGEST: Final = timedelta(days=3650)


def of_query(request: web.Request, *, beside: Sequence[str]) -> dict[str, Any]:
    """Return the words of a query, less those that say something else."""
    query, words = request.query, dict[str, Any]()
    for name in query:
        if name not in beside:
            words[name] = query.getall(name) if name in _LISTS else query[name]
    return words


def selection_of(words: Mapping[str, Any], now: datetime) -> Selection:
    """Return the selection that all of the words make; without any, of all mail.

    `id` and `state` are lists; `address` is a recipient or a domain; `older_than` and `newer_than`
    are seconds; `why` is part of the reason for which mail waits. Raises HTTPBadRequest.
    """
    for name in words:
        if name not in _WORDS:
            raise bad_request(f"no mail is selected by {name!r}; there is {', '.join(_WORDS)}")
    recipient, domain = _recipient(_text(words, "address"))
    return Selection(
        queue_ids=frozenset(queue_id(one) for one in _texts(words, "id")),
        sender=_sender(_text(words, "sender")),
        recipient=recipient,
        domain=domain,
        states=frozenset(_state(one) for one in _texts(words, "state")),
        arrived_before=_ago(words, "older_than", now),
        arrived_after=_ago(words, "newer_than", now),
        message_id=message_id(_text(words, "message_id")),
        reason=_text(words, "why"),
    )


def _text(words: Mapping[str, Any], name: str) -> str:
    text = words.get(name, "")
    if not isinstance(text, str) or (name in words and not text.strip()):
        raise bad_request(f"{name} is empty, or no text")
    if not text.strip().isprintable():
        raise bad_request(f"{name} is one line of text")
    return text.strip()


def _texts(words: Mapping[str, Any], name: str) -> list[str]:
    texts = words.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise bad_request(f"{name} is no list of texts")
    if name in words and not texts:
        raise bad_request(f"{name} is an empty list: it would select nothing")
    return texts


def _sender(name: str) -> SenderName | None:
    if name and not SENDER_NAME.fullmatch(name):
        raise bad_request("a sender's name has up to 64 of A-Z, a-z, 0-9, - and _")
    return SenderName(name) if name else None


def _recipient(text: str) -> tuple[str, str]:
    """Return a recipient or a domain, whichever it is."""
    local_part, at, domain = text.rpartition("@")
    try:
        if local_part:
            return Address.parse(text).folded, ""
        if text:
            # Whether a domain is one, an address in it tells.
            Address.parse(f"x@{domain}")
    except AddressError as error:
        what = "recipient" if local_part else "domain"
        raise bad_request(f"not a {what}: write jane@example.net or {at}example.net") from error
    return "", domain.lower()


def _state(name: str) -> State:
    try:
        return State(name)
    except ValueError:
        raise bad_request(f"there is no such state; there is {', '.join(State)}") from None


def _ago(words: Mapping[str, Any], name: str, now: datetime) -> datetime | None:
    if name not in words:
        return None
    try:
        age = timedelta(seconds=float(words[name]))
    except (TypeError, ValueError, OverflowError):
        raise bad_request(f"{name} is no number of seconds") from None
    if not timedelta(0) <= age <= _LONGEST:
        raise bad_request(f"{name} is less than nothing, or more than ten years")
    return now - age
