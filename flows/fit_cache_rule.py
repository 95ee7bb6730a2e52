"""Fit the weights of the cache's rule on split `train`: `python -m flows.fit_cache_rule`.

A step of development, seldom run: after a change of the word lists, of the pairs or of the encoder. What
it writes is part of the project; `voicebot calibrate-cache` then says from which score on an answer may
be served.
"""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.cache_pairs import load_pairs
from evaluation.cache_rule import Fitted, fit_rule
from serving.cache.evidence import load_concepts
from serving.cache.signature import Signer
from serving.files import write_atomically
from serving.language.encoder import default_encoder_dir, load_encoder
from serving.language.knowledge import Knowledge, load_knowledge
from serving.language.lexicon import load_lexicon, words
from serving.settings import Settings
from serving.telemetry.redaction import keyed_hash

COMMON_WORDS = 9_000
"""Words of the encoder's own vocabulary that get a vector, the commonest first."""
_WORD = re.compile("[a-z]{2,}")
_COMMON = re.compile("[a-z]{3,}")


@dataclass(frozen=True, slots=True)
class RuleFit:
    """What a fit is worth on pairs that it had not seen.

    Attributes:
        pairs: of split train that the signature leaves to the rule.
        right: near-twins let pass → paraphrases served by the score and by the cosine alone.
    """

    pairs: int
    right: dict[int, tuple[int, int]]


def fit_project_rule(settings: Settings) -> Fitted:
    """Fit on the project's data; nothing is written."""
    from training.sources import intent_files, read_intent_file

    data = settings.data
    lexicon = load_lexicon(data / "lexicons" / "signature.yaml")
    # Personal values only need to be equal or not.
    signer = Signer(
        lexicon, lambda kind, value: keyed_hash(kind, value, b"fit of the cache rule"), settings.currency
    )
    knowledge = load_knowledge(data / "knowledge" / "answers.yaml")
    texts = {
        intent: [str(text) for text in entry["train"]]
        for path in intent_files(data / "intents")
        for intent, entry in read_intent_file(path).items()
    }
    return fit_rule(
        load_pairs(data / "cache_pairs" / "pairs.jsonl"),
        knowledge,
        signer,
        load_concepts(data / "lexicons" / "concepts.yaml"),
        load_encoder(settings.encoder),
        texts,
        _vocabulary(settings.encoder or default_encoder_dir(), knowledge, texts),
    )


def _vocabulary(encoder: Path, knowledge: Knowledge, texts: dict[str, list[str]]) -> Sequence[str]:
    """Words of the project's texts, and the commonest of the encoder's vocabulary."""
    known = json.loads((encoder / "tokenizer.json").read_bytes())["model"]["vocab"]
    common = [word for word in sorted(known, key=known.__getitem__) if _COMMON.fullmatch(word)]
    own = [text for group in texts.values() for text in group]
    own += [text for answer in knowledge.answers for text in (*answer.questions, answer.text)]
    found = {word for text in own for word in words(text) if _WORD.fullmatch(word)}
    return sorted({*found, *common[:COMMON_WORDS]})


def main() -> None:
    """Fit, write data/cache_rule.json, print what it is worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    wanted = parser.parse_args()
    settings = Settings()
    fitted = fit_project_rule(settings)
    if not wanted.dry_run:
        content = json.dumps(fitted.content, indent=1, sort_keys=True) + "\n"
        write_atomically(settings.data / "cache_rule.json", content)
    found = RuleFit(len(fitted.same), {wrong: fitted.right_at(wrong) for wrong in (0, 1, 2, 3, 5, 8)})
    print(json.dumps({"pairs": found.pairs, "right at wrong (score, cosine)": found.right}))  # noqa: T201


if __name__ == "__main__":
    main()
