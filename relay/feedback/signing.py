"""The signature of a callback (Standard Webhooks 1.0, "Signature scheme"). Knows no HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac


def sign(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the webhook-signature: HMAC-SHA256 over id, timestamp and body; `key` is the octets.

    `timestamp` is in seconds since 1970, of this attempt: receivers refuse what is old.
    """
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    digest = hmac.digest(key, signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
