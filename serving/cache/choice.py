"""Which rule a home's cache decides with: a cosine that the operator sets, or the certified one.

The calibration is `home/cache/calibration.json`, else the project's own. Where neither fits what serves,
the cache answers for the same words only, and says so in the log.
"""

from pathlib import Path

from loguru import logger

from serving.cache.belief import Prior, uncertified
from serving.cache.calibration import FILE, Calibration, load_calibration
from serving.cache.evidence import load_concepts
from serving.cache.protocol import HitRule
from serving.cache.rule import CertifiedRule, CosineRule, prior_of
from serving.cache.scorer import EvidenceScorer, load_scorer
from serving.errors import VoicebotError
from serving.language.encoder import reference_at
from serving.language.lexicon import Lexicon, load_lexicon
from serving.settings import Settings


def choose_rule(settings: Settings, lexicon: Lexicon, embedder: str) -> HitRule:
    """The rule of a home.

    Args:
        settings: `home`, `data`, `cache_threshold` and `cache_alpha` matter.
        lexicon: of the signatures.
        embedder: reference of the sentence encoder that serves (`reference_of`).

    Raises:
        VoicebotError: the weights of the rule cannot be used.
    """
    if settings.cache_threshold is not None:
        return CosineRule(settings.cache_threshold)
    scorer = project_scorer(settings.data, lexicon)
    return CertifiedRule(scorer, _calibration(settings, scorer, embedder))


def prior_of_home(settings: Settings) -> Prior:
    """What is believed of a home's entries before feedback, for commands and flows; loads no model.

    Where what serves cannot be told, π is that of nothing certified: a person's verdict must not wait for it.
    """
    try:
        lexicon = load_lexicon(settings.data / "lexicons" / "signature.yaml")
        return prior_of(choose_rule(settings, lexicon, reference_at(settings.encoder)))
    except VoicebotError as error:
        logger.warning("which calibration serves cannot be told: {}", error)
        return uncertified


def project_scorer(data: Path, lexicon: Lexicon) -> EvidenceScorer:
    """The scorer with the project's weights.

    Raises:
        VoicebotError: they cannot be used.
    """
    return load_scorer(data / "cache_rule.json", load_concepts(data / "lexicons" / "concepts.yaml"), lexicon)


def calibration_files(settings: Settings) -> tuple[Path, Path]:
    """Where a calibration is looked for, in this order."""
    return settings.home / "cache" / FILE, settings.data / "cache_calibration.json"


def _calibration(settings: Settings, scorer: EvidenceScorer, embedder: str) -> Calibration | None:
    own, shipped = calibration_files(settings)
    for path in (own, shipped):
        if path == own and not path.exists():
            continue
        try:
            found = load_calibration(path, embedder=embedder, rule=scorer.fingerprint)
        except VoicebotError as error:
            logger.warning("{}", error)
            continue
        if found.alpha <= settings.cache_alpha:
            return found
        logger.warning(
            "{} certifies {:g}, more than cache_alpha {:g}", path, found.alpha, settings.cache_alpha
        )
    logger.warning("no calibration fits: the cache answers for the same words only")
    return None
