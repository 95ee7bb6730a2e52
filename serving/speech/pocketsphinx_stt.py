"""pocketsphinx: speech-to-text that runs anywhere, the labelled fallback of the embedded profile.

The acoustic model is the one inside the wheel. An utterance is decoded when it is complete,
normalised by its own mean: decoding while listening starts from a wrong mean and measured nearly
twice the word errors (0.54 against 0.29 on synthetic speech), for a tenth of a second of gain.
Partial texts come from a second, cheaper decoder that exists only once they are asked for.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from serving.audio import SPEECH_RATE, Samples
from serving.errors import EngineError, InvalidInputError, MissingError
from serving.speech.protocols import EngineInfo, Transcript
from serving.speech.utterance import PartialDecoder, WholeUtterance

_NOISE_FLOOR = 0.01
"""Noise added to every utterance, as a share of its root mean square: 40 dB below the speech."""
_PARTIAL_DECODERS = 4
"""Utterances that have partial texts at the same time; each decoder takes some 60 MB."""
_FIRST_PARTIAL_S = 1.0
"""Sound needed before a partial text is tried: its mean must stand for the utterance, seconds."""


class PocketsphinxStt:
    """Speech-to-text with pocketsphinx.

    Confidence is the mean posterior probability of the words in the decoder's lattice: roughly the
    share of words that are right. An empty text has confidence 0.

    Args:
        lm: an ARPA n-gram; None for the general model inside the wheel.
        dictionary: pronunciations of the n-gram's words; needed with `lm`, and only then.

    Raises:
        MissingError: pocketsphinx or a file is not there.
        InvalidInputError: only one of the two files was given, or they cannot be read.
    """

    def __init__(self, lm: Path | None = None, dictionary: Path | None = None) -> None:
        if (lm is None) != (dictionary is None):
            raise InvalidInputError(
                "A language model for pocketsphinx needs its dictionary, and the dictionary needs it.",
                advice="Set both VOICEBOT_POCKETSPHINX_LM and VOICEBOT_POCKETSPHINX_DICT, or neither.",
            )
        self._lm, self._dictionary = lm, dictionary
        self._decoder = self._load()
        self._decoding = threading.Lock()
        self._partial_decoders: list[_PartialDecoder] = []
        self._partial_loaded = 0
        model = lm.name if lm else "general English"
        self.info = EngineInfo(
            name="pocketsphinx",
            model=f"en-us, language model {model}",
            note="Fallback: about 13 % word errors in a narrow domain, 27 % and more on open speech.",
        )

    def stream(self) -> WholeUtterance:
        """Start an utterance; utterances side by side wait for each other's decoding."""
        return WholeUtterance(self.info.name, self.decode, self._partial_decoder)

    def decode(self, samples: Samples) -> Transcript:
        """Recognise one complete utterance of int16 samples at 16 kHz."""
        if not samples.any():
            return Transcript("", 0.0, self.info.name, len(samples) / SPEECH_RATE)
        with self._decoding:
            return self._decoded(samples)

    def _decoded(self, samples: Samples) -> Transcript:
        try:
            # Without this an utterance is heard through the mean and noise of the ones before it,
            # and the same sound would not always give the same text.
            self._decoder.reinit_feat()
            self._decoder.start_utt()
            try:
                self._decoder.process_raw(with_noise_floor(samples).tobytes(), full_utt=True)
            finally:
                self._decoder.end_utt()
            words = [(s.word, s.prob) for s in self._decoder.seg() or () if _is_word(s.word)]
        except RuntimeError as error:
            raise EngineError(
                f"pocketsphinx failed on {len(samples) / SPEECH_RATE:.1f} s of sound."
            ) from error
        text = " ".join(_plain(word) for word, _ in words)
        confidence = float(np.mean([p for _, p in words])) if words else 0.0
        return Transcript(text, min(1.0, confidence), self.info.name, len(samples) / SPEECH_RATE)

    def _partial_decoder(self) -> PartialDecoder:
        """A decoder of partial texts, kept by one utterance until its end; loaded when first wanted.

        Utterances beyond the number of decoders have no partial texts.
        """
        with self._decoding:
            if self._partial_decoders:
                return self._partial_decoders.pop()
            if self._partial_loaded >= _PARTIAL_DECODERS:
                return _NoPartial()
            self._partial_loaded += 1
        return _PartialDecoder(self._load(fwdflat=False, bestpath=False), self._partial_decoders.append)

    def _load(self, **options: Any) -> Any:
        try:
            import pocketsphinx
        except ImportError as error:
            raise MissingError(
                "Speech-to-text pocketsphinx is not installed.", advice="Install the package pocketsphinx."
            ) from error
        if self._lm is not None and self._dictionary is not None:
            for path in (self._lm, self._dictionary):
                if not path.is_file():
                    raise MissingError(f"The file {path} for pocketsphinx does not exist.")
            options |= {"lm": str(self._lm), "dict": str(self._dictionary)}
        try:
            return pocketsphinx.Decoder(samprate=SPEECH_RATE, loglevel="FATAL", **options)
        except RuntimeError as error:
            raise InvalidInputError(
                f"pocketsphinx cannot use {self._lm or 'its general model'}.",
                advice="Give an ARPA n-gram and a dictionary in CMUdict's phones.",
            ) from error


class _PartialDecoder:
    """Decodes while the speech goes on, from the mean of what was there at the first request."""

    def __init__(self, decoder: Any, give_back: Callable[["_PartialDecoder"], None]) -> None:
        self._decoder = decoder
        self._give_back = give_back
        self._open = False
        self._done = 0

    def text(self, samples: Samples) -> str:
        """Text of all samples of the utterance so far; only the new ones cost time."""
        if not self._open and len(samples) < _FIRST_PARTIAL_S * SPEECH_RATE:
            return ""
        try:
            if not self._open:
                # A pass over the whole leaves its mean behind, which then holds for the rest.
                self._decoder.reinit_feat()
                self._decoder.start_utt()
                self._decoder.process_raw(with_noise_floor(samples).tobytes(), full_utt=True)
                self._decoder.end_utt()
                self._decoder.start_utt()
                self._open, self._done = True, 0
            self._decoder.process_raw(with_noise_floor(samples)[self._done :].tobytes())
            self._done = len(samples)
            found = self._decoder.hyp()
        except RuntimeError as error:
            raise EngineError("pocketsphinx failed on a partial text.") from error
        return " ".join(_plain(w) for w in found.hypstr.split() if _is_word(w)) if found else ""

    def end(self) -> None:
        """Close an open utterance, so that the next one can begin."""
        if self._open:
            self._open = False
            self._decoder.end_utt()
        self._give_back(self)


class _NoPartial:
    """Stands in where every decoder is busy."""

    def text(self, samples: Samples) -> str:  # noqa: ARG002 (what a decoder takes)
        """Nothing."""
        return ""

    def end(self) -> None:
        """Nothing was begun."""


def with_noise_floor(samples: Samples) -> Samples:
    """The sound with faint noise, always the same for the same sound.

    The acoustic model never heard digital silence; between the sounds of a synthetic or
    noise-gated voice it takes it for anything (WER 0.26 without, 0.16 with the floor on such a
    voice; on human recordings there is no difference).
    """
    values = samples.astype(np.float64)
    level = _NOISE_FLOOR * float(np.sqrt(np.mean(values**2))) if len(values) else 0.0
    noise = np.random.default_rng(0).standard_normal(len(values)) * level
    limited: Samples = np.clip(np.round(values + noise), -32_768, 32_767).astype(np.int16)
    return limited


def _is_word(token: str) -> bool:
    """Whether a token of the decoder is speech, not silence, noise or a sentence mark."""
    return not token.startswith(("<", "[", "+"))


def _plain(token: str) -> str:
    """A word without the number of its pronunciation: `to(3)` is `to`, `a.` is `a`."""
    return token.split("(", 1)[0].rstrip(".") or token
