"""Pieces of the turn machine: what beginning, committing and ending a turn mean for the state. Pure."""

from dataclasses import replace

from serving.call import machine as m
from serving.call.machine import Event, Phase, Step, TurnPolicy, TurnState


def sure(words: m.Words, policy: TurnPolicy) -> bool:
    """Whether words were understood well enough to act on."""
    return bool(words.text.strip()) and words.confidence >= policy.confidence_floor  # NaN is not


def precedes(state: TurnState) -> bool:
    """Whether the words that wait were said before the utterance of the open turn."""
    return state.waiting is not None and 0 < state.waiting.utterance < state.turn_utterance


def joined(earlier: m.Words, words: m.Words, policy: TurnPolicy) -> m.Words:
    """Words that belong together, as sure as the less sure of them; no longer than what is too long."""
    least = min(earlier.confidence, words.confidence)
    text = f"{earlier.text} {words.text}".strip()[: policy.max_chars + 1]
    return m.Words(text, least, words.utterance)


def talking(state: TurnState, at: float) -> TurnState:
    """The caller begins to talk."""
    return replace(state, utterance=state.utterance + 1, voice=m.CallerVoice.TALKING, voice_since=at, idle=0)


def utterance_over(state: TurnState, _event: Event, _policy: TurnPolicy) -> Step:
    """The caller's utterance is over and is to be recognised."""
    if state.voice is not m.CallerVoice.TALKING:
        return state, ()
    return replace(state, voice=m.CallerVoice.RECOGNISING), (m.Recognise(state.utterance),)


def recognised(state: TurnState, utterance: int) -> TurnState:
    """An utterance is recognised; the caller is silent unless a newer one has begun."""
    newest = utterance == state.utterance and state.voice is m.CallerVoice.RECOGNISING
    return replace(state, voice=m.CallerVoice.SILENT) if newest else state


def opened(state: TurnState, phase: Phase) -> Step:
    """A new turn begins, of the caller's newest utterance."""
    new = replace(
        state,
        phase=phase,
        epoch=state.epoch + 1,
        turn=state.turn + 1,
        open_turn=True,
        turn_utterance=state.utterance,
        reply=None,
        idle=0,
    )
    return new, (m.OpenTurn(new.turn, new.turn_utterance),)


def spoken(state: TurnState, after: m.Next, *, holds: bool = False) -> TurnState:
    """The bot speaks; what precedes a transfer or the end is said to its end."""
    return replace(
        state,
        phase=Phase.SPEAKING,
        after=after,
        holds=holds or after is not m.Next.LISTEN,
        paused=False,
        growing=False,
        mute=False,
        reply=None,
    )


def planned(state: TurnState, policy: TurnPolicy) -> m.Ending:
    """How the call ends after the speech that is playing."""
    if state.after is m.Next.TRANSFER:
        return m.Ending.TRANSFERRED
    return m.Ending.CALLER_LEFT if state.idle > policy.max_idle else m.Ending.COMPLETED


def committed(state: TurnState, *, interrupted: bool) -> Step:
    """The open turn is over, if there is one."""
    if not state.open_turn:
        return state, ()
    return replace(state, open_turn=False), (m.CommitTurn(state.turn, interrupted),)


def ended(state: TurnState, ending: m.Ending, *, interrupted: bool) -> Step:
    """Close the call; words that nobody answered still become a turn on record."""
    new, actions = committed(state, interrupted=interrupted)
    if new.waiting is not None:
        words = new.waiting
        new, _ = opened(replace(new, waiting=None), Phase.RECOGNISING)
        opening = m.OpenTurn(new.turn, words.utterance, words.text, words.confidence)
        new, closing = committed(new, interrupted=True)
        actions = (*actions, opening, *closing)
    return replace(new, phase=Phase.ENDED, epoch=new.epoch + 1), (*actions, m.EndCall(ending))
