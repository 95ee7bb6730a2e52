"""Writes `data/tool_calls/dialogues.jsonl` anew from the phrasings, and refuses to write what is unsound."""

from dataclasses import dataclass
from pathlib import Path

from evaluation.dialogues import written
from serving.errors import InvalidInputError
from serving.files import write_atomically
from training.dialogue.check import DIALOGUES_FILE, PHRASINGS_FOLDER, script_problems, set_problems
from training.dialogue.compose import SEED, compose
from training.dialogue.desk import ToolDesk
from training.dialogue.phrasings import load_phrasings


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was written.

    Attributes:
        dialogues: rows.
        changed: the file differs from the one before.
    """

    path: Path
    dialogues: int
    changed: bool


def rebuild_dialogues(data: Path, *, seed: int = SEED) -> Rebuilt:
    """Compose all dialogues of a data folder and write them.

    Args:
        data: the project's data folder; rates, wordings and answers come from it too.
        seed: of the drawn values; the same seed and data give the same file.

    Raises:
        InvalidInputError: a phrasing that no values fit, or one in two splits; the old file stays.
        UnavailableError: the file cannot be written.
    """
    folder = data / "tool_calls"
    phrasings = load_phrasings(folder / PHRASINGS_FOLDER)
    with ToolDesk(data) as desk:
        dialogues = tuple(compose(phrasings, desk, seed=seed))
        problems = (
            *phrasings.problems,
            *set_problems(dialogues, desk),
            *script_problems(dialogues, data / "calls"),
        )
    if problems:
        raise InvalidInputError(
            f"The dialogues have {len(problems)} problems: {'; '.join(problems[:3])}.",
            advice="Correct the phrasings; the file was not written.",
        )
    path, text = folder / DIALOGUES_FILE, written(dialogues)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if text != before:
        write_atomically(path, text)
    return Rebuilt(path, len(dialogues), text != before)
