"""Every outage raises its alert, and no other; and the status says the same in a sentence.

A relay and a simulated SES for each, all watched by one Prometheus with the rules of
config/prometheus, in which a minute lasts a fraction of a second.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.system.house import ROOT, spawn
from tests.system.outages import OUTAGES, Scene, staged
from tests.system.watched import LONGEST, MINUTE, VOLUME

RULES: Final = ROOT / "config" / "prometheus" / "alerts.yaml"
SCRAPE: Final = 0.4  # seconds
_SECONDS: Final = {"m": 60, "h": 3600}


def hurried(rules: str) -> str:
    """Return the rules with minutes as short as the relay's, and long times cut short."""

    def milliseconds(seconds: int) -> int:
        return round(min(seconds, LONGEST * 60) / 60 * MINUTE * 1000)

    def window(found: re.Match[str]) -> str:
        return f"{found[1]}{milliseconds(int(found[2]) * _SECONDS[found[3]])}ms{found[4]}"

    def span(found: re.Match[str]) -> str:
        return f"{milliseconds(int(found[1]) * int(found[2])) / 1000}"

    rules = re.sub(r"(\[)(\d+)([mh])(\])", window, rules)
    rules = re.sub(r"(for: )(\d+)([mh])(\n)", window, rules)
    rules = re.sub(r"\b(\d+) \* (60|3600)\b", span, rules)
    return re.sub(r"> (200|50|20)\)", f"> {VOLUME})", rules)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    async def ask(self, path: str) -> Any:
        def get() -> Any:
            with urllib.request.urlopen(self.url + path) as answer:
                return json.load(answer)["data"]

        return await asyncio.to_thread(get)

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that fire now."""
        found = (await self.ask("/api/v1/alerts"))["alerts"]
        return [alert for alert in found if alert["state"] == "firing"]

    async def fired(self) -> Mapping[str, set[str]]:
        """Return which alerts have fired at any time, by instance."""
        query = 'count by (instance, alertname) (count_over_time(ALERTS{alertstate="firing"}[1h]))'
        answer = await self.ask(f"/api/v1/query?query={urllib.parse.quote(query)}")
        found: dict[str, set[str]] = {}
        for one in answer["result"]:
            labels = one["metric"]
            found.setdefault(labels["instance"], set()).add(labels["alertname"])
        return found


@asynccontextmanager
async def prometheus(
    program: str, directory: Path, ports: Mapping[str, int]
) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes those ports, each under its name."""
    (directory / "rules.yaml").write_text(hurried(RULES.read_text()))
    scrape = f"{round(SCRAPE * 1000)}ms"
    document = {
        "global": {"scrape_interval": scrape, "evaluation_interval": scrape},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "relay",
                "scrape_timeout": scrape,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}}
                    for name, port in ports.items()
                ],
            }
        ],
    }
    config = directory / "prometheus.yaml"
    config.write_text(json.dumps(document))
    process = await spawn(
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        {},
    )
    stderr = process.stderr
    assert stderr is not None
    said: list[str] = []
    try:
        while not (found := re.search(r'"Listening on" address=(\S+)', "".join(said[-1:]))):
            said.append((await stderr.readline()).decode())
            assert said[-1], "".join(said)
        reading = asyncio.create_task(stderr.read())
        yield Prometheus(f"http://{found[1]}")
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    await reading


async def until(holds: Callable[[], Any], seconds: float) -> bool:
    """Ask again and again, for so long: Prometheus tells nobody by itself."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():  # noqa: ASYNC110 - Prometheus has no events
                await asyncio.sleep(SCRAPE)
    except TimeoutError:
        return False
    return True


@pytest.mark.P8
@pytest.mark.timeout(300)
async def test_each_outage_raises_its_alert_alone_and_the_status_names_it(
    tmp_path: Path, needs: Callable[[str], str]
) -> None:
    program = needs("prometheus")
    async with AsyncExitStack() as stack:
        scenes = {
            name: await stack.enter_async_context(staged(name, outage, tmp_path / name))
            for name, outage in OUTAGES.items()
        }
        ports = {name: scene.relay.ports["metrics"] for name, scene in scenes.items()}
        watching = await stack.enter_async_context(prometheus(program, tmp_path, ports))

        async def all_scraped() -> bool:
            try:
                answer = await watching.ask("/api/v1/query?query=up")
            except OSError:
                return False
            return [one["value"][1] for one in answer["result"]] == ["1"] * len(scenes)

        assert await until(all_scraped, 60), "Prometheus does not scrape the relays"
        await asyncio.gather(*(OUTAGES[name].cause(scene) for name, scene in scenes.items()))

        wrong: list[str] = []
        waiting = set(OUTAGES)

        async def all_fired() -> bool:
            firing = await watching.alerts()
            for name in sorted(waiting):
                mine = [one for one in firing if one["labels"]["instance"] == name]
                if OUTAGES[name].alert in {one["labels"]["alertname"] for one in mine}:
                    waiting.discard(name)
                    wrong.extend(_misspoken(mine))
                    if name != "down":
                        wrong.extend(await _misjudged(name, scenes[name]))
            return not waiting

        await until(all_fired, 60)
        fired = await watching.fired()
    for name, outage in OUTAGES.items():
        found = fired.get(name, set())
        if found != {outage.alert}:
            wrong.append(f"{name}: {outage.alert} was to fire, and {sorted(found)} did")
    assert not wrong, "\n".join(wrong)


def _misspoken(alerts: list[dict[str, Any]]) -> list[str]:
    """Return what the annotations of alerts fail to say."""
    return [
        f"{alert['labels']['alertname']} says: {words}"
        for alert in alerts
        for words in alert["annotations"].values()
        if "error expanding" in words or "<no value>" in words
    ]


async def _misjudged(name: str, scene: Scene) -> list[str]:
    """Return where the status of a relay says something else than its alert."""
    alert = OUTAGES[name].alert
    _, out, err = await scene.relay.cli("status", "--json")
    if not out:
        return [f"{name}: no status: {err}"]
    status = json.loads(out)
    named = [one["alert"] for one in status["conditions"]]
    if named != [alert]:
        return [f"{name}: the status names {named} instead of {alert}"]
    (condition,) = status["conditions"]
    if status["verdict"] != condition["words"]:
        return [f"{name}: {status['verdict']}"]
    return []
