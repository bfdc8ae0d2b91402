"""`/_simulator/...`: looking in, and setting faults, over HTTP.

For people and tests in other processes. No SES client uses these paths; nothing here is SES's, and
nothing is protected, so the simulator belongs on loopback or in a test network.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from relay.simulator.errors import ApiError
from relay.simulator.events import timestamp
from relay.simulator.fault_json import fault_from, fault_to_json

if TYPE_CHECKING:
    from relay.simulator.publisher import Attempt
    from relay.simulator.shelf import Message
    from relay.simulator.simulator import Simulator
    from relay.simulator.subscriptions import Subscription


class Inspection:
    """The simulator's own HTTP API."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        """Every path, with what it does."""
        return [
            web.get("/_simulator/messages", self.list_messages),
            web.delete("/_simulator/messages", self.forget_messages),
            web.get("/_simulator/messages/{id}", self.show_message),
            web.get("/_simulator/faults", self.list_faults),
            web.post("/_simulator/faults", self.add_fault),
            web.delete("/_simulator/faults", self.clear_faults),
            web.get("/_simulator/subscriptions", self.list_subscriptions),
            web.post("/_simulator/subscriptions", self.subscribe),
            web.get("/_simulator/confirm", self.confirm),
            web.get("/_simulator/attempts", self.list_attempts),
            web.get("/_simulator/certificate", self.show_certificate),
            web.get(r"/SimpleNotificationService-{digest:[0-9a-f]+}.pem", self.show_certificate),
            web.get("/", self.visit_subscribe_url),
        ]

    async def list_messages(self, _: web.Request) -> web.Response:
        """The messages kept, oldest first."""
        return web.json_response([_message(message) for message in self._simulator.messages])

    async def show_message(self, request: web.Request) -> web.Response:
        """The octets of one message."""
        message = self._simulator.message(request.match_info["id"])
        if message is None:
            return _complaint("no such message, or no longer kept", 404)
        return web.Response(body=message.raw, content_type="message/rfc822")

    async def forget_messages(self, _: web.Request) -> web.Response:
        """Forget every message."""
        self._simulator.forget()
        return web.Response(status=204)

    async def list_faults(self, _: web.Request) -> web.Response:
        """The faults to come."""
        return web.json_response(
            [fault_to_json(fault, left) for fault, left in self._simulator.faults]
        )

    async def add_fault(self, request: web.Request) -> web.Response:
        """Put a fault behind those already waiting."""
        try:
            fault = fault_from(await _json(request))
        except ValueError as error:
            return _complaint(str(error), 400)
        self._simulator.add_fault(fault)
        return web.json_response(fault_to_json(fault, fault.times), status=201)

    async def clear_faults(self, _: web.Request) -> web.Response:
        """Forget every fault and answer the calls that hang."""
        self._simulator.clear_faults()
        self._simulator.release()
        return web.Response(status=204)

    async def list_subscriptions(self, _: web.Request) -> web.Response:
        """Every subscription, with the token that confirms it."""
        return web.json_response([_subscription(s) for s in self._simulator.subscriptions])

    async def subscribe(self, request: web.Request) -> web.Response:
        """Subscribe an endpoint: `{"endpoint": "http://...", "topic": "arn:..."}`."""
        try:
            given = await _json(request)
        except ValueError as error:
            return _complaint(str(error), 400)
        endpoint = given.get("endpoint") if isinstance(given, dict) else None
        topic = given.get("topic") if isinstance(given, dict) else None
        if not isinstance(endpoint, str) or not isinstance(topic, str | None):
            return _complaint("endpoint must be a URL, topic an ARN", 400)
        return web.json_response(
            _subscription(self._simulator.subscribe(endpoint, topic_arn=topic)), status=201
        )

    async def confirm(self, request: web.Request) -> web.Response:
        """Confirm by token alone, for a relay that cannot reach the real SubscribeURL."""
        return self._confirmed(request.query.get("token", ""))

    async def visit_subscribe_url(self, request: web.Request) -> web.Response:
        """The SubscribeURL, but for its host: SNS confirms when it is visited, unsigned."""
        if request.query.get("Action") != "ConfirmSubscription":
            return _complaint("this is the SES simulator; SES calls are POSTs to /", 404)
        return self._confirmed(request.query.get("Token", ""), request.query.get("TopicArn"))

    async def list_attempts(self, _: web.Request) -> web.Response:
        """What SNS posted where, and the answers."""
        return web.json_response([_attempt(attempt) for attempt in self._simulator.attempts])

    async def show_certificate(self, _: web.Request) -> web.Response:
        """The certificate that verifies SNS signatures."""
        return web.Response(
            body=self._simulator.certificate_pem, content_type="application/x-pem-file"
        )

    def _confirmed(self, token: str, topic_arn: str | None = None) -> web.Response:
        arn = self._simulator.confirm(token, topic_arn=topic_arn)
        if isinstance(arn, ApiError):
            return _complaint(arn.text, arn.status)
        return web.json_response({"subscription_arn": arn})


async def _json(request: web.Request) -> object:
    try:
        parsed: object = json.loads(await request.read())
    except ValueError:
        raise ValueError("the body is not JSON") from None
    return parsed


def _complaint(text: str, status: int) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _message(message: Message) -> dict[str, object]:
    return {
        "id": message.id,
        "api": message.api,
        "received_at": timestamp(message.received_at),
        "source": message.source,
        "destinations": list(message.destinations),
        "recipients": list(map(str, message.recipients)),
        "tags": [{"name": name, "value": value} for name, value in message.tags],
        "configuration_set": message.configuration_set,
        "tenant": message.tenant,
        "access_key": message.access_key,
        "size": len(message.raw),
    }


def _subscription(subscription: Subscription) -> dict[str, object]:
    return {
        "arn": subscription.arn,
        "topic": subscription.topic_arn,
        "endpoint": subscription.endpoint,
        "token": subscription.token,
        "confirmed": subscription.confirmed,
    }


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "at": timestamp(attempt.at),
        "endpoint": attempt.endpoint,
        "number": attempt.number,
        "status": attempt.status,
        "problem": attempt.problem,
        "envelope": attempt.envelope,
    }
