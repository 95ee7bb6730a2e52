"""The cache without the rest: a home folder and the project's data make one that is ready to be asked."""

from serving.cache.admission import Admission
from serving.cache.choice import choose_rule
from serving.cache.compliance import Wordings
from serving.cache.local import LocalCache
from serving.cache.protocol import HitRule
from serving.cache.signature import RULES, Signer
from serving.cache.types import CacheScope, knowledge_of
from serving.language.injection import load_injection_guard
from serving.language.knowledge import load_knowledge
from serving.language.lexicon import load_lexicon
from serving.language.protocols import Embedder
from serving.settings import Settings
from serving.telemetry.redaction import keyed_hash, load_pii_key
from serving.tools.compliance import load_compliance
from serving.tools.rates import load_rates


def open_cache(
    settings: Settings, *, embedder: Embedder | None = None, rule: HitRule | None = None
) -> LocalCache:
    """The cache of a home, with the knowledge, rates and lexicons of the settings' data.

    Args:
        settings: `home`, `data_dir`, `cache_threshold` and `encoder` matter.
        embedder: default: the one of the settings.
        rule: default: `cache_threshold` of the settings, else the certified rule.

    Raises:
        VoicebotError: data or encoder cannot be read.
    """
    from serving.language.encoder import load_encoder, reference_of
    from serving.language.encoder_backend import with_backend

    data = settings.data
    embedder = embedder or with_backend(load_encoder(settings.encoder), settings)
    signer = signer_of(settings)
    knowledge = load_knowledge(data / "knowledge" / "answers.yaml")
    rates = load_rates(data / "knowledge" / "rates.yaml")
    texts = load_compliance(data / "compliance")
    sheets = (knowledge.sha256, rates.sha256, texts.sha256, signer.lexicon.sha256, RULES)
    admission = Admission(
        knowledge,
        signer,
        load_injection_guard(data / "lexicons" / "injection.yaml"),
        rates,
        Wordings.of(texts),
        frozenset({knowledge.sha256, knowledge_of(sheets)}),
    )
    return LocalCache(
        settings.home / "cache",
        embedder,
        admission,
        rule or choose_rule(settings, signer.lexicon, reference_of(embedder)),
    )


def signer_of(settings: Settings) -> Signer:
    """What makes the signatures of a home.

    Raises:
        VoicebotError: the lexicon or the key of personal hashes cannot be read.
    """
    key = load_pii_key(settings)
    lexicon = load_lexicon(settings.data / "lexicons" / "signature.yaml")
    return Signer(lexicon, lambda kind, value: keyed_hash(kind, value, key), settings.currency)


def scope_of(cache: LocalCache, tenant: str, locale: str = "en-US") -> CacheScope:
    """A scope for whoever has no adapters: it changes with the knowledge and the encoder."""
    return CacheScope(
        tenant=tenant,
        locale=locale,
        knowledge=cache.admission.knowledge.sha256,
        prompt="none",
        intent_adapter="none",
        dialogue_adapter="none",
        base_model="none",
        embedder=cache.reader.embedder.fingerprint,
    )
