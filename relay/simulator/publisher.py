"""SNS at work: posts signed messages to the endpoints that subscribed, and tries again.

Knows topics, subscriptions and HTTP. Does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from relay.simulator import sns
from relay.simulator.errors import ApiError
from relay.simulator.events import timestamp
from relay.simulator.subscriptions import Subscription, Subscriptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
    from datetime import datetime
    from types import TracebackType

    from relay.simulator.events import Event
    from relay.simulator.settings import Settings
    from relay.simulator.watch import Watch

_CONNECTIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST to an endpoint, and how it went."""

    at: datetime
    endpoint: str
    envelope: sns.Envelope
    #: 1 is the first; SNS's retries follow.
    number: int
    #: The endpoint's HTTP status, or None when there was no answer.
    status: int | None
    #: What went wrong when there was none.
    problem: str | None

    @property
    def is_final(self) -> bool:
        """SNS Developer Guide, message delivery retries: 2xx to 4xx are not tried again."""
        return self.status is not None and self.status < 500  # noqa: PLR2004 - the HTTP class


class Publisher:
    """Topics and their subscribers."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        keep_attempts: int,
        clock: Callable[[], datetime],
        watch: Watch,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._watch = watch
        self._sleep = sleep
        self._subscriptions = Subscriptions()
        self._attempts: deque[Attempt] = deque(maxlen=keep_attempts)
        self._tasks: set[asyncio.Task[object]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._session: aiohttp.ClientSession | None = None
        self._bug: BaseException | None = None
        #: Posts that were given up because too many were waiting.
        self.dropped = 0

    @cached_property
    def signer(self) -> sns.Signer:
        """The key that signs; made when it is first wanted, because making it takes a while."""
        return sns.Signer.generate(self._clock())

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._bug is not None and error is None:
            raise self._bug

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The newest attempts, oldest first."""
        return tuple(self._attempts)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Every subscription, confirmed or not."""
        return self._subscriptions.all()

    @property
    def is_settled(self) -> bool:
        """Nothing is being posted, retried or waiting for its time."""
        return not self._tasks

    def hold(self) -> None:
        """Keep events back until `resume`; confirmations still go out."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let held events go."""
        self._flowing.set()

    def subscribe(self, endpoint: str, topic_arn: str) -> Subscription:
        """Subscribe an endpoint and ask it to confirm."""
        now = self._clock()
        subscription = self._subscriptions.add(
            topic_arn, endpoint, now=now, lifetime=self._settings().token_lifetime
        )
        envelope = sns.subscription_confirmation(
            topic_arn, token=subscription.token, message_id=str(uuid.uuid4()), at=timestamp(now)
        )
        self._spawn(self._post(self._signed(envelope), subscription))
        return subscription

    def confirm(self, token: str, topic_arn: str | None) -> Subscription | ApiError:
        """Confirm a subscription. Its first message is the one that SES validates the topic with.

        Amazon SES publishes that plain text when an event destination is set up; before the
        subscription is confirmed nobody would get it.
        """
        result = self._subscriptions.confirm(token, topic_arn, now=self._clock())
        if isinstance(result, ApiError):
            return result
        subscription, is_new = result
        if is_new:
            envelope = self._notification(sns.VALIDATION_TEXT, sns.EVENT_SUBJECT, subscription)
            self._spawn(self._post(envelope, subscription))
        self._watch.changed()
        return subscription

    def unsubscribe(self, subscription_arn: str) -> Subscription | None:
        """Deactivate a subscription and tell its endpoint how to take that back."""
        subscription = self._subscriptions.deactivate(subscription_arn)
        if subscription is not None:
            envelope = sns.unsubscribe_confirmation(
                subscription_arn,
                token=subscription.token,
                message_id=str(uuid.uuid4()),
                at=timestamp(self._clock()),
            )
            self._spawn(self._post(self._signed(envelope), subscription))
        return subscription

    def publish_later(
        self, build: Callable[[datetime], Iterable[Event]], topic_arn: str, *, after: float
    ) -> None:
        """Publish what `build` makes of the moment it is due, in that order."""
        if self._subscriptions.of_topic(topic_arn):
            self._spawn(self._publish_events(build, topic_arn, after=after))

    async def publish(
        self, message: str | Mapping[str, object], topic_arn: str, *, subject: str | None
    ) -> tuple[Attempt, ...]:
        """Publish one message now; the last attempt at each confirmed subscriber."""
        text = message if isinstance(message, str) else json.dumps(message)
        subscribers = self._subscriptions.of_topic(topic_arn)
        posts = (self._post(self._notification(text, subject, s), s) for s in subscribers)
        return tuple(await asyncio.gather(*posts))

    async def post_once(self, envelope: Mapping[str, str], endpoint: str) -> Attempt:
        """Post any envelope to any endpoint, as it is and without retries."""
        return await self._attempt(dict(envelope), endpoint, None, number=1)

    async def _publish_events(
        self, build: Callable[[datetime], Iterable[Event]], topic_arn: str, *, after: float
    ) -> None:
        if after > 0:
            await self._sleep(after)
        await self._flowing.wait()
        for event in build(self._clock()):
            text = json.dumps(event)
            for subscription in self._subscriptions.of_topic(topic_arn):
                envelope = self._notification(text, sns.EVENT_SUBJECT, subscription)
                first = await self._attempt(
                    envelope, subscription.endpoint, subscription.arn, number=1
                )
                # The events of a message go out in order; a retry holds up none of the others.
                if not first.is_final:
                    self._spawn(self._retry(first, subscription))

    async def _post(self, envelope: sns.Envelope, subscription: Subscription) -> Attempt:
        first = await self._attempt(envelope, subscription.endpoint, subscription.arn, number=1)
        return first if first.is_final else await self._retry(first, subscription)

    async def _retry(self, failed: Attempt, subscription: Subscription) -> Attempt:
        settings = self._settings()
        last = failed
        for number in range(2, settings.retries + 2):
            await self._sleep(settings.retry_delay.total_seconds())
            last = await self._attempt(
                failed.envelope, subscription.endpoint, subscription.arn, number=number
            )
            if last.is_final:
                break
        return last

    async def _attempt(
        self, envelope: sns.Envelope, endpoint: str, subscription_arn: str | None, *, number: int
    ) -> Attempt:
        if self._session is None:
            raise RuntimeError("the publisher is not running")
        status: int | None = None
        problem: str | None = None
        at = self._clock()
        try:
            async with self._session.post(
                endpoint,
                data=json.dumps(envelope).encode(),
                headers=sns.post_headers(envelope, subscription_arn),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._settings().post_timeout.total_seconds()),
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = type(error).__name__
        attempt = Attempt(
            at=at,
            endpoint=endpoint,
            envelope=envelope,
            number=number,
            status=status,
            problem=problem,
        )
        self._attempts.append(attempt)
        self._watch.changed()
        return attempt

    def _notification(
        self, text: str, subject: str | None, subscription: Subscription
    ) -> sns.Envelope:
        return self._signed(
            sns.notification(
                text,
                message_id=str(uuid.uuid4()),
                subscription_arn=subscription.arn,
                subject=subject,
                at=timestamp(self._clock()),
            )
        )

    def _signed(self, envelope: sns.Envelope) -> sns.Envelope:
        settings = self._settings()
        return self.signer.sign(
            envelope, version=settings.signature_version, region=settings.region
        )

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        if len(self._tasks) >= self._settings().max_pending_posts:
            work.close()
            self.dropped += 1
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bug = error
        self._watch.changed()
