"""Judging a sealed bundle: its answers on the test set, and the champion's beside them, for the gate.

Adapters are loaded by serving's own loader, with all its checks; nothing is registered or promoted here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.gate import judge
from evaluation.gate_evidence import Answers, BundleEvidence, GateEvidence, GatePolicy
from evaluation.intents import IntentReport
from serving.adapters.decision import GateDecision
from serving.adapters.loader import LocalCopy, load_frozen_head, load_tagger
from serving.adapters.manifest import ADAPTER_FILE, Manifest, verify
from serving.errors import InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.language.intent import Logits, TorchIntentTagger
from training.baseline import score_on
from training.data import Dataset
from training.model import torch_threads

_LATENCY_TEXTS = 100
_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter to judge, or to judge against.

    Attributes:
        folder: its sealed bundle.
        version: its number in the registry; None before registration.
    """

    folder: Path
    version: int | None = None


@dataclass(frozen=True)
class Judgement:
    """The gate's decision with the scores behind it.

    Attributes:
        decision: what serving stores and promotion requires.
        challenger: the challenger's scores on the test set.
        baseline: scores of the frozen baseline in the challenger's bundle.
        latency_p95_ms: p95 of one text, in milliseconds, on one thread.
    """

    decision: GateDecision
    challenger: IntentReport
    baseline: IntentReport
    latency_p95_ms: float


@dataclass(frozen=True, slots=True)
class Against:
    """The champion of the moment.

    Attributes:
        adapter: its bundle and version (required).
        test_sha256: test set of the decision that made it champion; None where unknown.
    """

    adapter: Adapter
    test_sha256: str | None


def judge_adapter(
    encoder: SentenceEncoder,
    test: Dataset,
    challenger: Adapter,
    champion: Against | None = None,
    *,
    looks: int = 1,
    policy: GatePolicy | None = None,
    waived: Mapping[str, str] | None = None,
) -> Judgement:
    """Answer the test set with challenger, champion and baseline, and put the gate's questions.

    Args:
        encoder: the base that serves.
        test: test split of the challenger's data.
        challenger: the adapter to judge.
        champion: what serves now; None where nothing was promoted yet.
        looks: judgements that this test set has served so far, this one included.
        policy: limits; the defaults where none are given.
        waived: written reason by name of a check that a person overrules.

    Raises:
        MissingError: a bundle is gone.
        IntegrityError: a bundle is damaged or for another base; there is nothing to judge then.
        InvalidInputError: the test set holds a label that the challenger does not know, or a waiver
            is not allowed.
    """
    if champion is not None and champion.adapter.version is None:
        raise InvalidInputError("A champion has a version number; none was given.")
    manifest = verify(challenger.folder, base_sha256=encoder.base_sha256)
    with torch_threads(1):  # as serving runs it
        tagger = load_tagger(_copy(challenger, manifest), encoder)
        frozen = load_frozen_head(_copy(challenger, manifest), encoder).logits(test.texts)
        ours = tagger.logits(test.texts)
        latency = latency_p95_ms(tagger.tag, test.texts)
        theirs = _champion_answers(champion, encoder, test) if champion else None
    evidence = GateEvidence(
        model=manifest.provenance.name,
        challenger_version=challenger.version,
        champion_version=champion.adapter.version if champion else None,
        bundle=_bundle_evidence(challenger.folder, manifest, tagger),
        test_sha256=test.sha256,
        looks=looks,
        gold=test.labels,
        challenger=Answers.of(ours, tagger.labels),
        baseline=Answers.of(frozen, tagger.labels),
        latency_p95_ms=latency,
        champion=theirs,
        champion_test_sha256=champion.test_sha256 if champion else None,
        out_of_scope_label=tagger.config.out_of_scope_label,
    )
    config = tagger.config
    return Judgement(
        decision=judge(evidence, policy, waived=waived),
        challenger=_report(test, ours, config.labels, config.energy_threshold),
        baseline=_report(test, frozen, config.labels, config.baseline_energy_threshold),
        latency_p95_ms=latency,
    )


def latency_p95_ms(answer: Callable[[str], object], texts: Sequence[str]) -> float:
    """95th percentile of the wall time of one text, in milliseconds, after a warm-up."""
    chosen = texts[:: max(1, len(texts) // _LATENCY_TEXTS)][:_LATENCY_TEXTS]
    for text in chosen[:_WARM_UP]:
        answer(text)
    times = []
    for text in chosen:
        started = time.perf_counter()
        answer(text)
        times.append(time.perf_counter() - started)
    return float(np.percentile(times, 95) * 1_000)


def _champion_answers(champion: Against, encoder: SentenceEncoder, test: Dataset) -> Answers:
    manifest = verify(champion.adapter.folder, base_sha256=encoder.base_sha256)
    tagger = load_tagger(_copy(champion.adapter, manifest), encoder)
    return Answers.of(tagger.logits(test.texts), tagger.labels)


def _bundle_evidence(folder: Path, manifest: Manifest, tagger: TorchIntentTagger) -> BundleEvidence:
    """What loading has proven; a bundle that fails verification or holds a bad tensor never gets here."""
    from safetensors.torch import load_file

    tensors = load_file(folder / ADAPTER_FILE)
    probes = tagger.config.probes
    tags = tagger.tag_all([probe.text for probe in probes])
    gaps = [abs(tag.energy - probe.energy) for tag, probe in zip(tags, probes, strict=True)]
    return BundleEvidence(
        verified=True,
        finite=all(bool(tensor.isfinite().all()) for tensor in tensors.values()),
        adapter_moved=any(bool(tensor.any()) for name, tensor in tensors.items() if ".lora_B." in name),
        reload_difference=max(gaps, default=0.0),
        base_before=manifest.provenance.base_sha256,
        base_after=manifest.provenance.base_sha256_after,
        changed_tensors=manifest.provenance.changed_tensors,
    )


def _report(test: Dataset, logits: Logits, labels: tuple[str, ...], threshold: float) -> IntentReport:
    return score_on(test, logits, labels, threshold)


def _copy(adapter: Adapter, manifest: Manifest) -> LocalCopy:
    return LocalCopy(manifest.provenance.name, adapter.version or 0, adapter.folder)
