"""Alert rules: each fires when it should and is quiet when it should, and says only what is there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
import yaml

from relay.cli.app import app
from relay.observe.reference import names, page, with_all_children
from relay.policy import conditions

ROOT = Path(__file__).parents[3]
RULES = ROOT / "config" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "config" / "grafana" / "relay-overview.json"
RUNBOOK = ROOT / "docs" / "runbook.md"
METRIC = re.compile(r"\b(?:relay|process|python)_[a-z0-9_]+")
# What is found of rates and of what Prometheus alone sees; `relay status` has no memory for it.
PROMETHEUS_ALONE = {"RelayDown", "RelayMailDelayed", "RelaySpoolFillsSoon"}


@pytest.fixture
def promtool() -> str:
    """The program; CI allows no skip."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return found


def rules() -> Mapping[str, Mapping[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


class Case(NamedTuple):
    """Series, written as promtool has them, and when (in minutes) the alert does what it should."""

    alert: str
    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    after: int = 60
    every: int = 1


def failures(error: str) -> str:
    return f'relay_ses_request_failures_total{{account="main",operation="send",error="{error}"}}'


REQUESTS = 'relay_ses_requests_total{account="main",operation="send"}'
BREAKER = 'relay_ses_breaker_open{account="main"}'
ENABLED = 'relay_ses_sending_enabled{account="main"}'
CREDENTIALS = 'relay_ses_credentials_available{account="main"}'
RELAYED = 'relay_recipients_relayed_total{account="main"}'
DUE = "relay_queue_oldest_due_timestamp_seconds"
USED = 'relay_ses_quota_daily_used_recipients{account="main"}'
DAILY = 'relay_ses_quota_daily_recipients{account="main"}'
HELD = 'relay_ses_daily_quota_holds{account="main",priority="transactional"}'
BOUNCES = 'relay_feedback_bounces_total{bounce_class="permanent"}'
WAITED = 'relay_queue_time_seconds_bucket{outcome="relayed",le="%s"}'

CASES = [
    Case("RelayDown", {"up": "0x90"}, {"up": "1x90"}),
    Case("RelayDeliveryStalled", {DUE: "0x90", RELAYED: "100x90"}, {DUE: "0x90", RELAYED: "0+1x90"}),
    Case("RelayDeliveryStalled", {DUE: "0x90", RELAYED: "5x90", BREAKER: "0x90"}, {DUE: "0x90", RELAYED: "5x90", BREAKER: "1x90"}),
    Case("RelayDeliveryStalled", {DUE: "0x90", RELAYED: "5x90", ENABLED: "1x90"}, {DUE: "0x90", RELAYED: "5x90", ENABLED: "0x90"}),
    Case("RelayDeliveryStalled", {DUE: "0x90", RELAYED: "5x90", HELD: "0x90"}, {DUE: "0x90", RELAYED: "5x90", HELD: "1x90"}),
    Case("RelayDeliveryStalled", {DUE: "0x90", RELAYED: "5x90", failures("throttled"): "1x90"}, {DUE: "0x90", RELAYED: "5x90", failures("throttled"): "0+1x90"}),
    Case("RelayMailDelayed", {WAITED % "60": "0x90", WAITED % "900": "0+9x90", WAITED % "+Inf": "0+9x90"}, {WAITED % "60": "0+9x90", WAITED % "900": "0+9x90", WAITED % "+Inf": "0+9x90"}),
    Case("RelaySpoolFillsSoon", {"relay_spool_free_bytes": "10000-20x300", "relay_spool_reserve_bytes": "1000x300"}, {"relay_spool_free_bytes": "90000-20x300", "relay_spool_reserve_bytes": "1000x300"}, 280),
    Case("RelaySpoolRefusing", {"relay_spool_free_bytes": "10x90", "relay_spool_reserve_bytes": "20x90"}, {"relay_spool_free_bytes": "30x90", "relay_spool_reserve_bytes": "20x90"}),
    Case("RelaySpoolRefusing", {"relay_spool_outcome_reserve_bytes": "0x90"}, {"relay_spool_outcome_reserve_bytes": "67108864x90"}),
    Case("RelaySpoolRefusing", {'relay_database_available{database="spool"}': "0x90"}, {'relay_database_available{database="record"}': "0x90"}),
    Case("RelaySpoolRefusing", {'relay_spool_commit_failures_total{reason="io"}': "0+1x90"}, {'relay_spool_commit_failures_total{reason="io"}': "7x90"}),
    Case("RelaySpoolCorrupt", {'relay_queue_messages{state="corrupt"}': "1x90"}, {'relay_queue_messages{state="corrupt"}': "0x90", 'relay_queue_messages{state="failed"}': "3x90"}),
    Case("RelayRecordUnavailable", {'relay_database_available{database="record"}': "0x90"}, {'relay_database_available{database="spool"}': "0x90"}),
    Case("RelaySesUnreachable", {BREAKER: "1x90", failures("timeout"): "0+1x90"}, {BREAKER: "0x90", failures("timeout"): "0+1x90"}),
    Case("RelaySesUnreachable", {BREAKER: "1x90", failures("connection"): "0+1x90", ENABLED: "1x90"}, {BREAKER: "1x90", failures("connection"): "0+1x90", ENABLED: "0x90"}),
    Case("RelaySesUnreachable", {BREAKER: "1x90", failures("server"): "0+1x90", CREDENTIALS: "1x90"}, {BREAKER: "1x90", failures("server"): "0+1x90", CREDENTIALS: "0x90"}),
    Case("RelaySesAccessRefused", {failures("not_verified"): "0+1x90"}, {failures("throttled"): "0+1x90", failures("connection"): "0+1x90"}),
    Case("RelaySesAccessRefused", {CREDENTIALS: "0x90"}, {CREDENTIALS: "1x90"}),
    Case("RelaySesErrors", {failures("server"): "0+1x90", REQUESTS: "0+10x90"}, {failures("server"): "0+1x90", REQUESTS: "0+100x90"}),
    Case("RelaySesErrors", {failures("other"): "0+1x90", REQUESTS: "0+10x90", BREAKER: "0x90"}, {failures("other"): "0+1x90", REQUESTS: "0+10x90", BREAKER: "1x90"}),
    Case("RelaySesThrottled", {failures("throttled"): "0+2x90", REQUESTS: "0+10x90"}, {failures("throttled"): "0+1x90", failures("server"): "0+5x90", REQUESTS: "0+20x90"}),
    Case("RelaySesSendingPaused", {ENABLED: "0x90"}, {ENABLED: "1x90"}),
    Case("RelaySesDailyQuotaLow", {USED: "950x90", DAILY: "1000x90"}, {USED: "100000x90", DAILY: "1e18x90"}),
    Case("RelaySesDailyQuotaLow", {USED: "950x90", DAILY: "1000x90", HELD: "0x90"}, {USED: "1000x90", DAILY: "1000x90", HELD: "1x90"}),
    Case("RelaySesDailyQuotaUsedUp", {HELD: "1x90"}, {HELD.replace("transactional", "bulk"): "1x90"}),
    Case("RelayBounceRateHigh", {BOUNCES: "0+1x400", RELAYED: "0+20x400"}, {BOUNCES: "0+0.5x400", RELAYED: "0+0.5x400"}, 25 * 60, 4),
    Case("RelayBounceRateHigh", {BOUNCES: "0+1x400", RELAYED: "0+20x400"}, {BOUNCES.replace("permanent", "transient"): "0+9x400", RELAYED: "0+20x400"}, 25 * 60, 4),
    Case("RelayComplaintRateHigh", {"relay_feedback_complaints_total": "0+1x400", RELAYED: "0+1000x400"}, {"relay_feedback_complaints_total": "0+1x400", RELAYED: "0+2000x400"}, 25 * 60, 4),
    Case("RelayRecipientsFailed", {'relay_recipients_failed_total{reason="rejected"}': "0+1x90", "relay_recipients_accepted_total": "0+10x90"}, {'relay_recipients_failed_total{reason="suppressed"}': "0+1x90", "relay_recipients_accepted_total": "0+10x90"}, 80),
    Case("RelayFeedbackSilent", {"relay_feedback_last_event_timestamp_seconds": "0x200", RELAYED: "0+10x200"}, {"relay_feedback_last_event_timestamp_seconds": "0x200", RELAYED: "9x200"}, 8 * 60, 4),
    Case("RelayMailHeldLong", {"relay_queue_held_long_messages": "2x90"}, {"relay_queue_held_long_messages": "0x90"}),
    Case("RelayConfigReloadFailed", {"relay_config_last_reload_successful": "0x90"}, {"relay_config_last_reload_successful": "1x90"}),
    Case("RelayCertificateExpiresSoon", {'relay_tls_certificate_expiry_timestamp_seconds{listener="a"}': "1200000x90"}, {'relay_tls_certificate_expiry_timestamp_seconds{listener="a"}': "1300000x90"}, 85),
    Case("RelayProbeFailing", {"relay_probe_last_success_timestamp_seconds": "0x90"}, {"relay_probe_last_success_timestamp_seconds": "0+60x90"}),
    Case("RelayClockInDoubt", {"relay_clock_in_doubt": "1x90"}, {"relay_clock_in_doubt": "0x90"}),
    Case("RelayLogLinesDropped", {"relay_log_events_dropped_total": "0+1x90"}, {"relay_log_events_dropped_total": "5x90"}),
    Case("RelayInternalFaults", {"relay_internal_faults_total": "0+1x90"}, {"relay_internal_faults_total": "5x90"}),
]  # fmt: skip


def test_each_rule_has_a_case() -> None:
    assert {case.alert for case in CASES} == set(rules())


@pytest.mark.parametrize("every", [1, 4])
def test_each_rule_fires_when_it_should_and_only_then(
    tmp_path: Path, promtool: str, every: int
) -> None:
    cases = [case for case in CASES if case.every == every]
    # Of days, no rules are evaluated but those they are for.
    chosen = [rule for name, rule in rules().items() if name in {case.alert for case in cases}]
    file = tmp_path / "alerts.yaml"
    file.write_text(json.dumps({"groups": [{"name": "relay", "rules": chosen}]}))
    series, questions = [], []
    for number, case in enumerate(cases):
        for word, given, samples in (
            ("fires", case.fires, [{"labels": "{}", "value": 1}]),
            ("quiet", case.quiet, []),
        ):
            # All at once, each on an instance of its own: none may be moved by another's.
            instance = f"{case.alert} {word} {number}"
            series += [
                {"series": _at(instance, name), "values": values} for name, values in given.items()
            ]
            chosen_by = f'alertname="{case.alert}",alertstate="firing",instance="{instance}"'
            questions.append(
                {
                    "expr": f"count(ALERTS{{{chosen_by}}})",
                    "eval_time": f"{case.after}m",
                    "exp_samples": samples,
                }
            )
    tests = [{"interval": f"{every}m", "input_series": series, "promql_expr_test": questions}]
    asked = tmp_path / "alerts_test.yaml"
    document = {
        "rule_files": [str(file)],
        "evaluation_interval": f"{every}m",
        "tests": tests,
    }
    asked.write_text(json.dumps(document))
    done = subprocess.run(
        [promtool, "test", "rules", str(asked)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _at(instance: str, series: str) -> str:
    """Return a series with the labels a scrape gives it."""
    name, _, labels = series.partition("{")
    rest = f",{labels}" if labels else "}"
    return f'{name}{{job="relay",instance="{instance}"{rest}'


def test_conditions_of_the_status_and_rules_bear_the_same_names() -> None:
    source = Path(conditions.__file__).read_text()
    assert set(re.findall(r'"(Relay\w+)"', source)) == set(rules()) - PROMETHEUS_ALONE


def test_conditions_of_the_status_and_rules_are_equally_severe() -> None:
    source = Path(conditions.__file__).read_text()
    for severity, alert in re.findall(r'_(critical|warning)\(\s*"(Relay\w+)"', source):
        assert rules()[alert]["labels"]["severity"] == severity, alert


@pytest.mark.parametrize(
    ("alert", "part"),
    [
        ("RelayDeliveryStalled", f"> {conditions.STALLED} * 60"),
        ("RelaySesErrors", f"> {conditions.ERROR_SHARE}"),
        ("RelaySesErrors", f"[{conditions.TROUBLE_WINDOW}m]"),
        ("RelaySesThrottled", f"> {conditions.THROTTLED_SHARE}"),
        ("RelaySesThrottled", f"[{conditions.THROTTLE_WINDOW}m]"),
        ("RelaySesAccessRefused", "|".join(conditions.ACCESS_ERRORS)),
        ("RelaySesUnreachable", "|".join(conditions.WAY_ERRORS)),
        ("RelaySesErrors", "|".join(conditions.OTHER_ERRORS)),
        ("RelaySesDailyQuotaLow", f"> {conditions.QUOTA_SHARE}"),
        ("RelayBounceRateHigh", f"> {conditions.BOUNCE_SHARE}"),
        ("RelayBounceRateHigh", f"> {conditions.REPUTATION_VOLUME})"),
        ("RelayComplaintRateHigh", f"> {conditions.COMPLAINT_SHARE}"),
        ("RelayRecipientsFailed", f"> {conditions.FAILED_SHARE}"),
        ("RelayRecipientsFailed", f"> {conditions.FAILED_VOLUME})"),
        ("RelayFeedbackSilent", f"> {conditions.FEEDBACK_SILENCE // 60} * 3600"),
        ("RelayFeedbackSilent", f"> {conditions.FEEDBACK_VOLUME})"),
        ("RelayCertificateExpiresSoon", f"< {conditions.CERTIFICATE_DAYS} * 86400"),
        ("RelayProbeFailing", f"> {conditions.PROBE_SILENCE} * 60"),
    ],
)
def test_conditions_of_the_status_and_rules_have_the_same_limits(alert: str, part: str) -> None:
    assert part in rules()[alert]["expr"], f"{alert} and relay.policy.conditions disagree"


def test_a_rule_says_what_it_is_and_where_to_read_on() -> None:
    sections = dict(_sections())
    assert set(sections) == {name.lower() for name in rules()}
    for name, rule in rules().items():
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url"}, name
        assert "{{" not in notes["summary"], f"{name}: the summary is to be the same every time"
        assert notes["summary"].endswith("."), name
        assert rule["labels"].keys() == {"severity"}, name
        assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        words = re.findall(r"^\*\*(\w+)\.\*\*", sections[name.lower()], re.MULTILINE)
        assert words == ["Meaning", "Impact", "Diagnosis", "Mitigation"], name


def _sections() -> Iterator[tuple[str, str]]:
    for section in RUNBOOK.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        yield title.lower(), text


def test_every_link_of_the_pages_leads_somewhere() -> None:
    for page_file in (RUNBOOK, ROOT / "docs" / "metrics.md", ROOT / "docs" / "logs.md"):
        for target in re.findall(r"\]\(([^)]+)\)", page_file.read_text()):
            path, _, anchor = target.partition("#")
            found = page_file if not path else page_file.parent / path
            assert found.exists(), f"{page_file.name}: {target}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
                assert anchor in {title.lower() for title in titles}, f"{page_file.name}: {target}"


def test_every_command_of_the_runbook_is_one_that_there_is() -> None:
    text = RUNBOOK.read_text()
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    words = re.findall(r"^(relay [^\n|]+)", blocks, re.MULTILINE)
    # A line may end inside of what stands between backticks.
    words += [" ".join(one.split()) for one in re.findall(r"`(relay [^`]+)`", text)]
    assert len(words) > 30
    for line in words:
        _parse(shlex.split(line)[1:], line)


def _parse(words: list[str], line: str) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, f"{line}: of what?"
        name, *words = words
        assert name in command.commands, f"there is no {line}"
        command = command.commands[name]
    # Named without words of its own it is only spoken of.
    if words:
        command.make_context("relay", list(words)).close()


def test_every_metric_that_is_named_is_there() -> None:
    known = names()
    for file in (RULES, RUNBOOK, DASHBOARD, ROOT / "README.md", ROOT / "docs/delivery.md"):
        named = set(METRIC.findall(file.read_text()))
        # Of a family the README may name the beginning.
        unknown = {name for name in named - known if f"{name}_bucket" not in known}
        assert not unknown, f"{file.name} names {sorted(unknown)}"


def test_the_page_of_metrics_is_current() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == page(), "run `make docs`"


def test_promtool_has_no_complaint_about_any_metric(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=with_all_children().exposition(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert not done.stdout + done.stderr


def test_there_is_no_series_of_when_a_series_began() -> None:
    assert not {name for name in names() if name.endswith("_created")}
