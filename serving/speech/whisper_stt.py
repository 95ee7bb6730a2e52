"""openai-whisper: the speech-to-text of the production profile.

Any Whisper checkpoint on this machine (`tiny.en` … `turbo`) is loaded from its file; nothing is
downloaded, and sound goes in as numbers, so no ffmpeg is needed. Text is recognised when the
utterance is complete. Whisper hears English only here, at temperature 0: the same sound gives the
same text.
"""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from serving.audio import PCM_SCALE, SPEECH_RATE, Samples
from serving.errors import EngineError, InvalidInputError, MissingError
from serving.speech.protocols import EngineInfo, Transcript
from serving.speech.utterance import WholeUtterance

_MIN_SAMPLES = round(0.1 * SPEECH_RATE)
"""Shorter sound holds no word, and Whisper would invent one."""


class WhisperStt:
    """Speech-to-text with a Whisper checkpoint.

    Confidence is exp(mean log-probability per token) times (1 - probability of no speech), averaged
    over the segments by their tokens. Whisper is over-confident: compare only within one model.

    Args:
        model: a checkpoint (.pt).
        device: `cpu`, `cuda`, …; by default a GPU where there is one.

    Raises:
        MissingError: openai-whisper is not installed, or the file does not exist.
        InvalidInputError: the file is not a Whisper checkpoint.
    """

    def __init__(self, model: Path, device: str | None = None) -> None:
        if not model.is_file():
            raise MissingError(
                f"The Whisper checkpoint {model} does not exist.",
                advice="Set VOICEBOT_WHISPER_MODEL to a .pt file, or run `voicebot fetch-models`.",
            )
        try:
            import whisper
        except ImportError as error:
            raise MissingError(
                "Speech-to-text Whisper is not installed.", advice="Install the extra voicebot[whisper]."
            ) from error
        try:
            loaded = whisper.load_model(str(model), device=device)
        except Exception as error:  # unpickling a foreign file fails in any way it likes
            raise InvalidInputError(
                f"{model} is not a Whisper checkpoint ({type(error).__name__}).",
                advice="Give the .pt file of openai-whisper, complete and not converted.",
            ) from error
        # Checkpoints are stored in half precision, which few CPUs compute.
        self._model = loaded if loaded.device.type == "cuda" else loaded.float()
        self._decoding = threading.Lock()
        self.info = EngineInfo(name="whisper", model=f"{model.name} ({model.stat().st_size / 1e6:.0f} MB)")

    def stream(self) -> WholeUtterance:
        """Start an utterance; there are no partial texts, and decoding goes one after another."""
        return WholeUtterance(self.info.name, self.decode)

    def decode(self, samples: Samples) -> Transcript:
        """Recognise one complete utterance of int16 samples at 16 kHz."""
        with self._decoding:
            return self._decoded(samples)

    def _decoded(self, samples: Samples) -> Transcript:
        seconds = len(samples) / SPEECH_RATE
        if len(samples) < _MIN_SAMPLES or not samples.any():
            return Transcript("", 0.0, self.info.name, seconds)
        import whisper

        try:
            result = whisper.transcribe(
                self._model,
                samples.astype(np.float32) / np.float32(PCM_SCALE),
                language="en",
                temperature=0.0,
                fp16=self._model.device.type == "cuda",
                condition_on_previous_text=False,
                verbose=None,
            )
        except (RuntimeError, ValueError) as error:
            raise EngineError(
                f"Whisper failed on {seconds:.1f} s of sound ({type(error).__name__})."
            ) from error
        text = " ".join(str(result["text"]).split())
        confidence = confidence_of(result["segments"]) if text else 0.0
        return Transcript(text.lower(), confidence, self.info.name, seconds)


def confidence_of(segments: list[dict[str, Any]]) -> float:
    """One number in [0, 1] from Whisper's segments; see `WhisperStt`."""
    weights = [max(1, len(segment["tokens"])) for segment in segments]
    values = [_segment_confidence(segment["avg_logprob"], segment["no_speech_prob"]) for segment in segments]
    return float(np.average(values, weights=weights)) if values else 0.0


def _segment_confidence(avg_logprob: float, no_speech_prob: float) -> float:
    if not (math.isfinite(avg_logprob) and math.isfinite(no_speech_prob)):
        return 0.0
    return math.exp(min(0.0, avg_logprob)) * (1.0 - min(1.0, max(0.0, no_speech_prob)))
