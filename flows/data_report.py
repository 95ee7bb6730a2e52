"""What `voicebot check-data` reports: problems, sizes and hashes of the project's own data."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from serving.cli.console import print_table, rich_console
from serving.errors import VoicebotError

if TYPE_CHECKING:
    from evaluation.cache_pairs import CachePair

PAIRS_MINIMUM = 1_500
KIND_MINIMUM = 50
SCRIPTS_MINIMUM = 6
"""Fewest cache pairs, hard negatives of each kind, and call scripts."""
PARAPHRASE = "paraphrase"
"""The only kind whose two questions have the same answer."""
NEGATIVE_KINDS = (
    "number", "negation", "product", "tier", "direction", "id", "name", "freshness", "action", "owner",
    "conditional", "place", "channel", "scope", "topic",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One data file."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DataReport:
    """Everything about the data folder.

    Attributes:
        problems: one line each; empty where the data is sound.
        counts: sizes by what they count.
    """

    problems: tuple[str, ...]
    counts: dict[str, int]
    files: tuple[FileFacts, ...]


@dataclass(frozen=True, slots=True)
class _Findings:
    """What the checks have found so far."""

    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Note what cannot be read and go on behind the block, so that it hides no other problem."""
        if isinstance(error, VoicebotError):
            self.problems.append(error.message)
        elif isinstance(error, OSError):
            self.problems.append(f"{error.filename or 'a file'} cannot be read: {error.strerror or error}")
        return isinstance(error, VoicebotError | OSError)


def data_report(folder: Path) -> DataReport:
    """Check every part of the data through the loaders that serving and training use."""
    found = _Findings()
    labels = _intents(folder, found)
    _knowledge(folder, labels, found)
    _pairs(folder / "cache_pairs" / "pairs.jsonl", labels, found)
    _cache_rule(folder, found)
    _calls(folder, labels, found)
    _tool_calls(folder, found)
    files = tuple(_files(folder, found))
    # Several checks may meet the same unreadable file; one line is enough.
    return DataReport(tuple(dict.fromkeys(found.problems)), found.counts, files)


def show_report(found: DataReport) -> None:
    """Print a report for people."""
    print_table("Data", ["", "count"], list(found.counts.items()), right=["count"])
    rows = [(item.file, f"{item.bytes:,}", item.sha256[:16]) for item in found.files]
    print_table("Files", ["file", "bytes", "sha256"], rows, right=["bytes"])
    console = rich_console()
    for problem in found.problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{len(found.problems)} problems." if found.problems else "No problems.", style="bold")


def _intents(folder: Path, found: "_Findings") -> frozenset[str]:
    """Labels of all files that can be read, so that one broken file makes no intent unknown."""
    from training.check import check_intents
    from training.sources import SPLIT_KEYS, intent_files, read_intent_file

    with found:
        checked = check_intents(folder / "intents")
        found.problems.extend(str(problem) for problem in checked.problems)
        found.counts["intents"] = sum(file.labels for file in checked.files)
        found.counts.update({f"{SPLIT_KEYS[key]} texts": count for key, count in checked.texts.items()})
        labels: set[str] = set()
        for path in intent_files(folder / "intents"):
            with suppress(VoicebotError):  # `check_intents` has said it
                labels.update(read_intent_file(path))
        return frozenset(labels)
    return frozenset()


def _knowledge(folder: Path, labels: frozenset[str], found: "_Findings") -> None:
    from serving.language.knowledge import load_knowledge
    from serving.language.lexicon import load_lexicon
    from serving.tools.compliance import load_compliance
    from serving.tools.rates import load_rates

    with found:
        found.counts["rates"] = len(load_rates(folder / "knowledge" / "rates.yaml").rows)
    with found:
        found.counts["lexicon facets"] = len(load_lexicon(folder / "lexicons" / "signature.yaml").facets)
    notices: set[str] | None = None
    with found:
        notices = {text.id for text in load_compliance(folder / "compliance").texts}
        found.counts["compliance texts"] = len(notices)
    with found:
        answers = load_knowledge(folder / "knowledge" / "answers.yaml").answers
        found.counts["approved answers"] = len(answers)
        for answer in answers:
            if answer.intent not in labels:
                found.problems.append(
                    f"knowledge: {answer.id} belongs to the unknown intent {answer.intent!r}"
                )
            found.problems.extend(
                f"knowledge: {answer.id} names the unknown wording {notice!r}"
                for notice in answer.disclosures
                if notices is not None and notice not in notices
            )


def _pairs(path: Path, labels: frozenset[str], found: "_Findings") -> None:
    """Every line is a pair of a known intent, enough of each kind, and no question is in both splits."""
    from evaluation.cache_pairs import read_pairs

    with found:
        pairs, broken = read_pairs(path)
        found.problems.extend(broken)
        found.counts["cache pairs"] = len(pairs)
        found.problems.extend(
            f"cache pairs: {pair.id} belongs to the unknown intent {pair.intent!r}"
            for pair in pairs
            if pair.intent not in labels
        )
        if len(pairs) < PAIRS_MINIMUM:
            found.problems.append(f"cache pairs: {len(pairs)}, at least {PAIRS_MINIMUM} are needed")
        kinds = Counter(pair.kind for pair in pairs)
        found.problems.extend(
            f"cache pairs: {kinds[kind]} hard negatives of kind {kind}, at least {KIND_MINIMUM} are needed"
            for kind in NEGATIVE_KINDS
            if kinds[kind] < KIND_MINIMUM
        )
        found.problems.extend(_mislabelled(pairs))
        found.problems.extend(_repeated(pairs))


def _cache_rule(folder: Path, found: "_Findings") -> None:
    """Whether the weights fit the word lists, and the calibration the weights and the pairs."""
    from serving.cache.calibration import load_calibration
    from serving.cache.choice import project_scorer
    from serving.language.encoder import load_encoder
    from serving.language.lexicon import load_lexicon

    with found:
        scorer = project_scorer(folder, load_lexicon(folder / "lexicons" / "signature.yaml"))
        calibration = load_calibration(
            folder / "cache_calibration.json",
            embedder=load_encoder(None).fingerprint,
            rule=scorer.fingerprint,
        )
        found.counts["intents with a certified cache threshold"] = len(calibration.covered)
        pairs = (folder / "cache_pairs" / "pairs.jsonl").read_bytes()
        if calibration.pairs != hashlib.sha256(pairs).hexdigest():
            found.problems.append("cache calibration: made with other pairs; run `voicebot calibrate-cache`")


def _mislabelled(pairs: Sequence["CachePair"]) -> Iterator[str]:
    for pair in pairs:
        if pair.kind not in {PARAPHRASE, *NEGATIVE_KINDS}:
            yield f"cache pairs: kind {pair.kind!r} of {pair.id} is unknown"
        elif pair.same is not (pair.kind == PARAPHRASE):
            yield f"cache pairs: {pair.id} says same: {pair.same}, which kind {pair.kind!r} is not"


def _repeated(pairs: Sequence["CachePair"]) -> Iterator[str]:
    """Ids that stand twice, pairs that stand twice, questions of one split that stand in the other."""
    from training.data import comparable

    for name, count in Counter(pair.id for pair in pairs).items():
        if count > 1:
            yield f"cache pairs: the id {name!r} stands {count} times"
    first: dict[tuple[str, str], str] = {}
    place: dict[str, CachePair] = {}
    for pair in pairs:
        stored, probe = comparable(pair.stored), comparable(pair.probe)
        before = first.setdefault((stored, probe), pair.id)
        if before != pair.id:
            yield f"cache pairs: {pair.id} repeats {before}"
        for text in (stored, probe):
            other = place.setdefault(text, pair)
            if other.split != pair.split:
                yield (
                    f"cache pairs: {text[:60]!r} of {pair.id} ({pair.split}) stands in {other.id} "
                    f"({other.split}) too"
                )


def _calls(folder: Path, labels: frozenset[str], found: "_Findings") -> None:
    """Scripts are readable and enough, name known intents, and say nothing that was trained on."""
    from serving.call.script import load_script
    from serving.speech.language_model import project_text
    from training.data import comparable

    scripts = []
    for path in sorted((folder / "calls").glob("*.yaml")):
        with found:
            scripts.append(load_script(folder / "calls", path.stem))
    found.counts["call scripts"] = len(scripts)
    if len(scripts) < SCRIPTS_MINIMUM:
        found.problems.append(f"calls: {len(scripts)} scripts, at least {SCRIPTS_MINIMUM} are needed")
    trained_on: set[str] = set()
    with found:
        trained_on = {comparable(line) for line in project_text(folder)}
    for script in scripts:
        for turn in script.turns:
            intent = turn.expect.get("intent")
            if intent is not None and intent not in labels:
                found.problems.append(f"calls: {script.id} expects the unknown intent {intent!r}")
            if comparable(turn.say) in trained_on:
                found.problems.append(
                    f"calls: {script.id} says a line that stands in training text: {turn.say!r}"
                )


def _tool_calls(folder: Path, found: "_Findings") -> None:
    """Every call fits its schema, rests on the caller's words, and gives the result that stands there."""
    from training.dialogue.check import check_tool_calls

    with found:
        checked = check_tool_calls(folder)
        found.counts["dialogues with tools"] = checked.dialogues
        found.problems.extend(checked.problems)


def _files(folder: Path, found: "_Findings") -> Iterator[FileFacts]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".yaml", ".jsonl"} and path.is_file():
            with found:
                content = path.read_bytes()
                sha256 = hashlib.sha256(content).hexdigest()
                yield FileFacts(str(path.relative_to(folder)), len(content), sha256)
