"""Judging dialogue adapters for the flows: base and test dialogues from the settings, figures for MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.dialogue_gate import DIALOGUE_CHECK_NAMES
from flows.judging import Case, Judged
from flows.progress import report
from serving.errors import MissingError
from serving.settings import Settings
from training.dialogue.judge import (
    Candidate,
    DialogueJudgement,
    Looks,
    TestDialogues,
    judge_dialogue_adapter,
)

if TYPE_CHECKING:
    from evaluation.tool_calls import ToolCallReport

_SHARES = (
    "exact_call",
    "argument_match",
    "valid_schema",
    "wrong_tool",
    "missed_call",
    "no_tool_precision",
    "no_tool_recall",
    "hallucinated_number",
    "failed",
)


class DialogueJudge:
    """Judges dialogue adapters on the test dialogues of the bank's tools.

    Args:
        settings: the installation.
        base: model folder; default: the setting `local_llm`. A decision that stands needs none.

    Raises:
        InvalidInputError: the dialogues cannot be read.
    """

    def __init__(self, settings: Settings, base: Path | None = None) -> None:
        self._settings, self._base = settings, base or settings.local_llm
        self._test = TestDialogues.of(settings.data)
        self.test_sha256, self.checks = self._test.sha256, DIALOGUE_CHECK_NAMES

    def judge(self, case: Case) -> Judged:
        """See `flows.judging.Judge`.

        Raises:
            MissingError: no base is named.
        """
        if self._base is None:
            raise MissingError(
                "A dialogue adapter is judged on its base, and no language model is configured.",
                advice="Set VOICEBOT_LOCAL_LLM to the folder of the base that it was trained on.",
            )
        from serving.language.local_llm import LocalLlm

        settings = self._settings
        engine = LocalLlm(
            self._base,
            four_bit=settings.local_llm_4bit,
            timeout_s=settings.local_llm_timeout_s,
            bank=settings.bank_name,
        )
        champion = None
        if case.champion is not None:
            champion = Candidate(case.champion.bundle, case.champion.version, case.champion_test)
        found = judge_dialogue_adapter(
            engine,
            self._test,
            Candidate(case.candidate.bundle, case.candidate.version),
            champion,
            looks=Looks(case.looks, waived=case.waived),
            on_progress=lambda who, done, of: report(f"judging: {who}", done, of),
        )
        ours, bare = (
            shares.exact_call.estimate if shares.exact_call else 0.0
            for shares in (found.challenger, found.base)
        )
        return Judged(found.decision, ours, bare, figures_of(found))


def figures_of(found: DialogueJudgement) -> dict[str, float]:
    """Shares with their intervals, of the adapter and of its base, as flat metric names."""
    shown = {"test.latency_p95_ms": found.latency_p95_ms, "test.turns": float(found.challenger.turns)}
    return shown | _shares("test", found.challenger) | _shares("test.base", found.base)


def _shares(prefix: str, found: "ToolCallReport") -> dict[str, float]:
    flat: dict[str, float] = {}
    for name in _SHARES:
        share = getattr(found, name)
        if share is not None:
            flat[f"{prefix}.{name}"] = share.estimate
            flat |= {f"{prefix}.{name}_low": share.low, f"{prefix}.{name}_high": share.high}
    return flat
