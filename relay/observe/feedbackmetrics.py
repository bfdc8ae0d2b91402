"""The metrics of what comes back: feedback, suppression, callbacks.

Closed label sets, born at zero. Does not know when they change: relay.observe.feedbacklog counts.
"""

from __future__ import annotations

from typing import Final

from relay.mail.feedback import FeedbackKind, SuppressionReason
from relay.observe.instruments import Instruments

FEEDBACK_REFUSALS: Final = (
    "signature",
    "topic",
    "duplicate",
    "malformed",
    "too_large",
    "certificate",
    "store",
)
BOUNCE_CLASSES: Final = ("permanent", "transient", "undetermined")
CALLBACK_OUTCOMES: Final = ("told", "failed", "dead")
CALLBACK_STATES: Final = ("pending", "dead")


class FeedbackInstruments(Instruments):
    """What of the registry is about mail that has left."""

    def _feedback(self) -> None:
        self.feedback_events = self._counters(
            "relay_feedback_events_total", "Verified feedback events by SES event name.", "event"
        )
        self.feedback_events.born(kind.value for kind in FeedbackKind)
        self.bounces = self._counters(
            "relay_feedback_bounces_total",
            "Recipients reported as bounced, by SES bounce type.",
            "bounce_class",
        )
        self.bounces.born(BOUNCE_CLASSES)
        self.complaints = self._counter(
            "relay_feedback_complaints_total", "Recipients reported as complaining."
        )
        self.feedback_refused = self._counters(
            "relay_feedback_refused_total", "Feedback requests refused or discarded.", "reason"
        )
        self.feedback_refused.born(FEEDBACK_REFUSALS)
        self.feedback_at = self._gauge(
            "relay_feedback_last_event_timestamp_seconds",
            "Unix time the last verified feedback event was taken in; start time until the first.",
        )
        self.suppressed = self._gauges(
            "relay_suppressed_addresses", "Addresses on the suppression list.", "origin"
        )
        self.suppressed.born(reason.value for reason in SuppressionReason)
        self.suppression_hits = self._counters(
            "relay_suppression_hits_total", "Recipients matched by the suppression list.", "action"
        )
        self.suppression_hits.born(("refused", "dropped", "failed"))
        self.feedback_stale = self._counter(
            "relay_feedback_stale_total", "Events of more than a day before they came."
        )
        self.callbacks = self._counters(
            "relay_callbacks_total",
            "Posts to sending applications: received, to be tried again, or given up.",
            "outcome",
        )
        self.callbacks.born(CALLBACK_OUTCOMES)
        self.callbacks_waiting = self._gauges(
            "relay_callbacks_waiting", "Callbacks not received yet, and those given up.", "state"
        )
        self.callbacks_waiting.born(CALLBACK_STATES)
