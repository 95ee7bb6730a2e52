"""The two speech benchmarks: real clips, and synthetic speech heard again."""

import os
from pathlib import Path

import numpy as np
import pytest

from evaluation.speech_benchmark import (
    labelled_clips,
    read_lines,
    read_transcripts,
    speak_and_hear,
    speaker_of,
    wer_of_clips,
)
from evaluation.wer import score
from serving.audio import AudioClip, silence, write_wav
from serving.errors import InvalidInputError
from serving.speech.espeak_tts import EspeakTts, EspeakVoice
from serving.speech.language_model import build_language_model
from serving.speech.pocketsphinx_stt import PocketsphinxStt

AN4 = (
    Path(os.environ.get("VOICEBOT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "speech_an4"
)
LINES = ["my card was stolen", "i want to pay two hundred dollars", "what is the rate"]


@pytest.fixture(scope="module")
def stt(tmp_path_factory: pytest.TempPathFactory) -> PocketsphinxStt:
    files = build_language_model(LINES, tmp_path_factory.mktemp("lm"))
    return PocketsphinxStt(files.lm, files.dictionary)


# Files


def test_corpus_lines_and_plain_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(
        "<s> YES </s> (an251-fash-b)\n\n  plain words (really)  \n<s> U M N </s>\n<S> go </S> (x)\n",
        encoding="utf-8",
    )
    assert read_lines(path) == ["YES", "plain words (really)", "U M N", "go"]


def test_transcripts_come_with_tabs_or_in_corpus_form(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a1\tenter two\n<s> GO </s> (a2)\na3\t\n", encoding="utf-8")
    assert read_transcripts(path) == {"a1": "enter two", "a2": "GO", "a3": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no transcript"),
        ("a\tx\na\ty\n", "line 2: 'a' stands twice"),
        ("just words\n", "line 1: the name of the clip is missing"),
        ("\twords\n", "line 1: the name"),
    ],
)
def test_damaged_transcripts_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        read_transcripts(tmp_path / "t.tsv")


def test_text_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_lines(tmp_path / "absent.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xff")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_lines(tmp_path / "b.txt")
    (tmp_path / "c.txt").write_text("\n<s> </s> (x)\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="no sentence"):
        read_lines(tmp_path / "c.txt")


@pytest.mark.parametrize("name", ["gone", "../secret", ""])
def test_a_transcript_without_its_recording_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "clips").mkdir()
    write_wav(tmp_path / "secret.wav", [silence(1, 16_000)])
    with pytest.raises(InvalidInputError, match="no recording"):
        labelled_clips(tmp_path / "clips", {name: "x"})


@pytest.mark.parametrize(
    ("name", "speaker"), [("an391-mjwl-b", "mjwl"), ("cen1-fash-b", "fash"), ("call-7", "call-7")]
)
def test_the_speaker_is_in_an4s_names(name: str, speaker: str) -> None:
    assert speaker_of(name) == speaker


def test_a_language_model_text_with_a_given_engine_is_refused(tmp_path: Path, stt: PocketsphinxStt) -> None:
    (tmp_path / "t.tsv").write_text("a\tx\n", encoding="utf-8")
    write_wav(tmp_path / "a.wav", [silence(1, 16_000)])
    with pytest.raises(InvalidInputError, match="pocketsphinx alone"):
        wer_of_clips(tmp_path, tmp_path / "t.tsv", models=tmp_path, lm_text=tmp_path / "t.tsv", stt=stt)


# Benchmarks


def test_clips_are_scored_with_the_engine_given(tmp_path: Path, stt: PocketsphinxStt) -> None:
    tts = EspeakTts(EspeakVoice("en-us+edward"), repeatable=True)
    for index, line in enumerate(LINES):
        clip = next(iter(tts.synthesise(line)))
        write_wav(tmp_path / f"clip{index}.wav", [clip])
    rows = "".join(f"clip{index}\t{line}\n" for index, line in enumerate(LINES))
    (tmp_path / "t.tsv").write_text(rows, encoding="utf-8")
    report = wer_of_clips(tmp_path, tmp_path / "t.tsv", models=tmp_path, stt=stt)
    assert report.wer.estimate == 0.0
    assert report.calls == 3


def test_what_one_engine_says_another_one_hears(stt: PocketsphinxStt) -> None:
    tts = EspeakTts(EspeakVoice("en-us+edward"), repeatable=True)
    lines = {"a": ["My card was stolen!", "I want to pay $200."], "b": ["What is the rate?"]}
    report = score(speak_and_hear(lines, tts, stt))
    assert report.wer.estimate == 0.0
    assert (report.entities.spoken, report.entities.missed) == (1, 0)
    assert report.calls == 2


def test_noise_is_the_same_each_time_and_costs_words(stt: PocketsphinxStt) -> None:
    tts = EspeakTts(EspeakVoice("en-us+edward"), repeatable=True)
    lines = {"a": LINES}
    clean, noisy, again = (
        score(speak_and_hear(lines, tts, stt, snr_db=snr_db)) for snr_db in (None, -10.0, -10.0)
    )
    assert noisy.wer.estimate > clean.wer.estimate
    assert noisy == again


def test_a_line_that_cannot_be_spoken_counts_as_silence(stt: PocketsphinxStt) -> None:
    heard = speak_and_hear({"a": ["...", "my card was stolen"]}, EspeakTts(repeatable=True), stt)
    assert heard[0].hypothesis == ""


@pytest.mark.slow
@pytest.mark.shared_data
def test_an4_with_a_narrow_language_model_stays_within_sixteen_percent(tmp_path: Path) -> None:
    if not AN4.is_dir():
        pytest.skip(f"no AN4 clips in {AN4}")
    report = wer_of_clips(
        AN4 / "clips", AN4 / "transcripts.tsv", models=tmp_path, lm_text=AN4 / "train_transcripts.txt"
    )
    assert report.utterances == 130
    assert report.calls == 10
    assert report.wer.estimate <= 0.16
    assert report.wer.low < report.wer.estimate < report.wer.high


def test_the_clip_given_is_not_changed(stt: PocketsphinxStt) -> None:
    samples = np.full(8_000, 100, np.int16)
    clip = AudioClip(samples, 16_000)
    stream = stt.stream()
    stream.feed(clip.samples)
    stream.finish()
    assert (samples == 100).all()
