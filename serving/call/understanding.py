"""The first stages of a turn: typed values, intent, redaction, signature, the task it belongs to.

This is the last place that sees the caller's true words; what it returns besides the tag and the hashed
signature is redacted (design D12).
"""

from dataclasses import dataclass, replace

from serving.cache.signature import Signature
from serving.call import policy
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.toolbox import Toolbox
from serving.language.protocols import IntentTag, IntentTagger, UserTurn
from serving.spoken import parse
from serving.telemetry.redaction import redact


@dataclass(frozen=True, slots=True)
class Understood:
    """A turn with everything that was found out about it.

    Attributes:
        user: the redacted turn as engines see it.
        personal: the words held personal data.
        points_back: the words mean little without the turns before them.
        state: the dialogue with this turn added.
    """

    call_id: str
    index: int
    confidence: float
    tag: IntentTag
    user: UserTurn
    signature: Signature
    personal: bool
    points_back: bool
    state: DialogueState


def understand(
    turn: HeardTurn, state: DialogueState, tagger: IntentTagger, box: Toolbox, laps: Laps
) -> Understood:
    """Read a turn; each stage is marked in `laps`."""
    values = parse(turn.text, currency=box.currency, today=box.today(), expect=policy.expected_kind(state))
    laps.mark("parse")
    tag = tagger.tag(turn.text)
    laps.mark("intent")
    redacted = redact(turn.text, values, known=state.placeholders)
    key = box.signer.sign(turn.text)
    facets = box.signer.lexicon.found(turn.text)
    user = UserTurn(redacted.text, tag, redacted.values, facets, policy.task_of(tag, values, state.pending))
    after = replace(
        state,
        turns=(*state.turns, user),
        values=(*state.values, *redacted.values),
        placeholders=redacted.placeholders,
    )
    laps.mark("redact")
    return Understood(
        call_id=turn.call_id,
        index=turn.index,
        confidence=turn.confidence,
        tag=tag,
        user=user,
        signature=key,
        personal=any(value.personal for value in redacted.values),
        points_back=bool(state.turns) and box.signer.lexicon.points_back(turn.text),
        state=after,
    )
