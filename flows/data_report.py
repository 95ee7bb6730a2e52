"""What `voicebot check-data` reports: problems, sizes and hashes of the project's own data."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from serving.cli.console import print_table, rich_console
from serving.errors import VoicebotError

PAIRS_MINIMUM = 300
KIND_MINIMUM = 25
"""Fewest cache pairs, and fewest hard negatives of each kind."""
NEGATIVE_KINDS = ("number", "negation", "product", "tier", "direction", "id", "name", "freshness", "action")


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


def data_report(folder: Path) -> DataReport:
    """Check every part of the data through the loaders that serving and training use."""
    problems: list[str] = []
    counts: dict[str, int] = {}
    labels = _intents(folder, problems, counts)
    _knowledge(folder, labels, problems, counts)
    _pairs(folder / "cache_pairs" / "pairs.jsonl", labels, problems, counts)
    _calls(folder, labels, problems, counts)
    files = tuple(
        FileFacts(
            str(path.relative_to(folder)), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in {".yaml", ".jsonl"}
    )
    return DataReport(tuple(problems), counts, files)


def show_report(found: DataReport) -> None:
    """Print a report for people."""
    print_table("Data", ["", "count"], list(found.counts.items()), right=["count"])
    rows = [(item.file, f"{item.bytes:,}", item.sha256[:16]) for item in found.files]
    print_table("Files", ["file", "bytes", "sha256"], rows, right=["bytes"])
    console = rich_console()
    for problem in found.problems:
        console.print(problem, style="red", markup=False)
    console.print(f"{len(found.problems)} problems." if found.problems else "No problems.", style="bold")


def _intents(folder: Path, problems: list[str], counts: dict[str, int]) -> frozenset[str]:
    from training.check import check_intents
    from training.sources import read_intents

    problems.extend(str(problem) for problem in check_intents(folder / "intents").problems)
    try:
        splits = read_intents(folder / "intents")
    except VoicebotError as error:
        problems.append(str(error))
        return frozenset()
    counts["intents"] = len(set(splits["train"].labels))
    counts.update({f"{name} texts": len(data) for name, data in splits.items()})
    return frozenset(splits["train"].labels)


def _knowledge(folder: Path, labels: frozenset[str], problems: list[str], counts: dict[str, int]) -> None:
    from serving.language.knowledge import load_knowledge
    from serving.language.lexicon import load_lexicon
    from serving.tools.compliance import load_compliance
    from serving.tools.rates import load_rates

    try:
        knowledge = load_knowledge(folder / "knowledge" / "answers.yaml")
        counts["approved answers"] = len(knowledge.answers)
        counts["rates"] = len(load_rates(folder / "knowledge" / "rates.yaml").rows)
        texts = load_compliance(folder / "compliance")
        counts["compliance texts"] = len(texts.texts)
        counts["lexicon facets"] = len(load_lexicon(folder / "lexicons" / "signature.yaml").facets)
    except VoicebotError as error:
        problems.append(str(error))
        return
    notices = {text.id for text in texts.texts}
    for answer in knowledge.answers:
        if answer.intent not in labels:
            problems.append(f"knowledge: {answer.id} belongs to the unknown intent {answer.intent!r}")
        problems.extend(
            f"knowledge: {answer.id} names the unknown wording {notice!r}"
            for notice in answer.disclosures
            if notice not in notices
        )


def _pairs(path: Path, labels: frozenset[str], problems: list[str], counts: dict[str, int]) -> None:
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            pair = json.loads(line)
            _ = (pair["id"], pair["stored"], pair["probe"], pair["same"], pair["kind"], pair["split"])
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"cache pairs, line {number}: {error!r}")
            continue
        if pair["intent"] not in labels:
            problems.append(f"cache pairs, line {number}: unknown intent {pair['intent']!r}")
        pairs.append(pair)
    counts["cache pairs"] = len(pairs)
    kinds = Counter(pair["kind"] for pair in pairs if not pair["same"])
    if len(pairs) < PAIRS_MINIMUM:
        problems.append(f"cache pairs: {len(pairs)}, at least {PAIRS_MINIMUM} are needed")
    problems.extend(
        f"cache pairs: {kinds[kind]} hard negatives of kind {kind}, at least {KIND_MINIMUM} are needed"
        for kind in NEGATIVE_KINDS
        if kinds[kind] < KIND_MINIMUM
    )


def _calls(folder: Path, labels: frozenset[str], problems: list[str], counts: dict[str, int]) -> None:
    """Scripts are readable, name known intents, and none of their lines stands in anything trained on."""
    from serving.call.script import load_scripts
    from serving.speech.language_model import project_text
    from training.data import comparable

    try:
        scripts = load_scripts(folder / "calls")
    except VoicebotError as error:
        problems.append(str(error))
        return
    counts["call scripts"] = len(scripts)
    trained_on = {comparable(line) for line in project_text(folder)}
    for script in scripts:
        for turn in script.turns:
            intent = turn.expect.get("intent")
            if intent is not None and intent not in labels:
                problems.append(f"calls: {script.id} expects the unknown intent {intent!r}")
            if comparable(turn.say) in trained_on:
                problems.append(f"calls: {script.id} says a line that stands in training text: {turn.say!r}")
