"""The simulator as others use it: start it, look into it, make it fail, stop it.

Wires the parts together and owns the HTTP server. Decides nothing itself.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from aiohttp import web

from relay.simulator.faults import Act, Fault
from relay.simulator.inspection import Inspection
from relay.simulator.publisher import Publisher
from relay.simulator.query_api import QueryApi
from relay.simulator.service import Account
from relay.simulator.settings import Settings
from relay.simulator.sns import EVENT_SUBJECT
from relay.simulator.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from relay.simulator.errors import ApiError
    from relay.simulator.publisher import Attempt
    from relay.simulator.service import Call
    from relay.simulator.settings import SignatureVersion
    from relay.simulator.shelf import Message
    from relay.simulator.sns import Envelope
    from relay.simulator.subscriptions import Subscription
    from relay.simulator.suppressed import AccountList

# How long calls under way may still take when the simulator stops.
_SHUTDOWN_SECONDS = 1.0


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Simulator:
    """A local Amazon SES and SNS. `async with` binds its port and frees it again."""

    def __init__(
        self, settings: Settings | None = None, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        settings = settings or Settings()
        self._watch = Watch()
        self._publisher = Publisher(
            settings=lambda: self._account.settings,
            keep_attempts=settings.keep_attempts,
            clock=clock,
            watch=self._watch,
        )
        self._account = Account(settings, clock=clock, publisher=self._publisher, watch=self._watch)
        self._api = QueryApi(self._account, self._watch)
        self._stack = AsyncExitStack()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._publisher)
            stack.push_async_callback(self._stop_listening)
            await self._listen(self.settings.port)
            self._stack = stack.pop_all()
        if self.settings.webhook is not None:
            self.subscribe(self.settings.webhook)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def _listen(self, port: int) -> None:
        app = web.Application(client_max_size=self.settings.max_request_bytes)
        app.add_routes(
            [
                web.post("/", self._api.answer),
                web.route("*", "/v2/{operation:.*}", self._api.answer),
                *Inspection(self).routes(),
            ]
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=self.settings.keep_alive.total_seconds(),
            # A client that hangs up ends the call it was waiting for.
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await self._runner.setup()
        self._api.reopen()
        await web.TCPSite(self._runner, self.settings.host, port).start()
        self._port = self._runner.addresses[0][1]

    async def _stop_listening(self) -> None:
        self._api.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        """Be down for a while: nobody listens, and every connection is gone.

        What it knows stays, and afterwards it is back on the same port. What it publishes still
        goes out meanwhile.
        """
        await self._stop_listening()
        try:
            yield
        finally:
            await self._listen(self._port)

    # Where it is, and what it is like.

    @property
    def url(self) -> str:
        """What a client takes for `endpoint_url`."""
        if not self._port:
            raise RuntimeError("the simulator has not been started")
        host = self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def settings(self) -> Settings:
        """What the account is like now."""
        return self._account.settings

    def change(self, settings: Settings) -> None:
        """Let the account be like this from the next call on; what it has used up stays used up.

        Address, port and the numbers of what is kept are taken at the start only.
        """
        self._account.settings = settings

    # What it was sent.

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages taken and still kept, oldest first."""
        return self._account.shelf.all()

    @property
    def taken(self) -> int:
        """How many messages were taken since the start or the last `forget`."""
        return self._account.shelf.taken

    def message(self, message_id: str) -> Message | None:
        """The message with this SES message id, while it is kept."""
        return self._account.shelf.get(message_id)

    def forget(self) -> None:
        """Forget every message and every call."""
        self._account.shelf.clear()
        self._account.calls.clear()
        self._account.tally.clear()

    @property
    def calls(self) -> tuple[Call, ...]:
        """The newest calls of the API, refused ones included, oldest first."""
        return tuple(self._account.calls)

    @property
    def tally(self) -> Counter[str]:
        """How many calls were answered how: by error code, or "OK"."""
        return Counter(self._account.tally)

    # Waiting.

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Return once this is true; it is looked at whenever something happened here."""
        await self._watch.until(holds)

    async def received(self, count: int) -> tuple[Message, ...]:
        """Wait until that many messages were taken; those that are kept."""
        await self._watch.until(lambda: self.taken >= count)
        return self.messages

    async def settled(self) -> None:
        """Wait until SNS has posted everything that is due, retries included."""
        await self._watch.until(lambda: self._publisher.is_settled)

    @property
    def suppressed(self) -> AccountList:
        """The account's own suppression list."""
        return self._account.suppressed

    # What it does wrong.

    def fail(
        self, act: Act, *, times: int = 1, action: str | None = None, recipient: str | None = None
    ) -> None:
        """Do this to the next calls that match."""
        self.add_fault(Fault(act=act, times=times, action=action, recipient=recipient))

    def add_fault(self, fault: Fault) -> None:
        """Put a fault behind those already waiting."""
        self._account.faults.add(fault)

    @property
    def faults(self) -> tuple[tuple[Fault, int], ...]:
        """The faults to come, with how often each still happens."""
        return self._account.faults.waiting()

    def clear_faults(self) -> None:
        """Forget the faults to come. Calls that hang go on hanging."""
        self._account.faults.clear()

    @property
    def hung(self) -> int:
        """How many calls hang now."""
        return self._api.hung

    def release(self) -> None:
        """Answer the calls that hang now."""
        self._api.release()

    # What it publishes.

    def subscribe(self, endpoint: str, *, topic_arn: str | None = None) -> Subscription:
        """Subscribe an endpoint to a topic, by default the one that events go to."""
        return self._publisher.subscribe(endpoint, topic_arn or self.settings.topic_arn)

    def confirm(self, token: str, *, topic_arn: str | None = None) -> str | ApiError:
        """Confirm a subscription as its SubscribeURL would; the subscription's ARN."""
        return self._account.confirm(token, topic_arn)

    def unsubscribe(self, subscription_arn: str) -> Subscription | None:
        """End a subscription; its endpoint is told, and could confirm it again."""
        return self._publisher.unsubscribe(subscription_arn)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Every subscription, confirmed or not."""
        return self._publisher.subscriptions

    async def publish(
        self,
        event: Mapping[str, object] | str,
        *,
        topic_arn: str | None = None,
        subject: str | None = EVENT_SUBJECT,
    ) -> tuple[Attempt, ...]:
        """Publish an event, or any text, to the confirmed subscribers; the last attempt at each."""
        return await self._publisher.publish(
            event, topic_arn or self.settings.topic_arn, subject=subject
        )

    def sign(
        self, envelope: Mapping[str, str], *, version: SignatureVersion | None = None
    ) -> Envelope:
        """The envelope with a valid signature over whatever it says."""
        return self._publisher.signer.sign(
            envelope,
            version=version or self.settings.signature_version,
            region=self.settings.region,
        )

    async def post(self, envelope: Mapping[str, str], endpoint: str) -> Attempt:
        """Post an envelope once, as it is, with the headers SNS would send."""
        return await self._publisher.post_once(envelope, endpoint)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate that verifies the signatures."""
        return self._publisher.signer.certificate_pem

    @property
    def certificate_url(self) -> str:
        """The SigningCertURL of the messages; nobody can fetch it."""
        return self._publisher.signer.certificate_url(self.settings.region)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The newest posts to endpoints, oldest first."""
        return self._publisher.attempts

    def hold_events(self) -> None:
        """Keep events back until `resume_events`."""
        self._publisher.hold()

    def resume_events(self) -> None:
        """Let held events go."""
        self._publisher.resume()
