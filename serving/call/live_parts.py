"""What a live call works with besides its responder, its record and its line."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.call import machine as m
from serving.call.ears import Hears
from serving.call.live_state import LiveSnapshot
from serving.call.record import CallRecord
from serving.call.turn_taking import TurnTaking
from serving.settings import Settings
from serving.speech.protocols import TtsEngine
from serving.speech.speech_cache import SpeechCache


@dataclass(frozen=True, slots=True)
class Parts:
    """What a live call works with.

    Attributes:
        ears: this call's own.
        tts: the voice.
        kept: sound of the voice that was made before.
        policy: limits of the turn machine.
        changed: told of each change of state.
        closed: told when the call is over and on record.
        longest_s: after so long the caller is put through to a person, seconds.
    """

    ears: Hears
    tts: TtsEngine
    kept: SpeechCache
    policy: m.TurnPolicy
    changed: Callable[[LiveSnapshot], None]
    closed: Callable[[CallRecord], None]
    longest_s: float


def turn_policy(settings: Settings, turn_taking: TurnTaking, *, opening: str) -> m.TurnPolicy:
    """Limits of a live call.

    Args:
        settings: the installation.
        turn_taking: words that take no turn.
        opening: notices before the greeting, which must be heard.
    """
    return m.TurnPolicy(
        settings.stt_confidence_floor,
        settings.max_failures,
        settings.max_turn_chars,
        confirm_s=settings.barge_in_s,
        idle_s=settings.idle_prompt_s,
        filler_s=settings.filler_after_s,
        backchannels=turn_taking.backchannels,
        greeting_holds=bool(opening),
    )
