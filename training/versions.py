"""The next version of a data set: the base's rows, the reviewed texts in its training split, and the lineage.

A version is a new folder that nothing changes any more; `voicebot train --dataset FOLDER` reads it like the
own intents. The test split is carried over untouched, so that adapters of all versions are judged alike.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serving.errors import InvalidInputError
from serving.files import new_folder, write_atomically, writing_to
from training.data import Splits, make_dataset
from training.lineage import LINEAGE_FILE, Lineage, ReviewedExport, lineage_of
from training.sources import intent_files, read_intent_file, read_intents

REVIEWED_FILE = "reviewed.csv"
"""The added rows alone, as text and category, for people and for other tools."""


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A version that was made.

    Attributes:
        folder: where it lies.
        lineage: what it is made of.
    """

    folder: Path
    lineage: Lineage


def write_version(
    place: Path, base: Path, added: Sequence[tuple[str, str]], export: ReviewedExport
) -> DatasetVersion:
    """Write the base with reviewed texts as a new folder below `place`, whole or not at all.

    The folder's name begins with `intents-` and the number of exports behind it, and ends with the first
    digits of its dataset hash: the same review of the same base makes the same version.

    Args:
        place: folder of versions.
        base: the own intents, or a version of them.
        added: text and label of the reviewed rows.
        export: where they are from.

    Raises:
        InvalidInputError: there is nothing to add, or this review was added to the base before.
        IntegrityError: the base is a version that was changed by hand.
        UnavailableError: the folder cannot be written.
    """
    before, given = lineage_of(base), read_intents(base)
    exports = before.exports if before else ()
    if any(item.reviewed_sha256 == export.reviewed_sha256 for item in exports):
        raise InvalidInputError(f"This very review was added to {base.name} before.")
    if not added:
        raise InvalidInputError(
            "The review adds nothing: no line has a label for a text that is new.",
            advice="Fill in labels, then import again.",
        )
    if missing := {"train", "validation", "test"} - given.keys():
        raise InvalidInputError(f"{base} has no {min(missing)} split of its own, so it has no versions.")
    old = Splits(given["train"], given["validation"], given["test"], base.name)
    train = old.train.plus(make_dataset(added, "train", REVIEWED_FILE, known=old.labels))
    new = replace(old, train=replace(train, split="train"))
    lineage = Lineage(
        dataset_sha256=new.sha256,
        test_sha256=given["test"].sha256,
        base_sha256=before.base_sha256 if before else old.sha256,
        exports=(*exports, export),
    )
    folder = place / f"intents-{len(lineage.exports)}-{new.sha256[:12]}"
    try:
        with writing_to(place), new_folder(folder) as temporary:
            _write_intents(base, temporary, added)
            write_atomically(temporary / REVIEWED_FILE, _csv(added))
            write_atomically(temporary / LINEAGE_FILE, lineage.to_json())
            lineage_of(temporary)  # what was written is read back and has the hash that the lineage says
    except FileExistsError as error:
        raise InvalidInputError(f"{folder} exists already: this version was made before.") from error
    return DatasetVersion(folder, lineage)


def _write_intents(base: Path, folder: Path, added: Sequence[tuple[str, str]]) -> None:
    import yaml

    for path in intent_files(base):
        document = {label: dict(entry) for label, entry in read_intent_file(path).items()}
        for text, label in added:
            if label in document:
                document[label]["train"] = [*document[label].get("train", ()), text]
        shown = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
        write_atomically(folder / path.name, shown)


def _csv(rows: Sequence[tuple[str, str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("text", "category"), *rows])
    return text.getvalue()
