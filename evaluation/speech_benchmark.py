"""Speech recognition on real clips and on synthetic speech, as one call each.

`wer_of_clips` scores a folder of recordings against their transcripts, with a language model from
training transcripts where one is given; `speak_and_hear` lets one engine speak what another one hears.
Nothing here knows what a good number is, and no language model is ever
built from the text that is scored.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.wer import Utterance, WerReport, score
from serving.audio import AudioClip, add_noise, concatenate, read_wav, silence
from serving.errors import InvalidInputError
from serving.speech.language_model import build_language_model
from serving.speech.pocketsphinx_stt import PocketsphinxStt
from serving.speech.protocols import SttEngine, TtsEngine, transcribe
from serving.spoken.verbalise import verbalise

_AUDIO = (".flac", ".wav", ".ogg")
_MARKED = re.compile(
    r"^\s*(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*(?:\((?P<id>[^()\s]+)\))?\s*$", re.IGNORECASE
)
_CLIP_OF_SPEAKER = re.compile(r"^[a-z]+\d+-(?P<speaker>[a-z0-9]+)-[a-z]$", re.IGNORECASE)
"""AN4's names: recording, speaker, part."""
_MAX_CLIP_S = 600.0
_LINE_SILENCE_S = 0.2
"""Silence before and after a synthetic line, as there is on a telephone line, seconds."""


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A recording and the words said in it."""

    path: Path
    transcript: str


def read_lines(path: Path) -> list[str]:
    """Sentences of a text for a language model, one a line.

    A line is plain text, or a transcript as speech corpora write it: `<s> YES </s> (an251-fash-b)`.

    Raises:
        InvalidInputError: the file cannot be read, or holds no sentence.
    """
    lines = [_text_of(line) for line in _read(path).splitlines()]
    found = [line for line in lines if line]
    if not found:
        raise InvalidInputError(f"{path} holds no sentence.")
    return found


def read_transcripts(path: Path) -> dict[str, str]:
    """Transcripts by clip name.

    A line is `name<TAB>words`, or `<s> words </s> (name)`.

    Raises:
        InvalidInputError: a line has no name, a name stands twice, or the file holds nothing.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not line.strip():
            continue
        name, tab, text = line.partition("\t")
        marked = None if tab else _MARKED.match(line)
        if marked is not None:
            name, text = marked["id"] or "", marked["text"]
        name = name.strip()
        if not name or name in found:
            wrong = f"{name!r} stands twice" if name else "the name of the clip is missing"
            raise InvalidInputError(
                f"{path}, line {number}: {wrong}.", advice="Write `name<TAB>words` in each line."
            )
        found[name] = text.strip()
    if not found:
        raise InvalidInputError(f"{path} holds no transcript.")
    return found


def labelled_clips(folder: Path, transcripts: Mapping[str, str]) -> dict[str, LabelledClip]:
    """The recordings in a folder that the transcripts name.

    Raises:
        InvalidInputError: a clip has no recording.
    """
    clips: dict[str, LabelledClip] = {}
    for name, text in transcripts.items():
        paths = [folder / f"{name}{suffix}" for suffix in _AUDIO]
        path = next((p for p in paths if p.is_file()), None)
        if path is None or path.parent != folder:
            raise InvalidInputError(f"{folder} has no recording of {name!r} ({', '.join(_AUDIO)}).")
        clips[name] = LabelledClip(path, text)
    return clips


def speaker_of(name: str) -> str:
    """The speaker in a clip's name where it has AN4's form (`an391-mjwl-b` is `mjwl`), else the name."""
    match = _CLIP_OF_SPEAKER.match(name)
    return match["speaker"] if match else name


def wer_of_clips(
    folder: Path,
    transcripts: Path,
    *,
    models: Path,
    lm_text: Path | None = None,
    stt: SttEngine | None = None,
    group: Callable[[str], str] = speaker_of,
) -> WerReport:
    """WER of recordings.

    Args:
        folder: the recordings.
        transcripts: what is said in them; see `read_transcripts`.
        models: where built language models are kept.
        lm_text: text of the same domain for pocketsphinx's n-gram; see `read_lines`. It must not hold
            the transcripts themselves.
        stt: another engine than pocketsphinx; then without `lm_text`.
        group: clip name to the call or speaker that it belongs to, for the interval.

    Raises:
        InvalidInputError: a file is missing or not what it should be, or both `stt` and `lm_text`.
    """
    clips = labelled_clips(folder, read_transcripts(transcripts))
    if stt is None:
        stt = _pocketsphinx(lm_text, models)
    elif lm_text is not None:
        raise InvalidInputError(
            "A language model's text is used by pocketsphinx alone, not by a given engine."
        )
    heard = []
    for name, clip in clips.items():
        transcript = transcribe(stt, read_wav(clip.path, max_seconds=_MAX_CLIP_S))
        heard.append(Utterance(group(name), clip.transcript, transcript.text))
    return score(heard)


def speak_and_hear(
    lines_by_call: Mapping[str, Sequence[str]],
    tts: TtsEngine,
    stt: SttEngine,
    *,
    snr_db: float | None = None,
) -> list[Utterance]:
    """Let one engine speak every line and another one hear it.

    Args:
        lines_by_call: what each caller says.
        tts: the caller's voice.
        stt: the recogniser.
        snr_db: white noise is added at this signal-to-noise ratio, the same each time; None for none.
    """
    heard = []
    for call, lines in lines_by_call.items():
        for number, line in enumerate(lines):
            clip = spoken_clip(line, tts)
            if snr_db is not None:
                clip = add_noise(clip, snr_db, seed=number)
            heard.append(Utterance(call, line, transcribe(stt, clip).text))
    return heard


def spoken_clip(line: str, tts: TtsEngine) -> AudioClip:
    """A whole line as one clip between two short silences, figures read as words."""
    pause = silence(_LINE_SILENCE_S, tts.rate)
    return concatenate([pause, *tts.synthesise(verbalise(line)), pause], tts.rate)


def _pocketsphinx(lm_text: Path | None, models: Path) -> SttEngine:
    if lm_text is None:
        return PocketsphinxStt()
    files = build_language_model(read_lines(lm_text), models)
    return PocketsphinxStt(files.lm, files.dictionary)


def _text_of(line: str) -> str:
    if "<s>" not in line.lower() and "</s>" not in line.lower():
        return line.strip()
    match = _MARKED.match(line)
    return match["text"] if match else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read as UTF-8 text.") from error
