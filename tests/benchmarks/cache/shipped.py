"""The hit rule that a fresh home answers with: the one place here that knows how it is made."""

from serving.cache.protocol import HitRule
from serving.cache.rule import CosineRule
from serving.cache.signature import Signer
from serving.language.encoder import SentenceEncoder
from serving.settings import Settings


def shipped_rule(settings: Settings, encoder: SentenceEncoder, signer: Signer) -> HitRule:
    """The rule of the project's data, for this encoder."""
    return CosineRule(settings.cache_threshold)
