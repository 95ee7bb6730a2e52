"""What the gate looks at where the adapter is a language model's, and the limits that it applies.

Plain data, gathered by training and flows; nothing here decides. One `Spoken` is how one model did all of the
test dialogues, turn by turn, in the same order for every model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.gate_evidence import BundleEvidence
from evaluation.intents import Mask
from evaluation.tool_calls import TurnVerdict
from serving.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class DialoguePolicy:
    """Limits of the gate for dialogue adapters.

    With the defaults an equally good challenger passes all checks more than 80 % of the time, and one whose
    exact calls are ten points worse at most 5 %, on the 174 turns of the project's test split that should
    call (simulated in the tests).

    Attributes:
        level: confidence of the one-sided bound of the difference of exact calls.
        power: chance that an equally good challenger passes that check; sets the margin.
        planned_discordance: share of turns on which exactly one of two good adapters calls exactly.
        design_effect: by how much turns of one dialogue, which are alike, widen the interval; plans the
            margin (the bound itself draws whole dialogues).
        max_margin: a wider margin than this proves too little, so the test set is too small to judge by.
        group_error: chance of refusing an equally good challenger for invented numbers.
        family_error: the same over the other rates together (Holm).
        min_exact_call: least share of exact calls; the embedded responder, which needs no model, has 56 %.
        max_invented: largest share of turns that state a number which nobody gave.
        min_valid: least share of calls that fit their schema.
        max_wrong: largest share of calling turns that call another tool.
        max_unwanted: largest share of turns that should only speak and call.
        min_calls: fewer calls, or turns, than this are not held to these shares; so few exact calls prove
            nothing, and fail.
        max_latency_p95_ms: longest p95 of a whole answer, in milliseconds.
    """

    level: float = 0.95
    power: float = 0.90
    planned_discordance: float = 0.08
    design_effect: float = 1.3
    max_margin: float = 0.08
    group_error: float = 0.05
    family_error: float = 0.05
    min_exact_call: float = 0.56
    max_invented: float = 0.02
    min_valid: float = 0.95
    max_wrong: float = 0.10
    max_unwanted: float = 0.15
    min_calls: int = 30
    max_latency_p95_ms: float = 5_000.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """How one model did the test dialogues.

    Attributes:
        verdicts: one for each turn of the assistant.
    """

    verdicts: tuple[TurnVerdict, ...]

    def mask(self, fits: Callable[[TurnVerdict], bool]) -> Mask:
        """Which turns are so."""
        return np.array([fits(verdict) for verdict in self.verdicts], dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class DialogueEvidence:
    """Everything that the gate looks at.

    Attributes:
        model: registered model's name.
        challenger_version: None before registration.
        champion_version: None where there is no champion.
        bundle: about the challenger's files and training; its `reload_difference` is in nats per token.
        reload_limit: how large that may be in the precision of this judgement.
        test_sha256: the test dialogues.
        looks: how many judgements they have served so far, this one included.
        dialogues: which dialogue each turn is of; turns of one are not independent.
        challenger: the challenger's turns.
        base: those of the base without any adapter.
        latency_p95_ms: p95 of a whole answer of the challenger, in milliseconds.
        champion: the champion's turns; None without a champion.
        champion_test_sha256: test set of the decision that made the champion; None where unknown.
    """

    model: str
    challenger_version: int | None
    champion_version: int | None
    bundle: BundleEvidence
    reload_limit: float
    test_sha256: str
    looks: int
    dialogues: Sequence[str]
    challenger: Spoken
    base: Spoken
    latency_p95_ms: float
    champion: Spoken | None = None
    champion_test_sha256: str | None = None

    def __post_init__(self) -> None:
        if not self.dialogues:
            raise InvalidInputError("The gate needs test dialogues; there are none.")
        if self.looks < 1:
            raise InvalidInputError("This judgement is itself a look at the test set: looks is at least 1.")
        if (self.champion is None) != (self.champion_version is None):
            raise InvalidInputError("A champion's version and its turns belong together; one is missing.")
        for spoken in (self.challenger, self.base, self.champion):
            if spoken and len(spoken.verdicts) != len(self.dialogues):
                raise InvalidInputError("The answers and the test dialogues differ in their number of turns.")

    @property
    def items(self) -> int:
        """Turns of the test dialogues."""
        return len(self.dialogues)
