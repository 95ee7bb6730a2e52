"""Input and engines without end: a pasted file, a voice that never stops, a recogniser that hangs."""

import threading
from collections.abc import Iterator

import pytest

from serving.audio import AudioClip
from serving.call.book import CUT_TAIL
from serving.call.dialogue import DialogueState
from serving.call.machine import Ending
from serving.call.patience import Patience
from serving.call.ports import Engines
from serving.call.record import Decision
from serving.call.speaking import MAX_REPLY_S
from serving.call.understanding import redacted_words
from serving.errors import EngineTimeoutError, UnavailableError
from serving.speech.protocols import Transcript
from tests.serving.call.phone import (
    Bank,
    HummingTts,
    LinesCaller,
    LoudnessVad,
    ToldStream,
    ToldStt,
    loud,
    quiet,
    spoken,
    typed,
)

CARD = "4111 1111 1111 1111"


@pytest.fixture
def door() -> Iterator[threading.Event]:
    """What hangs waits for this; it opens when the test is over."""
    event = threading.Event()
    yield event
    event.set()


# Words


def test_a_pasted_file_is_cut_before_it_is_redacted(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def measured(text: str, state: DialogueState) -> object:
        lengths.append(len(text))
        return redacted_words(text, state)

    monkeypatch.setattr("serving.call.book.redacted_words", measured)
    turn, after = bank.typed("my name is Ann Bell " * 50_000, "hello")
    assert lengths == [bank.settings.max_turn_chars + CUT_TAIL]
    assert turn.decision is Decision.REPROMPT
    assert len(turn.text) <= bank.settings.max_turn_chars
    assert after.decision is Decision.CONTROL


@pytest.mark.parametrize("shift", range(len(f" card {CARD} and")))
def test_a_value_that_was_cut_in_two_is_not_kept_even_where_redaction_moved_it_forward(
    bank: Bank, shift: int
) -> None:
    """Placeholders are shorter than the numbers they replace: the end of the text slides into the record."""
    (turn,) = bank.typed("x" * shift + f" card {CARD} and" * 2_000, max_turn_chars=2_000)
    assert "<card>" in turn.text
    assert not any(digit in turn.text for digit in "0123456789")


# The voice


class EndlessTts(HummingTts):
    """Never stops; gives clips of the same length for ever."""

    def __init__(self, clip: AudioClip, *, from_utterance: int = 3) -> None:
        super().__init__()
        self._clip = clip
        self._from = from_utterance
        self.given = 0

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        self.said.append(text)
        if len(self.said) < self._from:
            yield loud(0.5)
            return
        while True:
            self.given += 1
            yield self._clip


@pytest.mark.parametrize("seconds", [7.0, 400.0])
def test_a_voice_without_end_is_a_fault_and_the_call_goes_on(bank: Bank, seconds: float) -> None:
    tts = EndlessTts(loud(seconds))
    first, second = bank.call([spoken(0.5)] * 2, stt=ToldStt(["hello"] * 2), tts=tts).turns
    for turn in (first, second):
        assert turn.error == "tts: EngineError"
        assert turn.interrupted
        assert turn.reply_s <= MAX_REPLY_S
    assert tts.given <= 2 * (MAX_REPLY_S // seconds + 1)


def test_the_longest_answer_of_the_slowest_voice_is_no_fault() -> None:
    from serving.call.generation import MAX_ANSWER_CHARS
    from serving.settings import Settings

    slowest = next(
        item.ge for item in Settings.model_fields["espeak_words_per_minute"].metadata if hasattr(item, "ge")
    )
    letters_in_a_word = 5 + 1
    assert MAX_ANSWER_CHARS / letters_in_a_word / slowest * 60 < MAX_REPLY_S


def test_a_voice_that_never_gives_any_sound_is_given_up_in_time(bank: Bank) -> None:
    tts = EndlessTts(AudioClip(loud(0.1).samples[:0], 16_000), from_utterance=1)
    engines = Engines(ToldStt([]), tts, LoudnessVad(), patience=Patience(0.05))
    session = bank.session(engines=engines)
    session.run(LinesCaller([]))
    assert tts.given > 0
    assert session.ended


def test_a_voice_that_hangs_costs_the_sentence_and_not_the_call(bank: Bank, door: threading.Event) -> None:
    class Hanging(HummingTts):
        def synthesise(self, text: str) -> Iterator[AudioClip]:
            self.said.append(text)
            if len(self.said) == 3:  # the greeting has two sentences
                door.wait()
            yield loud(0.2)

    engines = Engines(ToldStt(["hello", "hello"]), Hanging(), LoudnessVad(), patience=Patience(0.2))
    hung, after = bank.call([spoken(0.5)] * 2, engines=engines).turns
    assert (hung.error, hung.spoken) == ("tts: EngineTimeoutError", "")
    assert (after.error, after.spoken) == ("", after.answer)


# The recogniser


class HangingStt(ToldStt):
    """Hangs at one step of each utterance."""

    def __init__(self, door: threading.Event, step: str) -> None:
        super().__init__(["hello"] * 9)
        self.door, self.step = door, step

    def stream(self) -> ToldStream:
        if self.step == "stream":
            self.door.wait()
        return super().stream()

    def feed(self, samples: int) -> None:
        if self.step == "feed":
            self.door.wait()
        super().feed(samples)

    def finish(self) -> Transcript:
        if self.step == "finish":
            self.door.wait()
        return super().finish()


@pytest.mark.parametrize("step", ["stream", "feed", "finish"])
def test_a_recogniser_that_hangs_is_an_apology_and_then_a_person(
    bank: Bank, door: threading.Event, step: str
) -> None:
    engines = Engines(HangingStt(door, step), HummingTts(), LoudnessVad(), patience=Patience(0.05))
    call = bank.call([spoken(0.5)] * 3, engines=engines)
    assert [turn.decision for turn in call.turns] == [Decision.APOLOGY, Decision.APOLOGY, Decision.TRANSFER]
    assert {turn.error for turn in call.turns} == {"stt: EngineTimeoutError"}
    assert call.ending is Ending.TRANSFERRED


def test_silence_on_the_line_is_no_fault_of_a_patient_recogniser(bank: Bank) -> None:
    from serving.call.caller import CallerLine

    (turn,) = bank.call([CallerLine(quiet(1.0))], stt=ToldStt([])).turns
    assert (turn.decision, turn.error) == (Decision.REPROMPT, "")


# Engines that are shared


def test_a_call_that_cannot_have_the_engines_is_told_so_and_recorded(bank: Bank) -> None:
    engines = Engines(ToldStt(["hello"]), HummingTts(), LoudnessVad(), wait_s=0.02)
    session = bank.session(engines=engines)
    with engines.held(), pytest.raises(UnavailableError, match="busy with another call"):
        session.run(LinesCaller([spoken(0.5)]))
    assert bank.store.call(session.call.call_id).ending is Ending.CALLER_LEFT


def test_the_engines_are_free_again_after_a_call_that_broke(bank: Bank) -> None:
    engines = Engines(ToldStt(["hello"]), HummingTts(), LoudnessVad(), wait_s=0.02)
    with pytest.raises(KeyError), engines.held():
        raise KeyError
    assert len(bank.call([spoken(0.5)], engines=engines).turns) == 1


# Patience itself


def test_items_come_one_by_one_until_the_work_ends_or_breaks() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise KeyError

    patience = Patience(5.0)
    assert list(patience.each(lambda: [1, 2, 3])) == [1, 2, 3]
    assert list(patience.each(lambda: ())) == []
    items = patience.each(breaking)
    assert next(items) == 1
    with pytest.raises(KeyError):
        next(items)


def test_items_without_end_are_late_however_quick_each_is() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    with pytest.raises(EngineTimeoutError):
        for _ in Patience(0.02).each(endless):
            pass


def test_typed_calls_wait_for_nobody(bank: Bank) -> None:
    assert [turn.decision for turn in bank.call(typed("hello", "bye")).turns] == [Decision.CONTROL] * 2
