"""`voicebot check-labels`: a data set's probably wrong labels as a table and a CSV file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.progress import report
from serving.cli.console import print_table, rich_console
from serving.language.encoder import load_encoder
from serving.plain import plain
from serving.settings import Settings
from training.config import TrainConfig
from training.frozen import embed_splits
from training.label_noise import NoiseReport, find_label_noise
from training.sources import load_splits


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """What was found and where it is written.

    Attributes:
        source: the data.
        found: the doubts.
        file: the CSV file of all of them.
    """

    source: str
    found: NoiseReport
    file: Path

    def summary(self, top: int) -> dict[str, Any]:
        """The figures and the surest doubts as JSON types."""
        return {
            "source": self.source,
            "texts": self.found.items,
            "doubts": len(self.found.doubts),
            "agreement": self.found.agreement,
            "not_judged": list(self.found.not_judged),
            "file": str(self.file),
            "surest": [plain(doubt) | {"margin": doubt.margin} for doubt in self.found.doubts[:top]],
        }


def check_labels(settings: Settings, dataset: str, out: Path | None) -> LabelCheck:
    """Judge the train and validation labels of a data set.

    Raises:
        InvalidInputError, MissingError, UnavailableError: the data cannot be read.
    """
    splits = load_splits(dataset or settings.data / "intents")
    encoder = load_encoder(settings.encoder)
    report("sentence vectors", 0, 1)
    vectors = embed_splits(encoder, splits, TrainConfig())
    report("sentence vectors", 1, 1)
    found = find_label_noise([(splits.train, vectors.train), (splits.validation, vectors.validation)])
    return LabelCheck(splits.source, found, found.save(out or settings.home / "reports" / "label_noise.csv"))


def show_doubts(check: LabelCheck, top: int) -> None:
    """Print the surest doubts for people."""
    rows = [
        (f"{doubt.margin:.2f}", doubt.given, doubt.suggested, " ".join(doubt.text.split())[:80])
        for doubt in check.found.doubts[:top]
    ]
    print_table("Labels that are probably wrong", ["margin", "given", "suggested", "text"], rows)
    found = check.found
    console = rich_console()
    console.print(
        f"{len(found.doubts)} of {found.items:,} labels of {check.source} are doubtful; all in {check.file}",
        markup=False,
        soft_wrap=True,
    )
    if found.not_judged:
        console.print(f"Not judged, one text only: {', '.join(found.not_judged)}", markup=False)
