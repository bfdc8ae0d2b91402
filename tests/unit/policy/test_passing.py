"""One answer for all recipients of a mail whose client waits for SES."""

from __future__ import annotations

from itertools import product

import pytest

from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Refusal, Reply
from relay.policy.passing import OUT_OF_PATIENCE, Ending, answer, breaker_open, ending_of
from relay.policy.sender import Accept

TAKEN = Relayed("0102-a")
WAITS = Deferred(Reply(451, "4.4.5", "SES Throttling: slow"), "throttled", Blame.SERVICE)
SANDBOX = Deferred(
    Reply(451, "4.3.5", "SES: not verified"),
    "not_verified",
    Blame.OPERATOR,
    final=Reply(554, "5.7.1", "SES: not verified"),
)
BAD = Failed(Reply(554, "5.1.3", "SES: no such"), "bad_recipient", Blame.RECIPIENT)
LOST = Ambiguous(
    Reply(451, "4.4.2", "SES: no answer; the message may be sent more than once"), "timeout"
)

RELAYED, EITHER = Accept.RELAYED, Accept.RELAYED_OR_QUEUED


def said(accept: Accept, *outcomes: Outcome | None) -> str:
    found = answer(accept, outcomes)
    return str(found.reply)[:9] if isinstance(found, Refusal) else found.value


@pytest.mark.parametrize(
    ("outcomes", "relayed", "either"),
    [
        ((TAKEN,), "relayed", "relayed"),
        ((TAKEN, TAKEN), "relayed", "relayed"),
        ((BAD,), "554 5.1.3", "554 5.1.3"),
        ((BAD, BAD), "554 5.1.3", "554 5.1.3"),
        ((WAITS,), "451 4.4.5", "queued"),
        ((SANDBOX,), "554 5.7.1", "queued"),
        ((LOST,), "451 4.4.2", "queued"),
        ((None,), "451 4.4.5", "queued"),
        # Once SES took it for anybody, the client must not send it again.
        ((TAKEN, BAD), "partly", "partly"),
        ((SANDBOX, TAKEN), "partly", "partly"),
        ((WAITS, TAKEN), "partly", "partly"),
        ((LOST, TAKEN), "partly", "partly"),
        ((None, TAKEN), "partly", "partly"),
        # Taken for nobody: what may have gone out first, then what another try may mend.
        ((BAD, LOST), "451 4.4.2", "queued"),
        ((WAITS, LOST), "451 4.4.2", "queued"),
        ((BAD, WAITS), "451 4.4.5", "queued"),
        ((BAD, None), "451 4.4.5", "queued"),
        ((BAD, SANDBOX), "554 5.1.3", "queued"),
    ],
)
def test_one_answer_follows(
    outcomes: tuple[Outcome | None, ...], relayed: str, either: str
) -> None:
    assert said(RELAYED, *outcomes) == relayed
    assert said(EITHER, *outcomes) == either


@pytest.mark.P3
@pytest.mark.parametrize("accept", [RELAYED, EITHER])
def test_nobody_is_lost_and_nobody_who_got_it_is_sent_it_again(accept: Accept) -> None:
    for outcomes in product((TAKEN, WAITS, SANDBOX, BAD, LOST, None), repeat=3):
        found = answer(accept, outcomes)
        if TAKEN in outcomes:
            assert found in (Ending.RELAYED, Ending.PARTLY), outcomes
        if found is Ending.RELAYED:
            assert set(outcomes) == {TAKEN}, outcomes
        if isinstance(found, Refusal):
            ending = ending_of(found, outcomes)
            assert (ending is Ending.AMBIGUOUS) is (LOST in outcomes), outcomes
            # Who hears 5xx sends it to nobody any more.
            if found.reply.code >= 500:
                assert set(outcomes) <= {BAD, SANDBOX}, outcomes
                assert ending is Ending.REFUSED


def test_a_client_is_told_that_its_mail_may_have_been_sent() -> None:
    found = answer(RELAYED, [LOST])
    assert isinstance(found, Refusal)
    assert str(found.reply) == (
        "451 4.4.2 The message may have been sent. SES: no answer; the message may be sent more "
        "than once"
    )
    assert found.reason == "timeout"


def test_why_ses_is_not_asked_is_said_in_our_words() -> None:
    assert str(breaker_open("credentials").reply) == (
        "451 4.4.5 Amazon SES cannot be asked at present (credentials); try again later"
    )
    assert OUT_OF_PATIENCE.reply.code == 451
