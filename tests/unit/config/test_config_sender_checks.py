"""How the keys of a sender fit together: certificates, rewrites, redirection, limits."""

from __future__ import annotations

import pytest

from tests.unit.config.written import (
    complaints,
    dedent,
    loaded,
    warnings,
    with_listener,
    with_login_sender,
    with_network_sender,
)


def with_rewrite(rewrite: str) -> str:
    return with_network_sender(f"rewrite: {{{rewrite}}}")


@pytest.mark.P7
def test_a_certificate_names_one_sender() -> None:
    text = with_network_sender("certificates: [a.example, A.EXAMPLE]") + dedent("""
          - name: other
            certificates: [b.example, A.example]
            from: ["@example.com"]
        """).replace("\n", "\n  ").replace("- name", "  - name").rstrip(" ")
    assert complaints(text) == [
        "9:31: senders[0].certificates[1]: 'a.example' is taken by senders[0]",
        "11:31: senders[1].certificates[1]: 'a.example' is taken by senders[0]",
    ]


def test_certificates_that_nobody_asks_for_are_warned_of() -> None:
    words = "are never asked for: no listener has client_ca"
    assert warnings(with_network_sender("certificates: [a.example]")) == [
        f"9:19: senders[0].certificates: {words}"
    ]
    text = with_login_sender("token_hash: " + "sha256:" + "0" * 64 + "\ncertificates: [a.example]")
    assert warnings(text) == [f"11:19: senders[0].certificates: {words}"]
    assert warnings(with_listener(text, "client_ca: ca.pem")) == []


def test_an_arn_of_the_reverse_path_alone_is_warned_of() -> None:
    arn = "arn:aws:ses:eu-west-1:123456789012:identity/example.com"
    words = "authorises the reverse-path only: SES wants from_arn for the From header too"
    assert warnings(with_network_sender(f'ses: {{source_arn: "{arn}"}}')) == [
        f"9:23: senders[0].ses.source_arn: {words}"
    ]
    assert warnings(with_network_sender(f'ses: {{source_arn: "{arn}", from_arn: "{arn}"}}')) == []


@pytest.mark.parametrize("rewrite", ["", "when: always", "keep_original: true"])
def test_a_rewrite_that_changes_nothing_is_an_error(rewrite: str) -> None:
    assert complaints(with_rewrite(rewrite)) == [
        "9:14: senders[0].rewrite: changes nothing: give reverse_path, from, or both"
    ]


def test_an_original_is_kept_only_where_something_replaces_it() -> None:
    text = with_rewrite("reverse_path: scanner@example.com, keep_original: false")
    assert complaints(text) == [
        "9:65: senders[0].rewrite.keep_original: has no meaning without from"
    ]


@pytest.mark.P7
def test_a_rewrite_writes_as_the_sender_may() -> None:
    text = with_rewrite("reverse_path: root@example.com, from: Root <root@example.org>")
    words = "add it to senders[0].from, or use an address that is there"
    assert complaints(text) == [
        f"9:29: senders[0].rewrite.reverse_path: this sender may not write as root@example.com: {words}",
        f"9:53: senders[0].rewrite.from: this sender may not write as root@example.org: {words}",
    ]
    assert warnings(text.replace("scanner@example.com", '"@example.com", Root@Example.org')) == []


def test_a_rewrite_is_not_measured_by_a_list_that_is_broken() -> None:
    text = with_rewrite("reverse_path: root@example.com").replace("scanner@example.com", "5")
    (said,) = complaints(text)
    assert said.startswith("8:12: senders[0].from[0]: 5 is a number")


def test_mail_that_goes_elsewhere_is_warned_of() -> None:
    assert warnings(with_network_sender("redirect_all: staging@example.com")) == [
        "9:19: senders[0].redirect_all: all mail of this sender goes to staging@example.com and nobody else; leave redirect_all out to send to its recipients"
    ]


def test_a_list_of_nobody_is_not_taken_for_everybody() -> None:
    (said,) = complaints(with_network_sender("to: {allow: []}"))
    assert said == (
        "9:17: senders[0].to.allow: this sender could write to nobody: list addresses or domains, "
        "or leave it out"
    )
    assert loaded(with_network_sender("to: {allow:}")).settings.senders[0].to.allow is None


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ("burst: 5", "9:21: senders[0].limits.burst: has no meaning without a rate"),
        (
            "burst: 5, recipients: 9/h",
            "9:21: senders[0].limits.burst: has no meaning without a rate",
        ),
        (
            "over_limit: refuse",
            "9:26: senders[0].limits.over_limit: has no meaning without a rate or recipients",
        ),
        (
            "recipients: [9/h, 9/day, 10/h]",
            "9:39: senders[0].limits.recipients[2]: recipients[0] is over the same time: keep one per h and one per day",
        ),
    ],
)
def test_limits_that_mean_nothing_are_an_error(limits: str, complaint: str) -> None:
    assert complaints(with_network_sender(f"limits: {{{limits}}}")) == [complaint]


@pytest.mark.parametrize("limits", ["rate: 1/s", "recipients: 9/h", "recipients: [9/h, 90/day]"])
def test_above_either_limit_mail_may_be_refused(limits: str) -> None:
    assert warnings(with_network_sender(f"limits: {{{limits}, over_limit: refuse}}")) == []


def test_a_queue_too_small_for_one_message_is_warned_of() -> None:
    (warning,) = warnings(with_network_sender("limits: {queue: {size: 1MiB}}"))
    assert warning.startswith("9:28: senders[0].limits.queue.size: is less than message_size: its")
    assert warnings(with_network_sender("limits: {message_size: 1MiB, queue: {size: 1MiB}}")) == []


# --- X-SES fields ---------------------------------------------------------------------------------


def test_deny_beside_names_of_fields_is_an_error() -> None:
    assert complaints(with_network_sender("ses_headers: [deny, X-SES-TENANT]")) == [
        "9:18: senders[0].ses_headers: is either deny or names of header fields, not both"
    ]
    for single in ("deny", "X-SES-MESSAGE-TAGS", ""):
        assert warnings(with_network_sender(f"ses_headers: {single}")) == []


def test_an_x_ses_field_there_is_not_is_an_error() -> None:
    (complaint,) = complaints(with_network_sender("ses_headers: [X-SES-TENANT-NAME]"))
    assert "X-SES-CONFIGURATION-SET" in complaint


def test_fields_of_v2_need_an_account_that_may_use_it() -> None:
    text = with_network_sender("ses_headers: [X-SES-MESSAGE-TAGS, X-SES-TENANT]")
    v1 = "ses: {accounts: {main: {region: eu-west-1, api: v1}}}"
    (complaint,) = complaints(text.replace("ses: {region: eu-west-1}", v1))
    assert "X-SES-TENANT is known to v2 of the SES API only" in complaint


def test_more_tags_than_can_be_sent_are_an_error() -> None:
    tags = ", ".join(f"t{number}: x" for number in range(48))
    (complaint,) = complaints(with_network_sender(f"ses: {{tags: {{{tags}}}}}"))
    assert "are more than 47: with the relay's own, 50 are possible" in complaint


WITHOUT_QUEUE = (
    "relayed keeps no mail to send it later, which is what over_limit: pace (the default) means: "
    "write over_limit: refuse, or accept: relayed-or-queued"
)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (
            "accept: relayed\nlimits: {rate: 1/s}",
            f"9:13: senders[0].accept: {WITHOUT_QUEUE}",
        ),
        (
            "accept: relayed\nlimits: {recipients: 9/day, over_limit: pace}",
            f"9:13: senders[0].accept: {WITHOUT_QUEUE}",
        ),
        (
            "accept: relayed\nlimits: {recipients_per_message: 51}",
            ("10:38: senders[0].limits.recipients_per_message: is more than Amazon SES takes at "
            "once, and accept: relayed answers for all of them: at most 50, or accept: "
            "relayed-or-queued"),
        ),
        ("patience: 5s", "9:15: senders[0].patience: has no meaning with accept: queued"),
        (
            "accept: relayed\npatience: 6m",
            "10:15: senders[0].patience: '6m' is longer than clients wait for a reply: 5m at most",
        ),
    ],
)  # fmt: skip
def test_a_mode_that_cannot_do_what_is_asked_is_an_error(keys: str, complaint: str) -> None:
    assert complaints(with_network_sender(keys)) == [complaint]


@pytest.mark.parametrize(
    "keys",
    [
        "accept: relayed",
        "accept: relayed\nlimits: {rate: 1/s, over_limit: refuse}",
        "accept: relayed-or-queued\nlimits: {rate: 1/s}\npatience: 5m",
        "accept: queued",
    ],
)
def test_modes_that_can_are_not(keys: str) -> None:
    assert warnings(with_network_sender(keys)) == []


def test_who_waits_for_one_call_names_no_more_than_go_in_one() -> None:
    def caps(keys: str) -> int:
        (sender,) = loaded(with_network_sender(keys)).ruleset().senders.values()
        return sender.limits.recipients_per_message

    assert caps("accept: relayed") == 50
    assert caps("accept: relayed\nlimits: {recipients_per_message: 9}") == 9
    assert caps("accept: relayed-or-queued") == 1000
