"""What may be sent to the cache service: types, lengths, and nothing else.

The limits keep a request small, not a question reasonable: a text that no cache takes is refused by the
cache, with a reason, and counted.
"""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from serving.cache.protocol import Feedback, Offer, Signal
from serving.cache.signature import Signature
from serving.cache.types import CacheQuery, CacheScope
from serving.language.knowledge import Cacheability

Name = Annotated[str, Field(max_length=200)]
"""An intent, an id, an actor."""
Text = Annotated[str, Field(max_length=50_000)]
Part = Annotated[str, Field(max_length=1_000)]
"""A hash, a version, a detail."""
Facet = tuple[Name, Annotated[str, Field(max_length=5_000)]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScopeBody(_Body):
    """See `CacheScope`."""

    tenant: Part
    locale: Part
    knowledge: Part
    prompt: Part
    intent_adapter: Part
    dialogue_adapter: Part
    base_model: Part
    embedder: Part

    def made(self) -> CacheScope:
        """The scope."""
        return CacheScope(**dict(self))


class SignatureBody(_Body):
    """See `Signature`."""

    facets: Annotated[tuple[Facet, ...], Field(max_length=5_000)]


class QueryBody(_Body):
    """See `CacheQuery`."""

    text: Text
    intent: Name
    cacheability: Cacheability
    signature: SignatureBody
    context_dependent: bool = False
    personal: bool = False

    def made(self) -> CacheQuery:
        """The query."""
        return CacheQuery(**dict(self) | {"signature": Signature(self.signature.facets)})


class OfferBody(_Body):
    """See `Offer`."""

    question: Text
    intent: Name
    answer: Text
    disclosures: Annotated[tuple[Name, ...], Field(max_length=20)] = ()
    source: Part = ""
    tools: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    expires_at: AwareDatetime | None = None
    context_dependent: bool = False
    personal: bool = False

    def made(self) -> Offer:
        """The offer."""
        return Offer(**dict(self))


class Lookup(_Body):
    """Body of `POST /v1/lookup`."""

    query: QueryBody
    scope: ScopeBody


class Insert(_Body):
    """Body of `POST /v1/insert`."""

    offer: OfferBody
    scope: ScopeBody
    actor: Annotated[str, Field(min_length=1, max_length=200)]


class Observation(_Body):
    """Body of `POST /v1/feedback`; see `Feedback`."""

    entry_id: Name
    signal: Signal
    at: AwareDatetime
    origin: Annotated[str, Field(min_length=1, max_length=300)]
    actor: Annotated[str, Field(min_length=1, max_length=200)]
    note: Annotated[str, Field(max_length=2_000)] = ""

    def made(self) -> Feedback:
        """The feedback."""
        return Feedback(**dict(self))
