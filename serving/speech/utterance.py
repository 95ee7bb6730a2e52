"""One utterance for engines that recognise it as a whole: collect the sound, decode it once.

What engines share lives here, so that feeding, cancelling, finishing twice and oversized sound
behave alike in all of them. A cancelled utterance keeps quiet: it takes no more sound and its text
is empty.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from serving.audio import SPEECH_RATE, Samples
from serving.errors import InvalidInputError
from serving.speech.protocols import Transcript

MAX_UTTERANCE_S = 600.0
"""Longest utterance that is taken; more is an error, not a slow surprise, seconds."""


class PartialDecoder(Protocol):
    """Text of an utterance that still goes on."""

    def text(self, samples: Samples) -> str:
        """Text of all the samples so far; they only grow until `end`."""
        ...

    def end(self) -> None:
        """Be ready for another utterance; harmless twice."""
        ...


class WholeUtterance:
    """An `SttStream` over a function that recognises complete utterances.

    Args:
        engine: `EngineInfo.name`.
        decode: int16 samples at 16 kHz to the final transcript.
        partials: gives the decoder of partial texts at the first request; None where there is none.
    """

    def __init__(
        self,
        engine: str,
        decode: Callable[[Samples], Transcript],
        partials: Callable[[], PartialDecoder] | None = None,
    ) -> None:
        self._engine = engine
        self._decode = decode
        self._partials = partials
        self._partial: PartialDecoder | None = None
        self._parts: list[Samples] = []
        self._length = 0
        self._result: Transcript | None = None

    def feed(self, samples: Samples) -> None:
        """Take the next int16 samples at 16 kHz; ignored after `finish` or `cancel`.

        Raises:
            InvalidInputError: not mono int16, or more than `MAX_UTTERANCE_S` in all.
        """
        if samples.ndim != 1 or samples.dtype != np.int16:
            raise InvalidInputError(
                f"Speech-to-text takes mono int16 samples, not {samples.dtype} of shape {samples.shape}."
            )
        if self._result is not None or not len(samples):
            return
        if self._length + len(samples) > MAX_UTTERANCE_S * SPEECH_RATE:
            raise InvalidInputError(
                f"An utterance may last {MAX_UTTERANCE_S:.0f} s.", advice="Split the sound at its pauses."
            )
        # The caller may reuse its buffer.
        self._parts.append(samples.copy())
        self._length += len(samples)

    def partial(self) -> str:
        """Text so far; empty where the engine has no partial texts."""
        if self._result is not None:
            return self._result.text
        if self._partials is None or not self._length:
            return ""
        if self._partial is None:
            self._partial = self._partials()
        return self._partial.text(self._joined())

    def guess(self) -> Callable[[], Transcript]:
        """What decodes the sound so far; the utterance goes on meanwhile."""
        if self._result is not None:
            result = self._result
            return lambda: result
        samples = self._joined()
        return lambda: self._decode(samples)

    def finish(self) -> Transcript:
        """The final text, the same however often it is asked for."""
        if self._result is None:
            self._end_partial()
            samples = self._joined()
            self._parts.clear()
            self._result = self._decode(samples)
        return self._result

    def cancel(self) -> None:
        """Drop the utterance."""
        if self._result is None:
            self._end_partial()
            self._parts.clear()
            self._result = Transcript("", 0.0, self._engine, self._length / SPEECH_RATE)

    def _joined(self) -> Samples:
        if len(self._parts) != 1:
            self._parts = [np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)]
        return self._parts[0]

    def _end_partial(self) -> None:
        if self._partial is not None:
            self._partial.end()
            self._partial = None
