"""The flows on a real Prefect server and a real MLflow database: what they leave, and what they refuse."""

import json
import shutil
import time
from pathlib import Path

import pytest

from flows.evaluate_speech import evaluate_speech
from flows.promote_adapter import promote_adapter, rollback_adapter
from flows.report_kpis import report_kpis
from flows.training_inputs import TrainRequest
from serving.adapters.manifest import MANIFEST_FILE, read_manifest, seal
from serving.adapters.registry import AdapterRegistry
from serving.call.caller import CallerLine
from serving.call.runtime import Runtime
from serving.call.script import load_script
from serving.errors import RefusedError, VoicebotError
from serving.speech.engines import caller_tts
from serving.transports.scripted import ScriptCaller
from tests.circle.fixtures import Circle

NAME = "banking-lora"


def copied_version(circle: Circle, tmp_path: Path, note: str) -> int:
    """The champion's adapter once more, as a version of its own."""
    registry = AdapterRegistry.from_settings(circle.settings)
    champion = registry.get(NAME, 1)
    folder = tmp_path / "bundle"
    shutil.copytree(champion.bundle, folder)
    provenance = read_manifest(folder).provenance
    (folder / MANIFEST_FILE).unlink()
    folder.chmod(0o700)
    card = folder / "card.md"
    card.chmod(0o600)
    card.write_text(card.read_text() + note)
    seal(folder, provenance)
    return registry.register(NAME, folder, by="test").version


def test_training_leaves_a_judged_challenger_and_a_run_for_the_baseline(circle: Circle) -> None:
    from mlflow import MlflowClient

    trained = circle.trained
    assert (trained.name, trained.version, trained.gate) == (NAME, 1, "passed")
    assert trained.trained_parameters <= 800_000
    assert trained.accuracy > 0.85
    assert trained.split == "test"
    client = MlflowClient(tracking_uri=circle.settings.mlflow_uri)
    adapter, baseline = client.get_run(trained.run_id), client.get_run(trained.baseline_run_id)
    assert adapter.data.metrics["test.accuracy"] == pytest.approx(trained.accuracy)
    assert baseline.data.metrics["test.accuracy"] == pytest.approx(trained.baseline)
    assert adapter.info.status == baseline.info.status == "FINISHED"
    assert len(adapter.data.tags["dataset.sha256"]) == 64
    assert adapter.data.tags["dataset.source"] == "intents"
    artifacts = {item.path for item in client.list_artifacts(trained.run_id)}
    assert artifacts == {"bundle", "label_noise.csv"}


def test_no_file_of_a_bundle_names_a_place_on_the_machine_that_trained_it(circle: Circle) -> None:
    bundle = AdapterRegistry.from_settings(circle.settings).get(NAME, 1).bundle
    for name in ("metrics.json", "card.md"):
        text = (bundle / name).read_text(encoding="utf-8")
        assert str(circle.settings.data) not in text
        assert str(Path.home()) not in text or str(Path.home()) == "/"


def test_the_bundle_proves_that_only_lora_and_the_head_changed(circle: Circle) -> None:
    manifest = AdapterRegistry.from_settings(circle.settings).get(NAME, 1).verify()
    assert manifest.provenance.base_sha256 == manifest.provenance.base_sha256_after
    assert all(".lora_" in name or ".classifier." in name for name in manifest.provenance.changed_tensors)


def test_the_first_promotion_had_no_champion_before_it_and_is_audited(circle: Circle) -> None:
    assert circle.promoted.promoted
    assert circle.promoted.champion_before is None
    history = AdapterRegistry.from_settings(circle.settings).history(NAME)
    promotion = next(entry for entry in history if entry.act.action == "promote")
    assert (promotion.act.by, promotion.act.reason) == ("test-operator", "the first of all")


def test_the_cache_holds_every_reusable_question_and_finds_each_again(circle: Circle) -> None:
    assert circle.cache.entries > 300
    assert circle.cache.recalled == 1.0
    assert circle.promoted.cache_entries == circle.cache.entries


def test_promoting_the_champion_again_is_refused(circle: Circle) -> None:
    with pytest.raises(RefusedError, match="champion already"):
        promote_adapter(version=1)


def test_a_dry_run_judges_and_moves_nothing(circle: Circle, tmp_path: Path) -> None:
    version = copied_version(circle, tmp_path, "dry run")
    outcome = promote_adapter(version=version, dry_run=True)
    assert (outcome.promoted, outcome.gate, outcome.champion_before) == (False, "passed", 1)
    registry = AdapterRegistry.from_settings(circle.settings)
    assert registry.champion_version(NAME) == 1
    assert registry.decision(NAME, version) is None


def test_a_running_server_picks_a_promotion_up_within_two_seconds_and_loses_no_turn(
    circle: Circle, tmp_path: Path
) -> None:
    version = copied_version(circle, tmp_path, "second")
    with Runtime(circle.settings, voice=False) as runtime:
        before = runtime.adapter.current.version
        old_call = runtime.open_call("text", typed=True)
        old_call.start()
        outcome = promote_adapter(version=version)
        promoted_at = time.monotonic()
        assert outcome.champion_before == int(before.rpartition("/")[2])
        while runtime.adapter.current.version == before:
            old_call.hear(CallerLine(None, "is there a fee for paying off my personal loan early"))
            assert time.monotonic() - promoted_at < 2
        old_call.hear(CallerLine(None, "is there a fee for paying off my personal loan early"))
        new_call = runtime.open_call("text", typed=True)
        new_call.start()
        new_call.hear(CallerLine(None, "can i pay off my personal loan early"))
        old_call.hang_up()
        new_call.hang_up()
    assert {turn.intent_version for turn in old_call.call.turns} == {before}
    assert [turn.intent_version for turn in new_call.call.turns] == [f"{NAME}/{version}"]
    assert old_call.call.cache_scope != new_call.call.cache_scope
    assert new_call.call.turns[0].decision == "cache_hit"  # the scope was warm before the alias moved


def test_a_rollback_brings_the_previous_champion_back_and_forth(circle: Circle, tmp_path: Path) -> None:
    registry = AdapterRegistry.from_settings(circle.settings)
    if "previous" not in registry.aliases(NAME):  # this test may run alone
        promote_adapter(version=copied_version(circle, tmp_path, "to roll back from"))
    before = registry.aliases(NAME)
    assert rollback_adapter(reason="test") == before["previous"]
    assert rollback_adapter(reason="and forth") == before["champion"]


def test_training_requests_with_unknown_fields_or_values_are_refused_before_any_work(circle: Circle) -> None:
    from flows.train_adapter import train_adapter

    with pytest.raises(ValueError, match="extra"):
        TrainRequest(epocs=3)  # type: ignore[call-arg]
    with pytest.raises(VoicebotError, match="epocs"):
        train_adapter(TrainRequest(changes={"epocs": 3}))


def test_speech_evaluation_and_kpis_read_the_recorded_calls(circle: Circle) -> None:
    with Runtime(circle.settings, voice=True) as runtime:
        script = load_script(circle.settings.data / "calls", "demo")
        caller = ScriptCaller(script, caller_tts(circle.settings))
        runtime.open_call(caller.transport, script=script.id).run(caller)
    speech = evaluate_speech(max_clips=2, round_trip=False)
    kpis = report_kpis()
    assert kpis.page.is_file()
    assert (kpis.page.parent / "kpis.csv").is_file()
    assert speech.calls is not None
    assert speech.clean is not None
    assert 0 <= speech.clean.wer < 0.4
    assert speech.calls.words > speech.clean.words  # the noisy line is in the one and not in the other
    assert speech.calls.wer > speech.clean.wer
    assert speech.mos is not None
    assert 1 < speech.mos.low <= speech.mos.overall <= speech.mos.high < 5
    assert kpis.spoken_ms is not None
    assert json.loads(json.dumps(kpis.figures)) == kpis.figures
