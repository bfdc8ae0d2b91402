"""The simulated account at work: takes calls, keeps messages, starts events.

The one place where rules, quota, faults, messages and events meet. Knows no HTTP.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from relay.simulator.answers import SendQuota
from relay.simulator.errors import ApiError
from relay.simulator.events import events_of
from relay.simulator.faults import FaultQueue
from relay.simulator.form import Form
from relay.simulator.json_answers import AccountReport
from relay.simulator.json_call import ACTIONS, PREFIX, read_submission
from relay.simulator.mailbox import fate_of, is_simulator
from relay.simulator.quota import Quota
from relay.simulator.rules import Case, covering_identity, judge
from relay.simulator.settings import Fate
from relay.simulator.shelf import Message, Shelf, ses_id
from relay.simulator.signature import SignedRequest, verify
from relay.simulator.submission import Api, Submission
from relay.simulator.suppressed import AccountList, ListAnswer, ListCall, read_list_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from relay.simulator.events import Event
    from relay.simulator.publisher import Publisher
    from relay.simulator.settings import Credential, Settings
    from relay.simulator.watch import Watch

#: Which service a call is for: its signature must be scoped to that one.
SERVICES = {"SendRawEmail": "ses", "GetSendQuota": "ses", "ConfirmSubscription": "sns"}
#: The action of a call that was refused before it was understood.
UNREAD = "unread"
_NO_FORM = Form(b"")
_LISTED_FOR = {Fate.BOUNCED: "BOUNCE", Fate.COMPLAINED: "COMPLAINT"}
_VERSIONS = {"ses": "2010-12-01", "sns": "2010-03-31"}

#: Message id, allowances, or the ARN of a confirmed subscription.
Result: TypeAlias = "Message | SendQuota | AccountReport | ListAnswer | str | ApiError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the API, and how it was answered."""

    at: datetime
    action: str
    access_key: str | None
    #: The error code, or None when the call went through.
    code: str | None
    #: Recipients of a call that sends; 0 for every other action and for calls that were not read.
    recipients: int


@dataclass(frozen=True, slots=True)
class Request:
    """A call that is signed, read and judged, but not yet counted."""

    action: str
    api: Api
    #: Of v1; of v2 it is empty.
    form: Form
    credential: Credential
    #: For SendRawEmail and SendEmail.
    case: Case | ApiError | None
    client: str
    #: As the call names them.
    destinations: tuple[str, ...] = ()
    #: For calls about the suppression list.
    listing: ListCall | None = None

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom a fault may be meant for."""
        if isinstance(self.case, Case):
            return tuple(map(str, self.case.parties.recipients))
        return self.destinations


def api_of(target: str) -> Api:
    """The API that a request target belongs to."""
    return Api.V2 if target.startswith(PREFIX) else Api.V1


def service_of(action: str) -> str:
    """The service of an action; SES's answers everything it does not know."""
    return SERVICES.get(action, "ses")


class Account:
    """One AWS account in one region."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        publisher: Publisher,
        watch: Watch,
    ) -> None:
        self.settings = settings
        self.faults = FaultQueue()
        self.shelf = Shelf(keep_messages=settings.keep_messages, keep_bytes=settings.keep_bytes)
        #: The newest calls, oldest first.
        self.calls: deque[Call] = deque(maxlen=settings.keep_calls)
        #: How many calls were answered how: by error code, or "OK".
        self.tally: Counter[str] = Counter()
        self._clock = clock
        self._publisher = publisher
        self._watch = watch
        self._quota = Quota()
        #: The account's own suppression list.
        self.suppressed = AccountList()

    def now(self) -> datetime:
        """What time it is at SES."""
        return self._clock()

    def read(self, signed: SignedRequest, client: str) -> Request | ApiError:
        """Verify the signature and read the call. Changes nothing, so any thread may do it."""
        if api_of(signed.target) is Api.V2:
            return self._read_json(signed, client)
        form = Form(signed.body)
        action = form.text("Action") or ""
        service = service_of(action)
        credential = self._verify(signed, service)
        if isinstance(credential, ApiError):
            return credential
        version = form.text("Version")
        if action not in SERVICES or version != _VERSIONS[service]:
            # "Common errors" of the API References: InvalidAction.
            return ApiError(
                "InvalidAction", f"Could not find operation {action} for version {version}"
            )
        case = self._case(Submission.read(form)) if action == "SendRawEmail" else None
        destinations = tuple(form.members("Destinations"))
        return Request(action, Api.V1, form, credential, case, client, destinations)

    def _read_json(self, signed: SignedRequest, client: str) -> Request | ApiError:
        credential = self._verify(signed, "ses")
        if isinstance(credential, ApiError):
            return credential
        listing = read_list_call(signed.method, signed.target, signed.body)
        if isinstance(listing, ApiError):
            return listing
        if listing is not None:
            return Request(
                listing.action, Api.V2, _NO_FORM, credential, None, client, (), listing=listing
            )
        action = ACTIONS.get((signed.method, signed.target))
        if action is None:
            return ApiError("InvalidAction", f"No operation {signed.method} {signed.target}")
        if action == "GetAccount":
            return Request(action, Api.V2, _NO_FORM, credential, None, client)
        submission = read_submission(signed.body)
        destinations = () if isinstance(submission, ApiError) else submission.destinations
        case = self._case(submission)
        return Request(action, Api.V2, _NO_FORM, credential, case, client, destinations)

    def _verify(self, signed: SignedRequest, service: str) -> Credential | ApiError:
        return verify(
            signed,
            self.settings.credentials,
            region=self.settings.region,
            service=service,
            now=self._clock(),
        )

    def _case(self, submission: Submission | ApiError) -> Case | ApiError:
        if isinstance(submission, ApiError):
            return submission
        return judge(submission, self.settings)

    def perform(self, request: Request) -> Result:
        """Do what the call asks for, when the account's allowances permit."""
        if request.listing is not None:
            now = self._clock()
            if error := self._quota.take_control_call(self.settings, now):
                return error
            return self.suppressed.answer(request.listing, now)
        match request.action:
            case "SendRawEmail" | "SendEmail":
                return self._send(request)
            case "GetSendQuota":
                return self._send_quota()
            case "GetAccount":
                quota = self._send_quota()
                if isinstance(quota, ApiError):
                    return quota
                return AccountReport(quota, self.settings)
            case _:
                return self.confirm(request.form.text("Token") or "", request.form.text("TopicArn"))

    def confirm(self, token: str, topic_arn: str | None) -> str | ApiError:
        """Confirm a subscription; the answer is its ARN."""
        subscription = self._publisher.confirm(token, topic_arn)
        return subscription if isinstance(subscription, ApiError) else subscription.arn

    def record(self, request: Request | None, error: ApiError | None) -> None:
        """Remember the call, however it was answered; None is one that was not understood."""
        self.tally[error.code if error else "OK"] += 1
        self.calls.append(
            Call(
                at=self._clock(),
                action=request.action if request else UNREAD,
                access_key=request.credential.access_key if request else None,
                code=error.code if error else None,
                recipients=len(request.recipients) if request and request.case else 0,
            )
        )
        self._watch.changed()

    def _send_quota(self) -> SendQuota | ApiError:
        now = self._clock()
        if error := self._quota.take_control_call(self.settings, now):
            return error
        return SendQuota(
            self.settings.recipients_a_day,
            self.settings.send_rate,
            self._quota.sent_last_24_hours(now),
        )

    def _send(self, request: Request) -> Message | ApiError:
        case = request.case
        if not isinstance(case, Case):
            return case or ApiError("InternalFailure", "The call was not judged.", 500)
        now = self._clock()
        recipients = case.parties.recipients
        if error := self._quota.take(
            len(recipients),
            counted=sum(not is_simulator(recipient) for recipient in recipients),
            settings=self.settings,
            now=now,
        ):
            return error
        message = self._message(case, request, now)
        self.shelf.add(message)
        self._publish(message)
        self._watch.changed()
        return message

    def _message(self, case: Case, request: Request, now: datetime) -> Message:
        submission, settings = case.submission, self.settings
        envelope_from = case.parties.envelope_from
        if envelope_from is None:
            raise AssertionError("a judged call has a Source or an author")
        return Message(
            id=ses_id(now),
            api=submission.api,
            received_at=now,
            source=submission.source,
            destinations=submission.destinations,
            recipients=case.parties.recipients,
            envelope_from=envelope_from,
            identity=covering_identity(envelope_from, settings.identities, settings)
            or envelope_from.domain,
            content=submission.content,
            tags=submission.effective_tags(),
            configuration_set=submission.effective_configuration_set(settings),
            tenant=submission.effective_tenant(),
            access_key=request.credential.access_key,
            caller=request.credential.caller,
            client=request.client,
        )

    def _publish(self, message: Message) -> None:
        # SES Developer Guide, event publishing: without a configuration set there are no events.
        if message.configuration_set is None:
            return
        settings = self.settings
        self._publisher.publish_later(
            lambda at: self._events_of(message, settings, at),
            settings.topic_arn,
            after=settings.event_delay.total_seconds(),
        )

    def _events_of(self, message: Message, settings: Settings, at: datetime) -> Iterator[Event]:
        """What becomes of a message, the list considered, and what the list makes of that.

        SES Developer Guide, account-level suppression list: what bounces hard or complains is
        listed; addresses of the mailbox simulator are not.
        """
        listed = tuple(one for one in message.recipients if str(one) in self.suppressed)
        for recipient in message.recipients:
            fate = fate_of(recipient, settings)
            reason = _LISTED_FOR.get(fate)
            if reason is not None and not is_simulator(recipient) and recipient not in listed:
                self.suppressed.put(str(recipient), reason, at)
        return events_of(message, settings, at=at, listed=listed)
