"""Utterances out to reviewers and back: the files and the call database around `training/utterances`.

An untouched copy of each export stays in the home; what a reviewer sends back is compared with it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.drift_reference import DATASETS
from serving.adapters.audit import operator_name
from serving.errors import IntegrityError, InvalidInputError, MissingError
from serving.files import PRIVATE_FOLDER, make_folder, write_once, writing_to
from serving.settings import Settings

REVIEWS = "reviews"


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What an export leaves.

    Attributes:
        file: for the reviewer.
        sha256: of the export.
        calls: calls of the window.
        texts: texts to review.
        dropped: what was left out, by reason.
    """

    file: Path
    sha256: str
    calls: int
    texts: int
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What a review became.

    Attributes:
        dataset: folder of the new version, for `voicebot train --dataset`.
        dataset_sha256: of its rows; an adapter's manifest names the same.
        export_sha256: of the export that the texts are from.
        added: texts that were added to the training split.
        corrected: of these, texts whose label is not what the adapter said.
        unlabelled: lines without a label.
        known: texts that the training split had already.
        held_out: texts that stand in the validation or test split, and stay there only.
    """

    dataset: Path
    dataset_sha256: str
    export_sha256: str
    added: int
    corrected: int
    unlabelled: int
    known: int
    held_out: int


def export_for_review(settings: Settings, days: int, out: Path | None = None) -> ExportOutcome:
    """Write the utterances of the last days for reviewers.

    Args:
        settings: the installation; `training_consent` must say where callers consent.
        days: length of the window, up to now.
        out: the reviewer's file; default: in the home, named after the export.

    Raises:
        RefusedError: no consent is stated.
        MissingError: nothing is there to review.
        InvalidInputError: the file exists.
    """
    from dataclasses import asdict

    from serving.call.store import CallStore
    from training.utterances import export_utterances

    now = datetime.now(UTC)
    since = now - timedelta(days=days)
    calls = CallStore(settings.records_url).calls(since=since) if settings.training_consent.strip() else ()
    export = export_utterances(calls, since, now, settings.training_consent)
    dropped = asdict(export.dropped)
    if not export.utterances:
        left_out = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.items())
        raise MissingError(
            f"The {export.calls} calls of the last {days} days hold nothing to review ({left_out})."
        )
    place = settings.home / REVIEWS
    file = out or place / f"review-{export.sha256[:12]}.jsonl"
    content = export.to_jsonl()
    with writing_to(file.parent):
        place.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        write_once(_kept(settings, export.sha256), content)
        make_folder(file.parent)
        if not write_once(file, content):
            raise InvalidInputError(
                f"{file} exists already, and may hold a reviewer's labels.", advice="Name another --out."
            )
    return ExportOutcome(file, export.sha256, export.calls, len(export.utterances), dropped)


def import_review(settings: Settings, file: Path, base: Path | None = None) -> ImportOutcome:
    """Make the next version of the intents from a reviewer's file.

    Args:
        settings: the installation.
        file: the export with labels filled in.
        base: what the texts are added to; default: the own intents.

    Raises:
        InvalidInputError: a line cannot be taken over; the message names it.
        MissingError: the file, or this home's copy of its export, is not there.
        IntegrityError: that copy was altered.
    """
    from training.lineage import ReviewedExport
    from training.reviewed import check_reviewed, read_kept_export, read_reviewed
    from training.sources import load_splits
    from training.versions import write_version

    reviewed, source = read_reviewed(file), base or settings.data / "intents"
    kept = _kept(settings, reviewed.export_sha256)
    if not kept.is_file():
        raise MissingError(
            f"{file.name}, line 1: this home never made the export {reviewed.export_sha256[:12]}….",
            advice="Import where `voicebot export-utterances` ran, with its home (VOICEBOT_HOME).",
        )
    export = read_kept_export(kept)
    if export.sha256 != reviewed.export_sha256:
        raise IntegrityError(
            f"{kept} is not the export that was written.", advice="Restore it from a backup, or export anew."
        )
    found = check_reviewed(reviewed, export, load_splits(source), file.name)
    origin = ReviewedExport(
        sha256=export.sha256,
        since=export.since.isoformat(),
        until=export.until.isoformat(),
        consent=export.consent,
        reviewed_sha256=reviewed.sha256,
        by=operator_name(settings.operator),
        added=len(found.added),
    )
    version = write_version(settings.home / DATASETS, source, found.added, origin)
    return ImportOutcome(
        dataset=version.folder,
        dataset_sha256=version.lineage.dataset_sha256,
        export_sha256=export.sha256,
        added=len(found.added),
        corrected=found.corrected,
        unlabelled=found.unlabelled,
        known=found.known,
        held_out=found.held_out,
    )


def _kept(settings: Settings, sha256: str) -> Path:
    return settings.home / REVIEWS / f"export-{sha256[:12]}.jsonl"
