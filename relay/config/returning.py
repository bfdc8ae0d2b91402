"""Every key about what comes back: feedback, suppression, and what applications are told.

The descriptions are the operator's documentation: the JSON Schema is made of them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from relay.config import feedback_values as f
from relay.config import values as v
from relay.config.part import Part
from relay.config.spelling import words
from relay.config.words import AccountList, Candidates, Confirm, SignatureVersion


class Callback(Part):
    """Where an application is told what became of its mail (Standard Webhooks 1.0)."""

    url: f.CallbackUrl = Field(
        description=(
            "Where it is told: https, or http on this machine. Private addresses may be called, "
            "link-local ones never."
        )
    )
    secret_file: v.FilePath = Field(
        description=(
            "A file whose first line is the secret that signs, as `relay secret callback` prints "
            "it."
        )
    )


class SoftBounces(Part):
    """When transient bounces add up."""

    count: v.Count = Field(
        default=3, description="So many transient bounces suppress an address for a while."
    )
    within: v.Duration = Field(
        default=timedelta(days=7), description="The time within which they are counted."
    )
    expiry: v.Duration = Field(
        default=timedelta(days=14), description="How long it is not mailed, from the last of them."
    )


class Suppression(Part):
    """Who is not mailed, and for how long."""

    account_list: Annotated[AccountList, words(AccountList)] = Field(
        default=AccountList.SYNC,
        description=(
            "What is made of the list that SES keeps of each account: off, sync (it is copied, for "
            "which the credentials need ses:ListSuppressedDestinations) or write-through (what "
            "operators add and remove is also added and removed there)."
        ),
    )
    bounce_expiry: f.DurationOrNever = Field(
        default=None, description="How long an address is not mailed after a hard bounce, or never."
    )
    soft_bounces: SoftBounces = Field(
        default_factory=SoftBounces, description="When transient bounces add up."
    )
    complaint_candidates: Annotated[Candidates, words(Candidates)] = Field(
        default=Candidates.IGNORE,
        description=(
            "A complaint may name several recipients, of whom one complained: ignore, or suppress "
            "all of them."
        ),
    )


class Sns(Part):
    """SES events that arrive through Amazon SNS."""

    topics: tuple[v.Topic, ...] = Field(
        default=(),
        description="The topics whose messages are believed; every other one is refused.",
    )
    confirm: Annotated[Confirm, words(Confirm)] = Field(
        default=Confirm.AUTO,
        description=(
            "Whether a subscription of these topics is confirmed by the relay (auto) or by you "
            "(manual)."
        ),
    )
    signature_versions: tuple[f.SignatureVersion, ...] = Field(
        default=(SignatureVersion.ONE, SignatureVersion.TWO),
        min_length=1,
        description=(
            "Which signatures are believed: 1 is SHA-1, which SNS uses until a topic is told "
            "otherwise, and which is warned of; 2 is SHA-256."
        ),
    )
    raw_secret_file: v.FilePath | None = Field(
        default=None,
        description=(
            "For subscriptions with raw delivery, which is not signed: a file whose first line is "
            "the password in the endpoint's URL. Without it: raw delivery is refused."
        ),
    )


class Sqs(Part):
    """SES events that arrive through an Amazon SQS queue."""

    queue_url: f.QueueUrl | None = Field(
        default=None,
        description="The queue that is polled, from SNS or EventBridge. Without it: off.",
    )


class Feedback(Part):
    """How bounces and complaints come back."""

    sns: Sns = Field(default_factory=Sns, description="Through Amazon SNS.")
    sqs: Sqs = Field(
        default_factory=Sqs, description="Through Amazon SQS, which needs no inbound port."
    )

    @property
    def is_on(self) -> bool:
        """Whether events can come back by any way."""
        return bool(self.sns.topics) or self.sqs.queue_url is not None
