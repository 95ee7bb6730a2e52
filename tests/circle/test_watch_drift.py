"""The drift watch over recorded calls: report, artifact, run, and the event that training waits for."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evaluation.drift import INTENTS, MEASURES, Reference, Tagged
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.store import CallStore
from tests.circle.fixtures import Circle

ASKED = ("card_arrival", "lost_or_stolen_card", "loan_payment_quote")


@pytest.fixture
def sent(circle: Circle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Events that the flow hands over; the reference is small, and the calls are only this test's."""
    from flows import watch_drift
    from serving.adapters.registry import AdapterRegistry

    monkeypatch.setenv("VOICEBOT_DATABASE_URL", f"sqlite:///{tmp_path / 'calls.db'}")
    manifest = AdapterRegistry.from_settings(circle.settings).get("banking-lora").verify()
    held = tuple(
        Tagged("card_arrival", 0.5 + 0.5 * i / 200, in_scope=True, energy=5 + i / 50) for i in range(200)
    )
    place = circle.settings.home / "drift" / f"reference-{manifest.sha256[:12]}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(asdict(Reference(dict.fromkeys(ASKED, 1_000), held))), encoding="utf-8")
    events: list[dict[str, Any]] = []

    def emit(name: str, **rest: Any) -> str:
        events.append({"name": name, **rest})
        return "handed over"

    monkeypatch.setattr(watch_drift, "emit_event", emit)
    return events


def take_calls(url: str, version: str, intents: tuple[str, ...], calls: int) -> None:
    """Calls of four turns each, an hour ago."""
    store, began = CallStore(url), datetime.now(UTC) - timedelta(hours=1)
    for number in range(calls):
        call_id = f"call-{number}"
        turn = TurnRecord(
            call_id=call_id, index=1, started_at=began, text="where is it", stt_engine="typed",
            confidence=1.0, audio_s=0.0, decision=Decision.ANSWER, answer="", spoken="", interrupted=False,
            stages={}, voice_to_voice_s=None, reply_s=0.0, intent_version=version,
        )  # fmt: skip
        turns = [
            replace(turn, index=i + 1, intent=intents[(number + i) % len(intents)],
                    intent_probability=0.5 + 0.5 * ((7 * number + 50 * i) % 200) / 200,
                    intent_energy=5 + ((7 * number + 50 * i) % 200) / 50)
            for i in range(4)
        ]  # fmt: skip
        store.save(CallRecord(call_id, began, "console", version, "scope", {}, turns=tuple(turns)))
    store.close()


def test_a_week_that_drifted_is_announced_and_one_that_did_not_is_not(
    circle: Circle, sent: list[dict[str, Any]], tmp_path: Path
) -> None:
    from flows.watch_drift import DRIFTED, watch_drift
    from serving.adapters.registry import AdapterRegistry

    champion = AdapterRegistry.from_settings(circle.settings).get("banking-lora").label
    url = f"sqlite:///{tmp_path / 'calls.db'}"
    assert watch_drift().verdict == "not enough"
    take_calls(url, champion, ASKED, 120)
    steady = watch_drift()
    assert (steady.verdict, steady.turns, steady.calls, steady.event, sent) == ("stable", 480, 120, False, [])
    assert all(" [" in str(figure) for figure in steady.figures.values())
    assert list(steady.figures) == list(MEASURES)
    (tmp_path / "calls.db").unlink()
    take_calls(url, champion, ("mortgage_strike", *ASKED), 120)
    moved = watch_drift()
    assert (moved.verdict, moved.drifted, moved.event) == ("drifted", (INTENTS,), True)
    assert "mortgage_strike" in moved.page.read_text(encoding="utf-8")
    (event,) = sent
    assert event["name"] == DRIFTED
    assert event["resource"]["prefect.resource.id"] == "adapter.banking-lora"
    assert event["payload"]["drifted"] == [INTENTS]


def test_a_window_without_sense_is_refused(circle: Circle) -> None:
    from flows.watch_drift import watch_drift
    from serving.errors import InvalidInputError

    with pytest.raises(InvalidInputError, match="1 to 365 days"):
        watch_drift(window_days=0)
