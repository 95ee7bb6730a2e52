"""Metrics of the cache's governance, and the alerts on them."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.cache.belief import ShadowTally
from serving.cache.lookup import SemanticCache
from serving.cache.protocol import Feedback, Signal
from serving.cache.signature import Signer
from serving.cache.store import FILE, CacheStore
from serving.cache.types import Outcome, Reason
from serving.call.cache_watch import watch_cache
from serving.call.shadow import ShadowResult
from serving.errors import Category
from serving.services.cache_metrics import CacheMetrics
from serving.settings import Settings
from serving.telemetry.cache_metrics import RESULTS, CacheCounts
from serving.telemetry.metrics import TurnMetrics
from tests.serving.cache_world import SIGNER, WordEmbedder, entry, fill

ALERTS = Path(__file__).parents[3] / "deploy" / "prometheus" / "cache-alerts.yaml"


def exposed(metrics: TurnMetrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs if name.startswith("voicebot_cache")}


def watch(settings: Settings, metrics: TurnMetrics, signer: Signer = SIGNER) -> None:
    cache = SemanticCache(settings.home / "cache", WordEmbedder(), threshold=0.75)
    watch_cache(settings, cache, metrics.cache, signer, WordEmbedder(), b"sixteen bytes ok").close()


def test_the_store_is_counted_at_each_scrape_whoever_changed_it(settings: Settings) -> None:
    metrics = TurnMetrics()
    watch(settings, metrics)
    assert "voicebot_cache_entries" not in exposed(metrics)  # no cache yet, and none is made
    assert not (settings.home / "cache").exists()
    entries = [entry(f"q {at}") for at in range(5)]
    fill(settings.home / "cache", entries)
    found = exposed(metrics)
    assert (found["voicebot_cache_entries"], found["voicebot_cache_quarantined"]) == (5, 0)
    store = CacheStore(settings.home / "cache" / FILE)
    store.quarantine(entries[0].id, actor="kim", why="test")
    store.remove([entries[1].id, entries[2].id], actor="kim", why="evicted: accuracy")
    store.remove_scopes([entries[0].scope], actor="kim")
    found = exposed(metrics)
    assert found['voicebot_cache_evictions_total{cause="accuracy"}'] == 2
    assert found['voicebot_cache_evictions_total{cause="orphaned"}'] == 3
    assert (found["voicebot_cache_entries"], found["voicebot_cache_quarantined"]) == (0, 0)


def test_a_store_that_cannot_be_read_costs_its_metrics_and_no_scrape(settings: Settings) -> None:
    metrics = TurnMetrics()
    watch(settings, metrics)
    (settings.home / "cache").mkdir(parents=True)
    (settings.home / "cache" / FILE).write_bytes(b"no database")
    assert "voicebot_cache_entries" not in exposed(metrics)
    assert b"voicebot_active_calls" in metrics.exposition()


def test_refusals_are_counted_by_reason() -> None:
    metrics = TurnMetrics()
    metrics.cache.watch(lambda: CacheCounts(1, 0, refusals={"number_not_in_knowledge": 3}))
    assert exposed(metrics)['voicebot_cache_refusals_total{refusal="number_not_in_knowledge"}'] == 3


def test_before_the_first_check_the_bound_is_one() -> None:
    metrics = TurnMetrics()
    metrics.cache.watch(lambda: CacheCounts(0, 0))
    found = exposed(metrics)
    assert found["voicebot_cache_false_hits_upper_bound"] == 1.0
    assert found["voicebot_cache_shadow_checks"] == 0
    assert {f'voicebot_cache_shadow_total{{result="{result}"}}' for result in RESULTS} <= found.keys()
    assert set(RESULTS) == {result.value for result in ShadowResult}


def test_checks_of_earlier_processes_are_in_the_bound_from_the_start(settings: Settings) -> None:
    fill(settings.home / "cache", [entry()])
    store, now = CacheStore(settings.home / "cache" / FILE), datetime.now(UTC)
    for at, signal in enumerate([Signal.SHADOW_AGREES] * 3 + [Signal.SHADOW_DISAGREES, Signal.WRONG]):
        store.add_feedback(Feedback(entry().id, signal, now, f"call:{at}:1", "shadow"))
    past = now - timedelta(days=900)
    store.add_feedback(Feedback("long ago", Signal.SHADOW_DISAGREES, past, "o", "shadow"))
    metrics = TurnMetrics()
    watch(settings, metrics)
    found = exposed(metrics)
    assert found["voicebot_cache_shadow_checks"] == 4
    assert found["voicebot_cache_false_hits_upper_bound"] == ShadowTally(4, 1).upper_bound() < 1.0


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def expressions() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in rules()}


def test_every_metric_that_an_alert_asks_for_exists() -> None:
    counts = CacheCounts(1, 0, 0, 1.0, {"accuracy": 1}, {"number": 1})
    metrics, service = TurnMetrics(), CacheMetrics(lambda: counts)
    metrics.cache.watch(lambda: counts)
    service.failed("lookup", Category.UNAVAILABLE.value)
    exposition = metrics.exposition().decode() + service.exposition().decode()
    families = set(re.findall(r"^(voicebot_\w+)", exposition, re.MULTILINE))
    families |= {"voicebot_cache_lookups_total"}
    for alert, expression in expressions().items():
        assert set(re.findall(r"voicebot_\w+", expression)) <= families, alert


@pytest.mark.parametrize(
    ("label", "counted"),
    [("reason", {*Reason}), ("category", {*Category}), ("result", {*RESULTS}), ("outcome", {*Outcome})],
)
def test_the_words_that_alerts_choose_by_are_those_that_are_counted(label: str, counted: set[str]) -> None:
    asked = re.findall(rf'\b{label}=~?"([^"]+)"', " ".join(expressions().values()))
    assert asked
    assert {word for words in asked for word in words.split("|")} <= counted


def test_the_bound_can_fall_below_what_alerts_in_the_checks_that_it_waits_for() -> None:
    expression = expressions()["CacheFalseHitsNotBounded"]
    most, checks = re.search(r"> ([\d.]+) and .* >= (\d+)", expression).groups()  # type: ignore[union-attr]
    assert ShadowTally(int(checks), 0).upper_bound() < 0.011 < float(most)
    assert ShadowTally(int(checks), int(checks) // 50).upper_bound() > float(most)


LOOKUPS = "voicebot_cache_lookups_total"
FAILURES = "voicebot_cache_service_failures_total"


@pytest.mark.parametrize(
    ("alert", "series", "quiet_until", "fires", "labels"),
    [
        (
            "CacheFalseHitsNotBounded",
            {"voicebot_cache_false_hits_upper_bound": "0.03x60", "voicebot_cache_shadow_checks": "600x60"},
            "10m",
            True,
            {"severity": "page"},
        ),
        (
            "CacheLookupsFail",
            {f'{LOOKUPS}{{reason="error"}}': "0+2x60", f'{LOOKUPS}{{reason="exact"}}': "0+20x60"},
            "5m",
            True,
            {"severity": "ticket"},
        ),
        (
            "CacheLookupsFail",
            {f'{LOOKUPS}{{reason="error"}}': "0+2x60", f'{LOOKUPS}{{reason="exact"}}': "0+80x60"},
            "5m",
            False,
            {},
        ),
        (
            "CacheServiceFails",
            {f'{FAILURES}{{route="insert",category="unavailable"}}': "0+3x60"},
            "5m",
            True,
            {"severity": "ticket", "route": "insert"},
        ),
        (
            "CacheServiceFails",
            {f'{FAILURES}{{route="insert",category="invalid_input"}}': "0+30x60"},
            "5m",
            False,
            {},
        ),
    ],
)
def test_prometheus_takes_the_alerts_and_they_fire_when_they_should(
    tmp_path: Path,
    alert: str,
    series: dict[str, str],
    quiet_until: str,
    fires: bool,
    labels: dict[str, str],
) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not on this machine")
    (rule,) = (rule for rule in rules() if rule["alert"] == alert)
    fired = [{"exp_labels": labels, "exp_annotations": rule["annotations"]}] if fires else []
    case = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": quiet_until, "alertname": alert, "exp_alerts": []},
                    {"eval_time": "50m", "alertname": alert, "exp_alerts": fired},
                ],
            }
        ],
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    done = subprocess.run(
        [tool, "test", "rules", str(tmp_path / "case.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
