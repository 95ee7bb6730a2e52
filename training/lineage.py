"""Where a version of the own intents comes from: the exports of reviewed calls that were added to it.

A version is a folder of YAML intents with `lineage.json` beside them, so that `load_splits` reads it like the
own intents. The chain from an adapter back to the calls: its manifest's dataset hash is the version's, the
version's lineage names the exports by their hashes, and an export's header names its window of calls.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.errors import IntegrityError
from training.sources import load_splits

LINEAGE_FILE = "lineage.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ReviewedExport:
    """Reviewed texts of calls that were added.

    Attributes:
        sha256: of the export (its header says which calls, and on what consent).
        since: first day of its window, UTC, ISO 8601.
        until: end of its window, likewise.
        consent: what the bank stated as consent for training.
        reviewed_sha256: of the file with the labels.
        by: who brought the labels in.
        added: texts that were added.
    """

    sha256: str
    since: str
    until: str
    consent: str
    reviewed_sha256: str
    by: str
    added: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a dataset version is made of.

    Attributes:
        dataset_sha256: of its train and validation rows; an adapter's manifest names the same.
        test_sha256: of its test rows, which reviewed texts never enter; empty without a test split.
        base_sha256: dataset hash of what the first export was added to.
        exports: oldest first.
    """

    dataset_sha256: str
    test_sha256: str
    base_sha256: str
    exports: tuple[ReviewedExport, ...]

    def tags(self) -> dict[str, str]:
        """What an MLflow run is tagged with."""
        return {
            "lineage.base.sha256": self.base_sha256,
            "lineage.exports": ",".join(export.sha256 for export in self.exports),
            "lineage.reviewed_texts": str(sum(export.added for export in self.exports)),
        }

    def to_json(self) -> str:
        """The lineage as one JSON document."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def lineage_of(source: str | Path) -> Lineage | None:
    """The lineage of a dataset version, proven against its rows; None for data without one.

    Raises:
        IntegrityError: it cannot be read, or its texts are not those that it was written for.
    """
    folder = Path(source)
    found = read_lineage(folder) if str(source) else None  # an empty name is not the working folder
    if found is None:
        return None
    splits = load_splits(folder)
    held = splits.test.sha256 if splits.test else ""
    if (splits.sha256, held) != (found.dataset_sha256, found.test_sha256):
        raise IntegrityError(
            f"The texts of {folder} are not those that its {LINEAGE_FILE} was written for.",
            advice="Make the version again with `voicebot import-reviewed`; do not change one by hand.",
        )
    return found


def read_lineage(folder: Path) -> Lineage | None:
    """What `lineage.json` says, without a look at the texts; None where there is none.

    Raises:
        IntegrityError: it cannot be read.
    """
    path = folder / LINEAGE_FILE
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        fields["exports"] = tuple(ReviewedExport(**export) for export in fields["exports"])
        return Lineage(**fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(
            f"{path} cannot be used: {error}",
            advice="Make the version again with `voicebot import-reviewed`.",
        ) from error


def descends_from(source: Path, own: Path) -> bool:
    """Whether a source is a version of the own intents: it has a lineage that holds, and the same test rows.

    Reviewed texts only add training rows, so a gate that judges on the own test split judges both alike.
    """
    found = lineage_of(source)
    if found is None:
        return False
    test = load_splits(own).test
    return test is not None and test.sha256 == found.test_sha256
