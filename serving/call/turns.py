"""The turn machine: `(state, event) → (state, actions)`, pure, time arrives inside events.

It decides when to recognise, answer, ask again, hold and stop its speech, transfer and end; it never does
any of it. Every turn that was opening is closing exactly once, and all words that were understood become
part of a turn, whatever order events come in (property-tested).
"""

from collections.abc import Callable
from dataclasses import replace

from serving.call import machine as m
from serving.call.machine import Event, Phase, Step, TurnPolicy, TurnState
from serving.call.turn_steps import (
    committed,
    ended,
    joined,
    opened,
    planned,
    precedes,
    recognised,
    spoken,
    sure,
    talking,
    utterance_over,
)
from serving.call.turn_taking import only_attention


def step(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    """Advance the call by one event; an event that makes no sense now changes nothing."""
    if state.phase is Phase.ENDED:
        return state, ()
    if isinstance(event, m.HungUp):
        ending = m.Ending.BROKEN if event.broken else m.Ending.CALLER_LEFT
        return ended(state, ending, interrupted=True)
    if isinstance(event, m.Tick):
        return _tick(state, event.at, policy)
    if isinstance(event, m.HearingLost):
        return _deaf(state, policy)
    stale = getattr(event, "epoch", state.epoch) != state.epoch
    handler = _HANDLERS.get((state.phase, type(event)))
    if stale or handler is None:
        return state, ()
    return handler(state, event, policy)


def deadline(state: TurnState, policy: TurnPolicy) -> float | None:
    """When the machine wants a `Tick`; None where it waits for nothing, call clock, seconds."""
    if state.phase is Phase.SPEAKING and state.paused:
        # Words that are being recognised decide; they must not answer what is only spoken now.
        recognising = state.voice is m.CallerVoice.RECOGNISING
        return None if recognising else state.voice_since + policy.unconfirmed_s
    if state.phase is Phase.LISTENING and policy.idle_s is not None:
        return state.since + policy.idle_s
    if state.phase is Phase.ANSWERING and state.reply is not None:
        return state.reply.since + policy.held_s
    waits = state.phase in {Phase.RECOGNISING, Phase.ANSWERING}
    if waits and policy.filler_s is not None and not state.filled:
        return state.since + policy.filler_s
    return None


# The caller has the floor


def _greet(state: TurnState, _event: Event, policy: TurnPolicy) -> Step:
    new = spoken(replace(state, epoch=state.epoch + 1), m.Next.LISTEN, holds=policy.greeting_holds)
    return new, (m.SayPrompt(new.epoch, m.Prompt.GREETING, 0),)


def _speech_started(state: TurnState, event: Event, _policy: TurnPolicy) -> Step:
    return opened(talking(state, event.at), Phase.HEARING)


def _speech_ended(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    new, actions = utterance_over(state, event, policy)
    return replace(new, phase=Phase.RECOGNISING, since=event.at, filled=False), actions


def _typed(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, m.TextTyped)
    return _take(state, m.Words(event.text, 1.0, 0), event.at, policy)


def _heard(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, m.Heard)
    if event.utterance != state.turn_utterance:
        return _heard_aside(state, event, policy)
    new, words = recognised(state, event.utterance), m.Words(event.text, event.confidence, event.utterance)
    if state.waiting is not None and precedes(state):  # recognised when this one had begun
        words = joined(state.waiting, words, policy) if sure(words, policy) else state.waiting
        new = replace(new, waiting=None)
    if new.voice is not m.CallerVoice.SILENT and sure(words, policy):
        return _extend(new, words, policy)
    return _judge(new, words.text, words.confidence, event.at, policy)


def _extend(state: TurnState, words: m.Words, policy: TurnPolicy) -> Step:
    """The caller has gone on: the turn is what they say until they stop ("yes … no wait")."""
    phase = Phase.HEARING if state.voice is m.CallerVoice.TALKING else Phase.RECOGNISING
    if state.waiting is not None:  # typed meanwhile
        words = replace(joined(words, state.waiting, policy), utterance=words.utterance)
    new = replace(state, phase=phase, waiting=words, turn_utterance=state.utterance)
    return new, (m.ExtendTurn(new.turn_utterance),)


def _hearing_failed(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, m.HearingFailed)
    new = recognised(state, event.utterance)
    if event.utterance != state.turn_utterance:
        return _nothing_aside(new, event.at, policy)
    if state.waiting is not None and precedes(state):
        words = state.waiting
        return _judge(replace(new, waiting=None), words.text, words.confidence, event.at, policy)
    return _fail(new, m.Prompt.APOLOGY, policy)


# The caller speaks or types while the bot has the floor


def _started_aside(state: TurnState, event: Event, _policy: TurnPolicy) -> Step:
    new = talking(state, event.at)
    if state.phase is not Phase.SPEAKING:
        return new, (m.DropFiller(),) if state.filled else ()
    if state.holds:
        return new, ()
    return replace(new, paused=True), (m.HoldSpeech(),)


def _goes_on_aside(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, m.SpeechGoesOn)
    if state.holds or state.voice is not m.CallerVoice.TALKING or state.utterance == state.ignored:
        return state, ()
    attentive = only_attention(event.text, policy.backchannels)
    words = bool(event.text.strip()) and not attentive
    if words or event.seconds >= (policy.backchannel_s if attentive else policy.confirm_s):
        return _interrupt(state, event.at, policy)
    return state, ()


def _heard_aside(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    """m.Words take the floor or wait for it; attention and noise change nothing."""
    assert isinstance(event, m.Heard)
    new = recognised(state, event.utterance)
    words = m.Words(event.text, event.confidence, event.utterance)
    if not sure(words, policy) or only_attention(event.text, policy.backchannels):
        return _nothing_aside(new, event.at, policy)
    return _words_aside(new, words, event.at, policy)


def _failed_aside(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, m.HearingFailed)
    return _nothing_aside(recognised(state, event.utterance), event.at, policy)


def _typed_aside(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, m.TextTyped)
    return _words_aside(state, m.Words(event.text, 1.0, 0), event.at, policy)


def _words_aside(state: TurnState, words: m.Words, at: float, policy: TurnPolicy) -> Step:
    new = replace(state, waiting=words if state.waiting is None else joined(state.waiting, words, policy))
    late = words.utterance == state.ignored != 0
    if new.phase is Phase.SPEAKING and not new.holds and not late:
        return _interrupt(new, at, policy)
    return _released(new, at, policy)


def _nothing_aside(state: TurnState, at: float, policy: TurnPolicy) -> Step:
    if state.phase is Phase.SPEAKING and state.paused and state.voice is m.CallerVoice.SILENT:
        return replace(state, paused=False), (m.ResumeSpeech(),)
    return _released(state, at, policy)


def _key(state: TurnState, event: Event, _policy: TurnPolicy) -> Step:
    if state.phase is Phase.LISTENING:
        return replace(state, since=event.at), ()
    if state.holds:
        return state, ()
    held = replace(state, paused=True, voice_since=event.at + _KEYS_MORE_S)
    return held, () if state.paused else (m.HoldSpeech(),)


def _interrupt(state: TurnState, at: float, policy: TurnPolicy) -> Step:
    """The caller takes the floor: what was heard is noted before anything is thrown away (design D6)."""
    new, closing = committed(replace(state, paused=False, growing=False, mute=False), interrupted=True)
    new, actions = _floor_free(new, at, policy)
    return new, (m.StopSpeech(), *closing, *actions)


# Answers


def _first_sentence(state: TurnState, _event: Event, _policy: TurnPolicy) -> Step:
    if state.voice is not m.CallerVoice.SILENT or state.waiting is not None:
        return state, ()
    return replace(spoken(state, m.Next.LISTEN), growing=True), (m.SayReply(state.epoch),)


def _answered(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    assert isinstance(event, m.Answered)
    reply = m.HeldReply(event.next, event.understood, event.holds, event.at)
    return _released(replace(state, reply=reply), event.at, policy)


def _released(state: TurnState, at: float, policy: TurnPolicy) -> Step:
    """Speak an answer that was held, once the caller is silent; or drop it for what they said since."""
    if state.phase is not Phase.ANSWERING or state.reply is None or state.voice is not m.CallerVoice.SILENT:
        return state, ()
    must = state.reply.holds or state.reply.next is m.Next.TRANSFER
    if state.waiting is not None and not must:
        new, closing = committed(state, interrupted=True)
        new, actions = _floor_free(new, at, policy)
        return new, (*closing, *actions)
    return _deliver(state, state.reply, policy)


def _deliver(state: TurnState, reply: m.HeldReply, policy: TurnPolicy) -> Step:
    failures = 0 if reply.understood else state.failures + 1
    if failures >= policy.max_failures:
        return _fail(state, m.Prompt.TRANSFER, policy)
    new = spoken(state, reply.next, holds=reply.holds)
    return replace(new, failures=failures), (m.SayReply(state.epoch),)


def _grown(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    """A reply that is being spoken already is complete."""
    assert isinstance(event, m.Answered)
    if not state.growing:
        return state, ()
    failures = 0 if event.understood else state.failures + 1
    after = m.Next.TRANSFER if failures >= policy.max_failures else event.next
    holds = state.holds or event.holds or after is not m.Next.LISTEN
    new = replace(state, growing=False, after=after, failures=failures, holds=holds)
    return _unspoken(new, event, policy) if state.mute else (new, ())


def _answering_failed(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    if state.phase is Phase.SPEAKING and not state.growing:
        return state, ()
    if state.mute:
        return _unspoken(replace(state, growing=False), event, policy)
    return _fail(state, m.Prompt.APOLOGY, policy)


def _judge(state: TurnState, text: str, confidence: float, at: float, policy: TurnPolicy) -> Step:
    if len(text) > policy.max_chars:
        return _fail(state, m.Prompt.TOO_LONG, policy)
    if not sure(m.Words(text, confidence, 0), policy):
        return _fail(state, m.Prompt.LOW_CONFIDENCE, policy)
    new = replace(state, phase=Phase.ANSWERING, since=at, filled=False, reply=None)
    return new, (m.Answer(state.epoch, text, confidence),)


def _fail(state: TurnState, prompt: m.Prompt, policy: TurnPolicy) -> Step:
    """Ask again; from the last allowed failure on, hand over to a person."""
    failures = state.failures + 1
    give_up = failures >= policy.max_failures
    new = spoken(state, m.Next.TRANSFER if give_up else m.Next.LISTEN)
    said = m.Prompt.TRANSFER if give_up else prompt
    return replace(new, failures=failures), (m.SayPrompt(state.epoch, said, failures),)


def _deaf(state: TurnState, _policy: TurnPolicy) -> Step:
    """Nothing can be heard any more: hand over to a person, now, or when what must be heard was."""
    if state.phase is Phase.SPEAKING and state.holds:
        after = m.Next.TRANSFER if state.after is m.Next.LISTEN else state.after
        return replace(state, voice=m.CallerVoice.SILENT, after=after), ()
    stop: tuple[m.Action, ...] = (m.StopSpeech(),) if state.phase is Phase.SPEAKING else ()
    new, closing = committed(state, interrupted=True)
    new = spoken(replace(new, epoch=new.epoch + 1, voice=m.CallerVoice.SILENT), m.Next.TRANSFER)
    return new, (*stop, *closing, m.SayPrompt(new.epoch, m.Prompt.TRANSFER, new.failures))


# The bot's speech ends


def _played(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    if state.growing:
        return state, ()
    goes_on = state.after is m.Next.LISTEN or (state.after is m.Next.END and state.waiting is not None)
    if not goes_on:
        return ended(state, planned(state, policy), interrupted=False)
    new, closing = committed(replace(state, silent=0, paused=False), interrupted=False)
    new, actions = _floor_free(new, event.at, policy, early=True)
    return new, (*closing, *actions)


def _unspoken(state: TurnState, event: Event, policy: TurnPolicy) -> Step:
    """Go on as planned; a bot that stays without a voice hands over to a person."""
    if state.growing:  # how to go on is known when the reply is complete
        return replace(state, mute=True), ()
    if state.after is not m.Next.LISTEN:
        return ended(state, planned(state, policy), interrupted=True)
    if state.silent + 1 >= policy.max_failures:
        return ended(state, m.Ending.TRANSFERRED, interrupted=True)
    new, closing = committed(replace(state, paused=False, growing=False), interrupted=True)
    new, actions = _floor_free(replace(new, silent=state.silent + 1), event.at, policy)
    return new, (*closing, *actions)


def _floor_free(state: TurnState, at: float, policy: TurnPolicy, *, early: bool = False) -> Step:
    """What the caller said meanwhile comes first, then what they are saying; else the bot listens.

    Args:
        state: between two turns.
        at: now.
        policy: limits.
        early: the bot went on speaking after the words that wait.
    """
    if state.waiting is not None:
        return _take(replace(state, waiting=None), state.waiting, at, policy, early=early)
    if state.voice is m.CallerVoice.TALKING:
        return opened(state, Phase.HEARING)
    if state.voice is m.CallerVoice.RECOGNISING:
        return opened(state, Phase.RECOGNISING)
    return replace(state, phase=Phase.LISTENING, since=at, turn_utterance=0), ()


def _take(state: TurnState, words: m.Words, at: float, policy: TurnPolicy, *, early: bool = False) -> Step:
    """A turn whose words are known."""
    new, _ = opened(state, Phase.RECOGNISING)
    new = replace(new, turn_utterance=words.utterance)
    opening = m.OpenTurn(new.turn, words.utterance, words.text, words.confidence, early)
    new, actions = _judge(new, words.text, words.confidence, at, policy)
    return new, (opening, *actions)


# Time


def _tick(state: TurnState, at: float, policy: TurnPolicy) -> Step:
    due = deadline(state, policy)
    if due is None or at < due:
        return state, ()
    if state.phase is Phase.SPEAKING:
        return replace(state, paused=False), (m.ResumeSpeech(),)
    if state.phase is Phase.LISTENING:
        return _idle(state, policy)
    if state.reply is not None:
        return _deliver(replace(state, ignored=state.utterance), state.reply, policy)
    return replace(state, filled=True), (m.SayFiller(state.epoch),)


def _idle(state: TurnState, policy: TurnPolicy) -> Step:
    gone = state.idle >= policy.max_idle
    after = m.Next.END if gone else m.Next.LISTEN
    new = spoken(replace(state, epoch=state.epoch + 1, idle=state.idle + 1), after)
    prompt = m.Prompt.SILENT_GOODBYE if gone else m.Prompt.STILL_THERE
    return replace(new, holds=False), (m.SayPrompt(new.epoch, prompt, new.idle),)


_KEYS_MORE_S = 1.0
"""Keys hold the bot's speech longer than a voice does: until they are complete, seconds."""
_BOTS = (Phase.RECOGNISING, Phase.ANSWERING, Phase.SPEAKING)  # it has the floor, or is about to take it
_HANDLERS: dict[tuple[Phase, type[Event]], Callable[[TurnState, Event, TurnPolicy], Step]] = {
    (Phase.IDLE, m.CallStarted): _greet,
    (Phase.LISTENING, m.SpeechStarted): _speech_started,
    (Phase.LISTENING, m.TextTyped): _typed,
    (Phase.LISTENING, m.KeyPressed): _key,
    (Phase.HEARING, m.SpeechEnded): _speech_ended,
    (Phase.HEARING, m.TextTyped): _typed_aside,
    (Phase.RECOGNISING, m.Heard): _heard,
    (Phase.RECOGNISING, m.HearingFailed): _hearing_failed,
    (Phase.ANSWERING, m.FirstSentence): _first_sentence,
    (Phase.ANSWERING, m.Answered): _answered,
    (Phase.ANSWERING, m.AnsweringFailed): _answering_failed,
    (Phase.SPEAKING, m.SpeechGoesOn): _goes_on_aside,
    (Phase.SPEAKING, m.KeyPressed): _key,
    (Phase.SPEAKING, m.Answered): _grown,
    (Phase.SPEAKING, m.AnsweringFailed): _answering_failed,
    (Phase.SPEAKING, m.PlayoutEnded): _played,
    (Phase.SPEAKING, m.SpeakingFailed): _unspoken,
    **{(phase, m.SpeechStarted): _started_aside for phase in _BOTS},
    **{(phase, m.SpeechEnded): utterance_over for phase in _BOTS},
    **{(phase, m.TextTyped): _typed_aside for phase in _BOTS},
    **{(phase, m.Heard): _heard_aside for phase in (Phase.HEARING, Phase.ANSWERING, Phase.SPEAKING)},
    **{(phase, m.HearingFailed): _failed_aside for phase in (Phase.HEARING, Phase.ANSWERING, Phase.SPEAKING)},
}
