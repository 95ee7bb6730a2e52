"""What a training request names: data, recipe and model; shared by every flow that trains."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving.adapters.manifest import check_name
from serving.errors import InvalidInputError
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.language.encoder import SentenceEncoder
    from training.config import TrainConfig
    from training.data import Splits

OWN_MODEL = "banking-lora"
"""Registered model of the project's own intents."""


class TrainRequest(BaseModel):
    """What to train; every field has a default, so a schedule needs none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = ""
    """Folder of YAML intents, CSV file or hub name; empty for the project's own intents."""
    preset: Literal["project", "banking77"] = "project"
    """Recipe (`training/config.py`)."""
    seed: int = Field(default=0, ge=0)
    name: str = OWN_MODEL
    """Registered model; other data than the project's own intents needs another one than banking-lora."""
    changes: dict[str, Any] = {}
    """Values of the recipe to change, such as {"epochs": 2}."""

    @field_validator("name")
    @classmethod
    def _registrable(cls, name: str) -> str:
        return check_name(name)

    def is_own(self, settings: Settings) -> bool:
        """Whether the data are the project's own intents, or a version of them with reviewed utterances."""
        from training.lineage import descends_from

        own, given = settings.data / "intents", Path(self.dataset)
        return not self.dataset or given.resolve() == own.resolve() or descends_from(given, own)


def training_inputs(request: TrainRequest) -> "tuple[SentenceEncoder, Splits, TrainConfig]":
    """Base, data and recipe of a request; the recipe is checked first, because it costs nothing."""
    from serving.language.encoder import load_encoder
    from training.config import preset
    from training.sources import load_splits

    settings = Settings.load()
    config = preset(request.preset).with_(**({"seed": request.seed} | request.changes))
    source = request.dataset or settings.data / "intents"
    splits = load_splits(source, config=config)
    return load_encoder(settings.encoder, max_length=config.max_length), splits, config


def repetitions(splits: "Splits") -> list[str]:
    """A clause for each way in which texts stand twice; empty for sound data."""
    counts = {
        "validation texts stand in train too": splits.shared_with_validation(),
        "test texts stand in train too": splits.shared_with_test(),
        "training texts stand under two labels": splits.contradictions(),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


def require_served(labels: Collection[str]) -> None:
    """Refuse intents that lack one of those for which the bank approved answers.

    Raises:
        InvalidInputError: an answer's intent could never be recognised.
    """
    from serving.language.knowledge import load_knowledge

    path = Settings.load().data / "knowledge" / "answers.yaml"
    lacking = sorted({answer.intent for answer in load_knowledge(path).answers} - set(labels))
    if lacking:
        shown = ", ".join(lacking[:3])
        raise InvalidInputError(
            f"{path.name} answers {len(lacking)} intents that the training data do not hold: {shown}.",
            advice="Correct the intents or the answers; `voicebot check-data` lists every difference.",
        )
