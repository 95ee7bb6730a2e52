"""Judging a sealed dialogue adapter: it, its base and the champion on the test dialogues, for the gate.

One base is loaded; each adapter is put beside its weights by serving's own loader, with all its checks. The
judge needs no intent adapter: callers' turns are read by the spoken-value parser alone, so that a verdict on
the language model does not move with the tagger. Nothing is registered or promoted here.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from evaluation.dialogue_engine import predicted_cases
from evaluation.dialogue_evidence import DialogueEvidence, DialoguePolicy, Spoken
from evaluation.dialogue_gate import judge_dialogue
from evaluation.dialogues import Dialogue, load_dialogues, written
from evaluation.gate_evidence import BundleEvidence
from evaluation.tool_calls import ToolCallReport, TurnCase, TurnVerdict, judge_turn, report
from serving.adapters.decision import GateDecision
from serving.adapters.manifest import ADAPTER_FILE, Kind, Manifest, verify
from serving.errors import InvalidInputError
from serving.language.dialogue_adapter import DialogueFacts, reload_difference, reload_limit
from serving.language.local_llm import LocalLlm
from serving.language.protocols import IntentTag, Llm, LlmEvent, LlmRequest
from serving.speech.protocols import EngineInfo
from training.dialogue.check import DIALOGUES_FILE
from training.dialogue.desk import ToolDesk
from training.model import torch_threads

Listener = Callable[[str, int, int], object]
"""Told who speaks, how many turns are done, and of how many."""


@dataclass(frozen=True, slots=True)
class TestDialogues:
    """What is judged on: the test split's dialogues of the tools that engines are offered.

    Attributes:
        data: the project's data folder.
        rows: the dialogues, in the order of the file.
    """

    __test__ = False  # no class of tests

    data: Path
    rows: tuple[Dialogue, ...]

    @classmethod
    def of(cls, data: Path, limit: int | None = None) -> "TestDialogues":
        """The test dialogues of a data folder; with a limit, so many of them, evenly spread.

        Raises:
            InvalidInputError: they cannot be read.
        """
        found = load_dialogues(data / "tool_calls" / DIALOGUES_FILE, "test")
        rows = tuple(dialogue for dialogue in found if dialogue.tools == "bank")
        return cls(data, rows if limit is None else rows[:: max(1, len(rows) // limit)][:limit])

    @property
    def sha256(self) -> str:
        """Identity of the test set: every word of it."""
        return hashlib.sha256(written(self.rows).encode()).hexdigest()

    @property
    def turns(self) -> int:
        """Turns of the assistant."""
        return sum(len(dialogue.answered) for dialogue in self.rows)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An adapter to judge, or to judge against.

    Attributes:
        folder: its sealed bundle.
        version: its number in the registry; None before registration.
        test_sha256: for a champion: test set of the decision that made it so; None where unknown.
    """

    folder: Path
    version: int | None = None
    test_sha256: str | None = None


@dataclass(frozen=True)
class DialogueJudgement:
    """The gate's decision with the figures behind it.

    Attributes:
        decision: what serving stores and promotion requires.
        challenger: the challenger's shares on the test dialogues.
        base: those of its base without an adapter.
        latency_p95_ms: p95 of a whole answer, in milliseconds.
    """

    decision: GateDecision
    challenger: ToolCallReport
    base: ToolCallReport
    latency_p95_ms: float


@dataclass(frozen=True, slots=True)
class Looks:
    """What the judgement itself is told.

    Attributes:
        count: judgements that this test set has served so far, this one included.
        policy: limits; the defaults where none are given.
        waived: written reason by name of a check that a person overrules.
    """

    count: int = 1
    policy: DialoguePolicy | None = None
    waived: Mapping[str, str] = field(default_factory=dict)


def judge_dialogue_adapter(
    engine: LocalLlm,
    test: TestDialogues,
    challenger: Candidate,
    champion: Candidate | None = None,
    *,
    looks: Looks = Looks(),
    on_progress: Listener | None = None,
) -> DialogueJudgement:
    """Let challenger, base and champion answer the test dialogues, and put the gate's questions.

    Args:
        engine: the base, without an adapter.
        test: the dialogues.
        challenger: the adapter to judge.
        champion: what serves now; None where nothing was promoted yet.
        looks: how often this test set was looked at, limits and waivers.
        on_progress: called after every turn.

    Raises:
        MissingError: a bundle is gone.
        IntegrityError: a bundle is damaged, for another base, or answers otherwise than after training.
        InvalidInputError: it is no dialogue adapter, or a waiver is not allowed.
    """
    if champion is not None and champion.version is None:
        raise InvalidInputError("A champion has a version number; none was given.")
    manifest = dialogue_manifest(challenger.folder)
    with torch_threads(1), Turns(test, on_progress) as turns:
        adapted = engine.with_adapter(
            challenger.folder, f"{manifest.provenance.name}/{challenger.version or 0}"
        )
        ours = turns.of("challenger", adapted)
        latency = float(np.percentile(turns.seconds, 95) * 1_000)
        bare = turns.of("base", engine)
        theirs = None
        if champion is not None:
            label = f"{dialogue_manifest(champion.folder).provenance.name}/{champion.version}"
            theirs = turns.of("champion", engine.with_adapter(champion.folder, label))
    facts = DialogueFacts.load(challenger.folder)
    evidence = DialogueEvidence(
        model=manifest.provenance.name,
        challenger_version=challenger.version,
        champion_version=champion.version if champion else None,
        bundle=_bundle_evidence(challenger.folder, manifest, reload_difference(adapted.lm, facts)),
        reload_limit=reload_limit(adapted.lm, facts),
        test_sha256=test.sha256,
        looks=looks.count,
        dialogues=[row.id for row in test.rows for _ in row.answered],
        challenger=Spoken(ours),
        base=Spoken(bare),
        latency_p95_ms=latency,
        champion=Spoken(theirs) if theirs is not None else None,
        champion_test_sha256=champion.test_sha256 if champion else None,
    )
    return DialogueJudgement(
        judge_dialogue(evidence, looks.policy, waived=looks.waived), report(ours), report(bare), latency
    )


def dialogue_manifest(folder: Path) -> Manifest:
    """The manifest of a verified dialogue bundle.

    Raises:
        MissingError, IntegrityError: it is gone or damaged.
        InvalidInputError: it is of another kind.
    """
    manifest = verify(folder)
    if manifest.provenance.kind != Kind.DIALOGUE:
        raise InvalidInputError(
            f"{manifest.provenance.name} is an {manifest.provenance.kind.value} adapter; the test dialogues "
            "are for kind dialogue."
        )
    return manifest


class Untagged:
    """Stands where an intent tagger would: a turn is about nothing in particular."""

    version = "untagged"
    labels: tuple[str, ...] = ("untagged",)

    def tag(self, text: str) -> IntentTag:  # noqa: ARG002  # the port's signature
        """The same for every text."""
        return IntentTag("untagged", 1.0, 0.0, True, self.version)

    def tag_all(self, texts: Sequence[str]) -> list[IntentTag]:
        """One for each text."""
        return [self.tag(text) for text in texts]


class Turns:
    """Puts the test dialogues to models and judges their turns; a context, for the desk that it keeps open.

    Args:
        test: the dialogues.
        tell: called after every turn.
    """

    def __init__(self, test: TestDialogues, tell: Listener | None = None) -> None:
        self._test, self._tell = test, tell or _ignore
        self._desk = ToolDesk(test.data)
        self.seconds: list[float] = []

    def __enter__(self) -> "Turns":
        self._desk.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._desk.__exit__(*error)

    def of(self, who: str, engine: Llm) -> tuple[TurnVerdict, ...]:
        """One model's turns, judged; `seconds` holds how long each answer took."""
        timed = _Timed(engine)
        desk, rows = self._desk, self._test.rows
        cases = predicted_cases(rows, timed, Untagged(), desk.lexicon, desk.schemas("bank"))
        found = tuple(self._judged(who, cases))
        self.seconds = timed.seconds
        return found

    def _judged(self, who: str, cases: Iterable[TurnCase]) -> Iterator[TurnVerdict]:
        for number, case in enumerate(cases, start=1):
            yield judge_turn(case)
            self._tell(who, number, self._test.turns)


class _Timed:
    """An engine whose answers are timed, from the question to the last word."""

    def __init__(self, engine: Llm) -> None:
        self._engine = engine
        self.info: EngineInfo = engine.info
        self.seconds: list[float] = []

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        started = time.perf_counter()
        try:
            yield from self._engine.stream(request)
        finally:
            self.seconds.append(time.perf_counter() - started)


def _ignore(_who: str, _done: int, _of: int) -> None:
    """Nobody listens."""


def _bundle_evidence(folder: Path, manifest: Manifest, difference: float) -> BundleEvidence:
    """What loading has proven; a bundle that fails verification or holds a bad tensor never gets here."""
    tensors = load_file(folder / ADAPTER_FILE)
    return BundleEvidence(
        verified=True,
        finite=all(bool(tensor.isfinite().all()) for tensor in tensors.values()),
        adapter_moved=any(bool(tensor.any()) for name, tensor in tensors.items() if ".lora_B." in name),
        reload_difference=difference,
        base_before=manifest.provenance.base_sha256,
        base_after=manifest.provenance.base_sha256_after,
        changed_tensors=manifest.provenance.changed_tensors,
        declared_heads=(),
    )
