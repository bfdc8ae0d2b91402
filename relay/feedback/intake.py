"""What happens to one SNS POST: placed, verified, understood, stored, answered.

Knows the order of the checks and the HTTP status each earns. SNS takes 2xx to 4xx as delivered and
comes again only after 5xx (SNS Developer Guide, "Message delivery retries"), so 403 and 400 are for
what is known wrong and 503 for what we could not do. Does not know HTTP servers.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.facts import Facts
from relay.feedback.certificate import SnsGateway, UnavailableError
from relay.feedback.effects import Effects
from relay.feedback.envelope import UnknownWrapperError, unwrap
from relay.feedback.sns import (
    NOTIFICATION,
    SUBSCRIPTION,
    CertificateError,
    ForgedError,
    MalformedError,
    SnsMessage,
)
from relay.ports import Clock, SpoolError

BODY_LIMIT: Final = 1024 * 1024
"""SNS messages have at most 256 KiB; as JSON inside JSON they grow."""

OLD_SIGNATURE: Final = "1"


class Confirm(StrEnum):
    """Whether a subscription of a configured topic confirms itself."""

    AUTO = "auto"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Topics:
    """The SNS topics we listen to; everything else is refused before anything is fetched.

    `versions` are the SignatureVersions believed. `raw_secret` is the password with which raw
    delivery, which is not signed, is believed; without one it is not.
    """

    arns: frozenset[str]
    confirm: Confirm
    versions: frozenset[str] = frozenset({"1", "2"})
    raw_secret: str = ""


class Intake:
    """Takes in SNS messages."""

    def __init__(
        self,
        topics: Callable[[], Topics],
        gateway: SnsGateway,
        effects: Effects,
        facts: Facts,
        clock: Clock,
    ) -> None:
        self._topics = topics
        self._gateway = gateway
        self._effects = effects
        self._facts = facts
        self._clock = clock
        self._warned_of: set[str] = set()

    async def take_in(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Take in one POST, its header names in lower case; return the HTTP status to answer."""
        if len(body) > BODY_LIMIT:
            return self._refuse(413, "too_large", "the body is longer than SNS sends")
        if headers.get("x-amz-sns-rawdelivery") == "true":
            return await self._take_raw(body, headers)
        try:
            message = SnsMessage.parse(body)
            if message.topic not in self._topics().arns:
                return self._refuse(403, "topic", "the topic is not configured")
            if not message.agrees_with(headers):
                return self._refuse(403, "signature", "the header says otherwise than the body")
            if message.version not in self._topics().versions:
                complaint = f"SignatureVersion {message.version} is not to be believed"
                return self._refuse(403, "signature", f"{complaint}: {_remedy(message.topic)}")
            pem = await self._gateway.certificate(message.certificate_url())
            message.verify(pem, self._clock.now())
        except MalformedError as error:
            return self._refuse(400, "malformed", str(error))
        except ForgedError as error:
            return self._refuse(403, "signature", str(error))
        except (UnavailableError, CertificateError) as error:
            return self._refuse(503, "certificate", str(error))
        self._warn_of_old_signature(message)
        if message.kind == SUBSCRIPTION:
            return await self._confirm(message)
        if message.kind == NOTIFICATION:
            return await self._store(message.message_id, message.message, message.topic)
        # Unsubscribing is somebody's decision; subscribing again would overrule it.
        self._facts.service("unsubscribed", topic=message.topic)
        return 200

    async def take_queued(self, body: str, message_id: str) -> bool:
        """Take in a message of a queue; whether it may be deleted there.

        What is not understood stays, and so goes where the queue's redrive policy sends it.
        """
        try:
            found = unwrap(body, message_id)
        except UnknownWrapperError as error:
            self._facts.feedback_refused("malformed", str(error))
            return False
        arns = self._topics().arns
        if found.topic and arns and found.topic not in arns:
            self._facts.feedback_refused("topic", "the topic is not configured")
            return False
        return await self._store(found.delivery_id, found.message, found.topic) == 200  # noqa: PLR2004

    async def _take_raw(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Take in an event without SNS's envelope, and so without a signature."""
        topics, topic = self._topics(), headers.get("x-amz-sns-topic-arn", "")
        if not topics.raw_secret:
            return self._refuse(
                403, "signature", "raw delivery is not signed: turn it off, or set raw_secret_file"
            )
        authorization = headers.get("authorization", "")
        if not authorization:
            # SNS sends the password of the endpoint's URL once it is asked for it.
            return 401
        if not _is_secret(authorization, topics.raw_secret):
            return self._refuse(403, "signature", "the password of raw delivery is wrong")
        if topic not in topics.arns:
            return self._refuse(403, "topic", "the topic is not configured")
        message_id = headers.get("x-amz-sns-message-id", "")
        try:
            message = body.decode()
        except UnicodeDecodeError:
            return self._refuse(400, "malformed", "the body is not UTF-8")
        if not message_id:
            return self._refuse(400, "malformed", "there is no message id")
        return await self._store(message_id, message, topic)

    def _warn_of_old_signature(self, message: SnsMessage) -> None:
        if message.version == OLD_SIGNATURE and message.topic not in self._warned_of:
            self._warned_of.add(message.topic)
            self._facts.service("old_signature", topic=message.topic, remedy=_remedy(message.topic))

    async def _confirm(self, message: SnsMessage) -> int:
        if self._topics().confirm is Confirm.MANUAL:
            url = message.confirmation_url()
            self._facts.service("subscription_waiting", topic=message.topic, url=url)
            return 200
        try:
            await self._gateway.confirm(message.confirmation_url())
        except UnavailableError as error:
            return self._refuse(503, "certificate", str(error))
        self._facts.service("subscribed", topic=message.topic)
        return 200

    async def _store(self, delivery_id: str, message: str, topic: str) -> int:
        try:
            await self._effects.take_in(delivery_id, message, topic)
        except SpoolError as error:
            return self._refuse(503, "store", str(error))
        return 200

    def _refuse(self, status: int, reason: str, complaint: str) -> int:
        self._facts.feedback_refused(reason, complaint)
        return status


def _remedy(topic: str) -> str:
    """Say how a topic is told to sign with SHA-256 (SNS API, SetTopicAttributes)."""
    return (
        f"aws sns set-topic-attributes --topic-arn {topic} "
        "--attribute-name SignatureVersion --attribute-value 2"
    )


def _is_secret(authorization: str, secret: str) -> bool:
    """Whether a Basic authorization (RFC 7617) has that password, whoever's it is."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        said = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    password = said.partition(b":")[2]
    return scheme.lower() == "basic" and hmac.compare_digest(password, secret.encode())
