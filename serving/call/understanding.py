"""The first stages of a turn: typed values, intent, redaction, signature, the task it belongs to.

This is the last place that sees the caller's true words; what it returns besides the tag and the hashed
signature is redacted (design D12).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.cache.signature import Signature
from serving.call import policy
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.line import KEYED, KEYS
from serving.call.number_parts import begun, goes_on, is_part, with_parts
from serving.call.toolbox import Toolbox
from serving.language.protocols import IntentTag, IntentTagger, UserTurn
from serving.spoken import parse
from serving.spoken.card_data import holds_card
from serving.spoken.unfinished import Unfinished
from serving.spoken.values import Kind, TypedValue
from serving.telemetry.redaction import Redacted, redact

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u02b9\uff07`\u00b4", "'"))
"""As many characters as before, so that spans stay."""
_KEYED_WORDS = re.compile(rf"(?<!\S)[{''.join(sorted(KEYS - {KEYED}))}]+{KEYED}(?!\S)")


@dataclass(frozen=True, slots=True)
class Understood:
    """A turn with everything that was found out about it.

    Attributes:
        user: the redacted turn as engines see it.
        personal: the words held personal data.
        points_back: the words mean little without the turns before them.
        state: the dialogue with this turn added.
        say: takes sentences that may be spoken before the answer is complete; None where nobody does.
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
    say: Callable[[str], None] | None = None


def understand(
    turn: HeardTurn, state: DialogueState, tagger: IntentTagger, box: Toolbox, laps: Laps
) -> Understood:
    """Read a turn; each stage is marked in `laps`."""
    text, keyed = _said(turn.text.translate(_APOSTROPHES))
    values, expecting = _values(text, state, keyed=keyed, currency=box.currency, today=box.today())
    laps.mark("parse")
    tag = tagger.tag(text)
    laps.mark("intent")
    redacted = redact(text, values, known=state.placeholders, expecting=expecting)
    key = box.signer.sign(text)
    facets = box.signer.lexicon.found(text)
    user = UserTurn(redacted.text, tag, redacted.values, facets, policy.task_of(tag, values, state.pending))
    after = replace(
        state,
        turns=(*state.turns, user),
        values=(*state.values, *redacted.values),
        placeholders=redacted.placeholders,
        unfinished=begun(text, values, state),
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
        points_back=bool(state.turns) and box.signer.lexicon.points_back(text),
        state=after,
        say=turn.say,
    )


def redacted_words(text: str, state: DialogueState, *, growing: bool = False) -> Redacted:
    """The words of a turn that nobody answered, fit for the record: what was asked for is known here too.

    Args:
        text: the true text.
        state: the dialogue before this turn.
        growing: it is what was heard so far.

    Raises:
        Exception: words that cannot be redacted; they must not be kept.
    """
    text, keyed = _said(text)
    values, expecting = _values(text, state, growing=growing, keyed=keyed)
    return redact(text, values, known=state.placeholders, expecting=expecting)


def unrecorded(text: str, state: DialogueState) -> bool:
    """Whether the sound of a turn must not be kept: it says who is calling, or holds digits of a card.

    Args:
        text: the true text, or what was heard of it so far.
        state: the dialogue before this turn.
    """
    values, _ = _values(text, state)
    return state.identifying or is_part(text, state) or holds_card(values, text, state.unfinished)


def left_open(text: str, state: DialogueState) -> tuple[bool, Unfinished | None]:
    """Whether a turn holds any values, and what the next one will go on with.

    Args:
        text: the true text.
        state: the dialogue before this turn.
    """
    text, keyed = _said(text)
    values, _ = _values(text, state, keyed=keyed)
    return bool(values), begun(text, values, state)


def _said(text: str) -> tuple[str, tuple[range, ...]]:
    """The words of a turn, and where among them keys are: some may have been pressed, others said."""
    words, keyed, at = "", [], 0
    for found in _KEYED_WORDS.finditer(text):
        words += text[at : found.start()]
        keys = found.group().replace(KEYED, "")
        keyed.append(range(len(words), len(words) + len(keys)))
        words, at = words + keys, found.end()
    return words + text[at:], tuple(keyed)


def _values(
    text: str, state: DialogueState, *, growing: bool = False, keyed: Sequence[range] = (), **options: Any
) -> tuple[tuple[TypedValue, ...], Kind | None]:
    """Typed values, read as what was asked for, or as the rest of what the turn before began.

    Returns:
        The values, and what else `redact` is to look for.
    """
    before = goes_on(text, state)
    found = parse(text, expect=policy.expected_kind(state) or before, **options)
    known = policy.identifying(found, text, state)
    values = with_parts(text, known, state, growing=growing, keyed=keyed)
    return values, before if values == known else None
