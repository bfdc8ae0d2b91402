"""The dashboard works however it is loaded, and says of each panel what it shows.

The rules of grafana/dashboard-linter, as far as they concern a Prometheus dashboard.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.observe.reference import with_all_children

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "config" / "grafana" / "relay-overview.json").read_text())
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What Grafana puts in place of its variables.
STAND_INS = {"$__rate_interval": "2m", "$__range": "6h", "$job": ".+", "$instance": ".+"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["expr"]


def test_it_is_one_and_the_same_wherever_it_is_loaded() -> None:
    assert DASHBOARD["uid"] == "relay-overview"
    # An export for sharing has them, and provisioning does not fill them in.
    for key in ("__inputs", "__requires", "__elements", "id"):
        assert key not in DASHBOARD
    assert (DASHBOARD["timezone"], DASHBOARD["refresh"]) == ("utc", "30s")


def test_its_variables_choose_data_source_job_and_instance() -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == (
        "datasource",
        "prometheus",
    )
    for name in ("job", "instance"):
        one = variables[name]
        assert one["datasource"] == SOURCE
        assert (one["multi"], one["includeAll"], one["allValue"]) == (True, True, ".+")
        assert one["label"] == name.capitalize()
        assert one["refresh"] == 2, "values are to follow the time range"


def test_there_are_few_enough_panels_to_be_looked_at_and_none_hides_another() -> None:
    assert 15 <= len(panels()) <= 30
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_which_unit_and_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert panel["fieldConfig"]["defaults"]["unit"]
    (link,) = panel["links"]
    path, _, anchor = link["url"].partition("#")
    text = (ROOT / path).read_text()
    assert not anchor or anchor in {
        title.lower() for title in re.findall(r"^## (.+)$", text, re.MULTILINE)
    }
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert target["legendFormat"]
        assert "$job" in target["expr"]
        assert "$instance" in target["expr"]


def test_rates_fit_the_scrape_interval_whatever_it_is() -> None:
    for title, expression in expressions():
        for function, window in re.findall(
            r"\b(rate|irate|increase)\([^\[]*\[([^\]]+)\]", expression
        ):
            assert function != "irate", title
            # A day's share is a day's, and a use within what is looked at within that.
            assert window in ("$__rate_interval", "24h", "$__range"), f"{title}: {window}"


def test_counters_are_never_shown_as_they_are() -> None:
    families = with_all_children().registry.collect()
    counters = {f"{family.name}_total" for family in families if family.type == "counter"}
    for title, expression in expressions():
        for name in set(re.findall(r"\b\w+_total\b", expression)):
            assert name in counters, f"{title}: {name}"
            assert re.search(rf"(rate|increase|changes)\({name}\b", expression), title


def test_prometheus_reads_every_expression(tmp_path: Path) -> None:
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, (_, expression) in enumerate(expressions()):
        for variable, stand_in in STAND_INS.items():
            expression = expression.replace(variable, stand_in)  # noqa: PLW2901
        lines += [f"  - record: panel:{number}", f"    expr: {json.dumps(expression)}"]
    rules = tmp_path / "rules.yaml"
    rules.write_text("\n".join(lines))
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
