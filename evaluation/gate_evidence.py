"""What the gate looks at, and the limits that it applies.

Plain data, gathered by training and flows; nothing here decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.intents import Floats, Logits, Mask, best_labels, energies
from serving.errors import InvalidInputError

CRITICAL_INTENTS = frozenset(
    {
        "card_payment_not_recognised",
        "cash_withdrawal_not_recognised",
        "compromised_card",
        "direct_debit_payment_not_recognised",
        "lost_or_stolen_card",
        "lost_or_stolen_phone",
    }
)
"""Intents where a wrong answer costs the caller money; judged as one group, since each alone is small."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """Limits of the gate.

    With the defaults, an equally good challenger passes all checks more than 80 % of the time and one
    that is three points worse at most 5 %, at 3,000 test items (simulated in the tests).

    Attributes:
        level: confidence of the one-sided bound of the accuracy difference.
        power: chance that an equally good challenger passes the accuracy check; sets the margin.
        planned_discordance: share of items on which exactly one of two good adapters is right.
        max_margin: a wider margin than this proves too little, so the test set is too small to judge by.
        group_error: chance of refusing an equally good challenger for the critical group.
        family_error: the same over all single intents together (Holm).
        scope_error: the same for out-of-scope recall against the champion.
        min_intent_items: intents with fewer test items are not judged one by one.
        in_scope_rejection: share of in-scope test texts turned away at which recall is compared.
        min_scope_items: fewer out-of-scope texts than this are not judged.
        min_scope_recall: least share of out-of-scope texts that must be turned away.
        max_latency_p95_ms: longest p95 of one text through the tagger, in milliseconds.
        max_reload_difference: largest difference of a logit after saving and loading.
    """

    level: float = 0.95
    power: float = 0.90
    planned_discordance: float = 0.08
    max_margin: float = 0.05
    group_error: float = 0.05
    family_error: float = 0.05
    scope_error: float = 0.05
    min_intent_items: int = 30
    in_scope_rejection: float = 0.05
    min_scope_items: int = 10
    min_scope_recall: float = 0.60
    max_latency_p95_ms: float = 150.0
    max_reload_difference: float = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """How one tagger answered the test set, text by text.

    Attributes:
        predicted: best label of each text.
        energy: energy of each text, shape (texts,).
    """

    predicted: tuple[str, ...]
    energy: Floats

    @classmethod
    def of(cls, logits: Logits, labels: Sequence[str]) -> "Answers":
        """Answers from logits of shape (texts, labels)."""
        return cls(tuple(best_labels(logits, labels)), energies(logits))


@dataclass(frozen=True, slots=True)
class BundleEvidence:
    """What verification, loading and training recorded about the challenger's bundle.

    Attributes:
        verified: every file has the checksum of the manifest.
        finite: every weight is a finite number.
        adapter_moved: at least one LoRA B matrix differs from zero, where it started.
        reload_difference: largest difference of a logit between the trained and the loaded model.
        base_before: sha256 of the frozen weights before training.
        base_after: the same after training.
        changed_tensors: tensors that training changed, as PEFT saves them.
        declared_heads: names of modules that were trained whole.
    """

    verified: bool
    finite: bool
    adapter_moved: bool
    reload_difference: float
    base_before: str
    base_after: str
    changed_tensors: tuple[str, ...]
    declared_heads: tuple[str, ...] = ("classifier",)


@dataclass(frozen=True, slots=True, eq=False)
class GateEvidence:
    """Everything that the gate looks at.

    Attributes:
        model: registered model's name.
        challenger_version: None before registration.
        champion_version: None where there is no champion.
        bundle: about the challenger's files and training.
        test_sha256: the test set that all answers are on.
        looks: how many judgements this test set has served so far, this one included.
        gold: right label of each text.
        challenger: the challenger's answers.
        baseline: answers of the frozen encoder with the challenger's own baseline head.
        latency_p95_ms: p95 of one text through the challenger, in milliseconds.
        champion: the champion's answers on the same texts; None without a champion.
        champion_test_sha256: test set of the decision that made the champion; None where unknown.
        out_of_scope_label: label of out-of-scope texts, where the test set has them.
    """

    model: str
    challenger_version: int | None
    champion_version: int | None
    bundle: BundleEvidence
    test_sha256: str
    looks: int
    gold: tuple[str, ...]
    challenger: Answers
    baseline: Answers
    latency_p95_ms: float
    champion: Answers | None = None
    champion_test_sha256: str | None = None
    out_of_scope_label: str | None = "out_of_scope"

    def __post_init__(self) -> None:
        if not self.gold:
            raise InvalidInputError("The gate needs a test set; this one is empty.")
        if self.looks < 1:
            raise InvalidInputError("This judgement is itself a look at the test set: looks is at least 1.")
        if (self.champion is None) != (self.champion_version is None):
            raise InvalidInputError("A champion's version and its answers belong together; one is missing.")
        for answers in (self.challenger, self.baseline, self.champion):
            if answers and not len(answers.predicted) == len(answers.energy) == len(self.gold):
                raise InvalidInputError("The answers and the test set differ in their number of texts.")

    def right(self, answers: Answers) -> Mask:
        """Which texts were answered with their gold label."""
        return np.array([a == b for a, b in zip(answers.predicted, self.gold, strict=True)])
