"""What the bot makes of sound: several turns in one file, noise, telephone rates, engines that break."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from serving.audio import FRAME_SECONDS, AudioClip, concatenate, read_wav_channels, silence, write_wav
from serving.call.caller import CallerLine
from serving.call.clock import FileClock
from serving.call.hearing import Line, Recognition, listen
from serving.call.machine import Ending
from serving.call.patience import Patience
from serving.call.ports import Engines
from serving.call.record import Decision
from serving.call.recording import Recording
from serving.errors import EngineError, InvalidInputError, RefusedError
from serving.speech.protocols import Transcript
from serving.speech.vad import EndpointSettings, SpeechDetector
from serving.transports.files import WavCaller
from tests.serving.call.phone import (
    Bank,
    HummingTts,
    LinesCaller,
    LoudnessVad,
    ToldStt,
    loud,
    quiet,
    spoken,
    toolbox,
    typed,
)


def test_several_turns_in_one_sound_are_answered_one_after_the_other(bank: Bank) -> None:
    stt = ToldStt(["hello", "Can I pay off my personal loan early", "bye"])
    call = bank.call([spoken(0.8, 1.2, 0.6)], stt=stt)
    assert [turn.decision for turn in call.turns] == [
        Decision.CONTROL,
        Decision.CACHE_HIT,
        Decision.CONTROL,
    ]
    assert [turn.audio_s for turn in call.turns] == pytest.approx([0.8, 1.2, 0.6], abs=0.07)
    assert call.ending is Ending.COMPLETED


def test_what_follows_the_end_of_a_call_is_not_heard(bank: Bank) -> None:
    stt = ToldStt(["bye", "never heard"])
    assert len(bank.call([spoken(0.5, 0.5)], stt=stt).turns) == 1
    assert next(stt.told) == "never heard"


def test_a_speaker_without_end_is_cut_at_the_length_limit_and_answered(bank: Bank) -> None:
    stt = ToldStt(["hello", "bye"])
    call = bank.call([spoken(5.0)], stt=stt, max_utterance_s=3.0)
    assert [turn.audio_s for turn in call.turns] == pytest.approx([3.0, 2.0], abs=0.1)
    assert call.ending is Ending.COMPLETED


@pytest.mark.parametrize(
    "clip",
    [silence(0.0, 16_000), silence(2.0, 16_000), quiet(2.0), loud(0.05)],
    ids=["empty", "silence", "noise", "click"],
)
def test_a_sound_without_speech_is_one_turn_that_is_asked_again(bank: Bank, clip: AudioClip) -> None:
    stt = ToldStt(["never heard"])
    (turn,) = bank.call([CallerLine(clip)], stt=stt).turns
    assert turn.decision is Decision.REPROMPT
    assert (turn.text, turn.audio_s, turn.error) == ("", 0.0, "")
    assert turn.voice_to_voice_s == pytest.approx(0.0, abs=0.05)
    assert stt.open == 0


def test_three_silent_lines_end_in_a_transfer(bank: Bank) -> None:
    call = bank.call([CallerLine(silence(1.0, 8_000))] * 4, stt=ToldStt([]))
    assert len(call.turns) == 3
    assert call.ending is Ending.TRANSFERRED


def test_silence_behind_a_turn_is_no_turn_of_its_own(bank: Bank) -> None:
    clip = concatenate([loud(1.0), silence(5.0, 16_000), quiet(3.0)], 16_000)
    stt = ToldStt(["hello"])
    assert len(bank.call([CallerLine(clip)], stt=stt).turns) == 1
    assert stt.open == 0, "a recognition that was begun for nothing is dropped"


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_any_rate_reaches_the_recogniser_at_sixteen_kilohertz(bank: Bank, rate: int) -> None:
    stt = ToldStt(["hello"])
    (turn,) = bank.call([spoken(1.0, rate=rate)], stt=stt).turns
    assert turn.audio_s == pytest.approx(1.0, abs=0.07)
    assert stt.fed[0] / 16_000 == pytest.approx(1.7, abs=0.1)


def test_a_telephone_file_in_stereo_is_heard_as_one_caller(bank: Bank, tmp_path: Path) -> None:
    path = tmp_path / "phone.wav"
    half = AudioClip((loud(1.0, 8_000).samples // 2).astype(np.int16), 8_000)
    write_wav(path, [half, half])
    session = bank.session(stt=ToldStt(["Can I pay off my personal loan early"]))
    call = session.run(WavCaller([path], max_seconds=10.0))
    assert [turn.decision for turn in call.turns] == [Decision.CACHE_HIT]
    assert call.turns[0].audio_s == pytest.approx(1.0, abs=0.07)


def test_recognition_gets_the_sound_just_before_speech_was_certain(bank: Bank) -> None:
    clip = concatenate([quiet(2.0), loud(1.0)], 16_000)
    stt = ToldStt(["hello"])
    bank.call([CallerLine(clip)], stt=stt)
    assert stt.fed[0] / 16_000 == pytest.approx(0.4 + 1.0 + 0.7, abs=0.15)


# The recording


def test_the_recording_has_both_sides_where_they_were_on_the_clock(bank: Bank) -> None:
    call = bank.call([spoken(0.5, 0.5)], stt=ToldStt(["hello", "bye"]))
    assert call.recording is not None
    caller, bot = read_wav_channels(Path(call.recording))
    assert caller.seconds == pytest.approx(call.duration_s, abs=0.1)
    heard, said = np.abs(caller.samples) > 3_000, np.abs(bot.samples) > 3_000
    assert not (heard & said).any(), "a caller who waits never speaks at the same time"
    assert heard.sum() / 16_000 == pytest.approx(2 * 0.5 * 0.75, abs=0.1)
    first_word = int(np.argmax(said))
    assert first_word / 16_000 < 0.1


def test_opting_out_erases_the_recording_and_stops_it(bank: Bank) -> None:
    call = bank.call([spoken(0.5)] * 3, stt=ToldStt(["hello", "please do not record me", "hello"]))
    assert call.recording is None
    assert not list((bank.settings.home).rglob("*.wav"))
    assert call.turns[1].decision is Decision.DISCLOSURE
    assert call.turns[1].disclosures == ("recording_opt_out_confirmation@US/1",)
    assert len(call.turns) == 3


def test_opting_out_stops_the_recording_even_when_its_wording_cannot_be_had(bank: Bank) -> None:
    box = toolbox(bank.cache_folder, today=date(2020, 1, 1))
    call = bank.call([spoken(0.5)] * 2, stt=ToldStt(["do not record me", "hello"]), box=box)
    assert call.recording is None
    assert call.turns[0].decision is Decision.APOLOGY
    assert "disclosure: EngineError" in call.turns[0].error


def test_a_call_that_may_not_be_recorded_leaves_no_sound(bank: Bank) -> None:
    assert bank.call([spoken(0.5)], stt=ToldStt(["hello"]), keep_recording=False).recording is None
    assert not list(bank.settings.home.rglob("*.wav"))


# Engines that break


class Breaking(ToldStt):
    """Breaks at one place in its first utterance."""

    def __init__(self, place: str, error: Exception) -> None:
        super().__init__(["hello", "hello"])
        self.place: str | None = place
        self.error = error

    def _break(self, place: str) -> None:
        if place == self.place:
            self.place = None
            raise self.error

    def stream(self):  # type: ignore[no-untyped-def]  # as inherited
        self._break("stream")
        return super().stream()

    def feed(self, samples: int) -> None:
        self._break("feed")
        super().feed(samples)

    def finish(self) -> Transcript:
        self._break("finish")
        return super().finish()


@pytest.mark.parametrize("place", ["stream", "feed", "finish"])
@pytest.mark.parametrize("error", [EngineError("out of memory"), RuntimeError("a library's own")])
def test_a_recogniser_that_breaks_is_an_apology_and_the_call_goes_on(
    bank: Bank, place: str, error: Exception
) -> None:
    call = bank.call([spoken(1.0), spoken(1.0)], stt=Breaking(place, error))
    failed, after = call.turns
    assert failed.decision is Decision.APOLOGY
    assert failed.error.startswith(f"stt: {type(error).__name__}")
    assert str(error) not in failed.error
    assert failed.audio_s == pytest.approx(1.0, abs=0.07), "its speech was heard to the end"
    assert failed.voice_to_voice_s is not None
    assert after.decision is Decision.CONTROL


def test_three_breaks_in_a_row_end_in_a_transfer(bank: Bank) -> None:
    call = bank.call([spoken(0.5)] * 5, stt=ToldStt([EngineError("broken")] * 5))
    assert [turn.decision for turn in call.turns] == [
        Decision.APOLOGY,
        Decision.APOLOGY,
        Decision.TRANSFER,
    ]
    assert all(turn.error == "stt: EngineError" for turn in call.turns)
    assert call.ending is Ending.TRANSFERRED


def test_a_detector_that_breaks_costs_its_line_and_says_so(bank: Bank) -> None:
    class BreakingVad(LoudnessVad):
        broken = True

        def probability(self, chunk: np.ndarray) -> float:
            if self.broken:
                BreakingVad.broken = False
                raise ValueError("17 values expected")
            return super().probability(chunk)

    stt = ToldStt(["hello"])
    engines = Engines(stt, HummingTts(), BreakingVad())
    failed, after = bank.call([spoken(0.5, 0.5), spoken(0.5)], engines=engines).turns
    assert failed.decision is Decision.APOLOGY
    assert failed.error.startswith("vad: ValueError in test_call_hearing line ")
    assert "17 values" not in failed.error
    assert after.decision is Decision.CONTROL
    assert stt.open == 0


def test_a_confidence_that_is_no_share_is_read_as_one(bank: Bank) -> None:
    told = [("hello", float("nan")), ("hello", -3.0), ("hello", 7.0)]
    turns = bank.call([spoken(0.5)] * 3, stt=ToldStt(told)).turns
    assert [turn.confidence for turn in turns] == [0.0, 0.0, 1.0]


def test_sound_in_a_call_without_ears_is_refused_in_words(bank: Bank) -> None:
    session = bank.session()
    session.start()
    with pytest.raises(InvalidInputError, match="typed text only"):
        session.hear(spoken(1.0))
    session.hear(typed("hello")[0])
    assert session.turns[0].decision is Decision.CONTROL


def test_a_call_hears_nothing_before_it_begins_and_after_it_ends(bank: Bank) -> None:
    session = bank.session()
    with pytest.raises(RefusedError, match="idle"):
        session.hear(typed("hello")[0])
    session.run(LinesCaller(typed("bye")))
    with pytest.raises(RefusedError, match="ended"):
        session.hear(typed("hello")[0])
    assert len(session.turns) == 1


def test_a_line_gives_back_the_sound_that_was_heard_and_not_the_rest() -> None:
    line = Line(loud(0.1), 5.0, 0.7)
    frames = line.frames()
    for _ in range(3):
        next(frames)
    taken = line.take_heard()
    assert taken is not None
    assert taken[0] == 5.0
    assert taken[1].seconds == pytest.approx(0.06)
    assert line.take_heard() is None
    line.shift_to(9.0)
    assert next(line.frames()).start == 9.0
    assert len(list(line.frames())) == 1 + 50, "a frame of the caller, a second of silence"
    last = line.take_heard()
    assert last is not None
    assert last[1].seconds == pytest.approx(0.04), "the silence added behind is not the caller's"


def test_speech_that_ends_with_the_sound_ends_where_it_was_last_heard(bank: Bank) -> None:
    """Even where the detector never reports the end by itself."""
    detector = SpeechDetector(LoudnessVad(), EndpointSettings(hang_over_s=4.0))
    recognition = Recognition(ToldStt(["hello"]), Patience(9.0))
    utterance = listen(Line(loud(1.0), 0.0, 0.7), detector, recognition, FileClock(), max_seconds=9.0)
    assert utterance.ended == pytest.approx(1.0, abs=0.07)


def test_every_sound_begins_with_a_frame_of_the_call_so_that_a_replay_cuts_it_alike(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    monkeypatch.setattr("serving.call.session.CALLER_PAUSE_S", 0.4133)
    monkeypatch.setattr(Recording, "caller", lambda _self, start, _clip: began.append(start))
    bank.call([spoken(0.8, 1.2), spoken(0.7)], stt=ToldStt(["hello", "what is the fee", "bye"]))
    assert len(began) == 3
    assert began == pytest.approx([round(start / FRAME_SECONDS) * FRAME_SECONDS for start in began], abs=1e-9)
