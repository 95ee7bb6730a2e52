"""Where the time of a turn goes, on a clock that only moves when somebody works."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from serving.audio import AudioClip
from serving.call.clock import FileClock, Laps
from serving.call.record import TurnRecord
from tests.properties import examples
from tests.serving.call.phone import Bank, Counter, HummingTts, ToldStt, loud, spoken

QUOTE = "borrow twenty thousand dollars over five years"
SILENCE_S = 0.7
"""Default silence that ends a turn; the detector decides on 32 ms chunks."""


def exact(turn: TurnRecord) -> bool:
    assert turn.voice_to_voice_s is not None
    return math.isclose(sum(turn.stages.values()), turn.voice_to_voice_s, abs_tol=1e-9)


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lag_s=st.floats(0, 3), finish_s=st.floats(0, 2), voice_s=st.floats(0, 2), seconds=st.floats(0.3, 2))
def test_stage_times_add_up_to_voice_to_voice_exactly(
    bank: Bank, lag_s: float, finish_s: float, voice_s: float, seconds: float
) -> None:
    stt = ToldStt([QUOTE, "bye"], bank.counter, lag_s=lag_s, finish_s=finish_s)
    tts = HummingTts(bank.counter, work_s=voice_s)
    turns = bank.call([spoken(seconds), spoken(seconds)], stt=stt, tts=tts).turns
    assert len(turns) == 2
    assert all(exact(turn) for turn in turns)


def test_stages_are_named_in_the_order_in_which_they_took_place(bank: Bank) -> None:
    (turn,) = bank.call([spoken(1.0)], stt=ToldStt([QUOTE])).turns
    assert list(turn.stages) == ["end_of_turn", "stt", "parse", "intent", "redact", "llm", "tool", "tts"]


def test_a_typed_turn_lasts_from_its_arrival_to_its_answer(bank: Bank) -> None:
    (turn,) = bank.typed("Can I pay off my personal loan early")
    assert list(turn.stages) == ["parse", "intent", "redact", "cache", "reply"]
    assert exact(turn)
    assert turn.audio_s == 0


@pytest.mark.parametrize("lag_s", [0.0, 0.3, 0.8])
def test_recognition_that_keeps_up_with_speech_costs_nothing(bank: Bank, lag_s: float) -> None:
    (turn,) = bank.call([spoken(2.0)], stt=ToldStt([QUOTE], bank.counter, lag_s=lag_s)).turns
    assert turn.stages["stt"] == 0
    assert turn.stages["end_of_turn"] == pytest.approx(SILENCE_S, abs=0.04)
    assert turn.voice_to_voice_s == pytest.approx(SILENCE_S, abs=0.04)


def test_recognition_that_lags_costs_exactly_what_it_lags(bank: Bank) -> None:
    """Two seconds of work for each second: what was fed until the end of the turn is late by its length."""
    stt = ToldStt([QUOTE], bank.counter, lag_s=2.0, finish_s=0.25)
    (turn,) = bank.call([spoken(2.0)], stt=stt).turns
    fed_s = stt.fed[0] / 16_000
    assert fed_s == pytest.approx(2.0 + SILENCE_S, abs=0.1)
    assert turn.stages["stt"] == pytest.approx(0.25)
    assert turn.stages["end_of_turn"] == pytest.approx(2 * fed_s - turn.audio_s, abs=0.15)


def test_a_slow_voice_delays_its_first_sound_and_no_later_one(bank: Bank) -> None:
    """The second sentence is made while the first one plays."""
    (fast,) = bank.call([spoken(1.0)], stt=ToldStt([QUOTE])).turns
    tts = HummingTts(bank.counter, work_s=0.4)
    (slow,) = bank.call([spoken(1.0)], stt=ToldStt([QUOTE]), tts=tts).turns
    assert slow.stages["tts"] == pytest.approx(0.4)
    assert slow.voice_to_voice_s == pytest.approx((fast.voice_to_voice_s or 0) + 0.4)
    assert slow.reply_s == fast.reply_s


def test_the_length_of_a_turn_is_the_callers_speech_without_the_silence_around_it(bank: Bank) -> None:
    (turn,) = bank.call([spoken(1.5)], stt=ToldStt([QUOTE])).turns
    assert turn.audio_s == pytest.approx(1.5, abs=0.07)


def test_a_call_lasts_as_long_as_its_sound_and_counts_who_talked(bank: Bank) -> None:
    call = bank.call([spoken(1.0), spoken(1.0)], stt=ToldStt([QUOTE, "bye"]))
    heard = sum(turn.audio_s for turn in call.turns)
    greeting = 0.01 * len("Hello, this is the automated assistant of Harbour Bank.How can I help you?")
    said = sum(turn.reply_s for turn in call.turns)
    assert call.talk_s == pytest.approx(heard + said + greeting)
    pauses = 2 * (0.4 + SILENCE_S)
    assert call.duration_s == pytest.approx(call.talk_s + pauses, abs=0.15)


def test_a_voice_that_gives_a_sentence_in_pieces_is_heard_as_one(bank: Bank) -> None:
    class InPieces(HummingTts):
        def synthesise(self, text: str) -> Iterator[AudioClip]:
            yield from [loud(0.2), AudioClip(loud(0.1).samples[:0], 16_000), loud(0.3)]

    (turn,) = bank.call([spoken(1.0)], stt=ToldStt(["bye"]), tts=InPieces()).turns
    assert turn.reply_s == pytest.approx(2 * 0.5)
    assert turn.spoken == turn.answer


def test_a_file_clock_skips_what_has_not_come_yet_and_never_goes_back() -> None:
    counter = Counter()
    clock = FileClock(counter)
    clock.wait_until(5.0)
    assert clock.now() == 5.0
    clock.wait_until(3.0)
    assert clock.now() == 5.0
    counter.work(2.0)
    clock.wait_until(6.0)
    assert clock.now() == 7.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 10)), max_size=20))
def test_laps_are_contiguous_whatever_their_names(marks: list[tuple[str, float]]) -> None:
    counter = Counter()
    laps = Laps(FileClock(counter), 0.0)
    for name, seconds in marks:
        counter.work(seconds)
        laps.mark(name)
    assert math.isclose(sum(laps.seconds.values()), counter.seconds, abs_tol=1e-9)
