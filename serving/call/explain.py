"""What the cache would decide for one question, with everything that leads to the decision."""

from dataclasses import dataclass

from serving.cache.signature import Signature
from serving.cache.types import CacheDecision
from serving.call.caching import lookup
from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.runtime import Runtime
from serving.call.understanding import understand
from serving.language.knowledge import Cacheability


@dataclass(frozen=True, slots=True)
class Explanation:
    """A lookup with its inputs; the text is redacted."""

    text: str
    intent: str
    probability: float
    in_scope: bool
    cacheability: Cacheability
    signature: Signature
    decision: CacheDecision


def explain(runtime: Runtime, question: str) -> Explanation:
    """Look a question up as the first turn of a call would."""
    served = runtime.adapter.current
    turn = HeardTurn("explain", 1, question, 1.0)
    heard = understand(turn, DialogueState(), served.tagger, runtime.box, Laps(FileClock(), 0.0))
    return Explanation(
        text=heard.user.text,
        intent=heard.tag.label,
        probability=heard.tag.probability,
        in_scope=heard.tag.in_scope,
        cacheability=runtime.knowledge.cacheability(heard.tag.label),
        signature=heard.signature,
        decision=lookup(runtime.box, heard, runtime.scope(served)),
    )
