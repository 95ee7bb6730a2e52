"""An installation whose callers gave their consent, and what it exports."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flows.utterances import ExportOutcome, export_for_review
from serving.call.record import CallRecord
from serving.call.store import CallStore
from serving.settings import Settings
from tests.training.reviews.exports import CONSENT, INTENTS, call


@pytest.fixture
def bank(tmp_path: Path) -> Settings:
    """An installation with small intents of its own."""
    (tmp_path / "data" / "intents").mkdir(parents=True)
    (tmp_path / "data" / "intents" / "cards.yaml").write_text(yaml.safe_dump(INTENTS), encoding="utf-8")
    (tmp_path / "var").mkdir()
    return Settings(
        home=tmp_path / "var", data_dir=tmp_path / "data", training_consent=CONSENT, operator="ana"
    )


@pytest.fixture
def exported(bank: Settings) -> Callable[..., ExportOutcome]:
    def export(*calls: CallRecord, out: Path | None = None) -> ExportOutcome:
        store = CallStore(bank.records_url)
        for item in calls:
            store.save(item)
        store.close()
        return export_for_review(bank, 7, out)

    return export


@pytest.fixture
def file(exported: Callable[..., ExportOutcome]) -> Path:
    return exported(
        call("a", ("it has not come", 0.3), ("john took it", 0.4), ("i lost my card", 0.5)),
        call("b", ("block the card, it was stolen", 0.6), ("somebody took my card", 0.7)),
    ).file
