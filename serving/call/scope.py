"""The cache scope of a call: everything whose change makes a cached answer doubtful, in one key."""

from dataclasses import dataclass

from serving.cache.types import CacheScope, knowledge_of
from serving.language.prompt import prompt_sha256
from serving.speech.protocols import EngineInfo


@dataclass(frozen=True, slots=True)
class ScopeParts:
    """What all scopes of an installation share.

    Attributes:
        knowledge: hashes of answers, rates, wordings and lexicon, and the version of the signature's rules.
        bank_name: part of the prompt.
        llm: the answering engine.
        embedder: fingerprint of the sentence encoder.
    """

    tenant: str
    locale: str
    knowledge: tuple[str, ...]
    bank_name: str
    llm: EngineInfo
    embedder: str


def scope_for(parts: ScopeParts, adapter: str, dialogue_adapter: str = "none") -> CacheScope:
    """The scope of calls that use an intent adapter.

    Args:
        parts: what does not change with the adapter.
        adapter: the adapter's identity (`serving.adapters.versions.identity`).
        dialogue_adapter: the same of the language model's adapter, where one is used.
    """
    return CacheScope(
        tenant=parts.tenant,
        locale=parts.locale,
        knowledge=knowledge_of(parts.knowledge),
        prompt=prompt_sha256(parts.bank_name),
        intent_adapter=adapter,
        dialogue_adapter=dialogue_adapter,
        base_model=f"{parts.llm.name}:{parts.llm.model}",
        embedder=parts.embedder,
    )
