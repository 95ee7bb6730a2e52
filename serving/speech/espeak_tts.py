"""espeak-ng in process: the embedded voice, and the voice of synthetic callers.

The library and its data come from the wheel `espeakng-loader`; audio is made in memory, no file
and no child process is involved. espeak-ng is GPL-3: it is a separate wheel, loaded at run time
and never part of this project's code (NOTICE names the engine to choose without it). It speaks
about 300 times faster than real time, so a sentence costs milliseconds.
"""

import _ctypes
import atexit
import contextlib
import ctypes
import functools
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.audio import AudioClip, Samples
from serving.errors import EngineError, InvalidInputError, MissingError
from serving.speech.protocols import EngineInfo
from serving.speech.sentences import speakable_sentences

ESPEAK_RATE = 22_050
"""Rate of all English espeak-ng voices, Hz."""
_MAX_CHARS = 600
"""Longest text given to the library at once; it holds its lock meanwhile."""

# Values of espeak-ng's public header speak_lib.h, API revision 12.
_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_END_PAUSE = 0x1000
_POSITION_CHARACTER = 1
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_PARAMETER_RANGE = 4
_PARAMETER_WORD_GAP = 7
_OK = 0
_PHONEMES_IPA = 0x02
_MAX_PATH = 140
"""The library silently falls back to another folder when its data path is longer than 160 bytes."""


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """How a voice sounds.

    Attributes:
        name: an espeak-ng language with an optional variant, such as `en-us+f5`.
        words_per_minute: 80 to 450.
        pitch: 0 to 100; 50 is the variant's own.
        pitch_range: 0 (monotone) to 100; 50 is the variant's own.
        word_gap: pause between words in units of 10 ms at the default speed.
    """

    name: str = "en-us+f5"
    words_per_minute: int = 150
    pitch: int = 50
    pitch_range: int = 50
    word_gap: int = 0

    def __post_init__(self) -> None:
        if not 80 <= self.words_per_minute <= 450:
            raise InvalidInputError(
                f"espeak-ng speaks 80 to 450 words per minute, not {self.words_per_minute}."
            )
        if not (0 <= self.pitch <= 100 and 0 <= self.pitch_range <= 100):
            raise InvalidInputError("Pitch and pitch range of an espeak-ng voice lie between 0 and 100.")
        if not 0 <= self.word_gap <= 100:
            raise InvalidInputError("The word gap of an espeak-ng voice lies between 0 and 100.")


class EspeakTts:
    """Text-to-speech with one espeak-ng voice; many voices may live side by side.

    Args:
        voice: the voice.
        repeatable: give the same samples for the same text, whatever was said before. The library
            draws its breath noise from a generator that it seeds with the time of day, and keeps
            the phase of its voice from one utterance to the next; nothing resets that, so each text
            is spoken by a copy of the library loaded for it, with a fixed seed (1 ms more). For
            synthetic callers: what a test or a replay hears must not depend on when it runs.

    Raises:
        MissingError: espeakng-loader is not installed.
        InvalidInputError: no such voice or variant.
    """

    def __init__(self, voice: EspeakVoice | None = None, *, repeatable: bool = False) -> None:
        self.voice = voice or EspeakVoice()
        self._repeatable = repeatable
        self._library = espeak_library()
        self._library.check(self.voice)
        self.rate = ESPEAK_RATE
        self.info = EngineInfo(
            name="espeak",
            model=f"{self.voice.name} at {self.voice.words_per_minute} words/min",
            note="Formant synthesis: intelligible, audibly a machine. GPL-3 library, loaded at run time.",
        )

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        """One clip per sentence at 22,050 Hz; the library is free between two clips."""
        with contextlib.ExitStack() as stack:
            library = stack.enter_context(espeak_copy()) if self._repeatable else self._library
            for sentence in speakable_sentences(text, max_chars=_MAX_CHARS):
                samples = library.speak(sentence, self.voice)
                if len(samples):
                    yield AudioClip(samples, ESPEAK_RATE)


class EspeakLibrary:
    """One loaded instance of the C library; every use holds its lock.

    espeak-ng keeps voice and parameters in C globals, so each synthesis sets them all again.
    """

    def __init__(self, library_path: Path, data_path: Path) -> None:
        self._lock = threading.Lock()
        self._parts: list[Samples] = []
        self._data = data_path
        if not (data_path / "phontab").is_file():
            raise MissingError(
                f"espeak-ng's data folder {data_path} is incomplete.", advice="Reinstall espeakng-loader."
            )
        try:
            self._lib = ctypes.CDLL(str(library_path))
        except OSError as error:
            raise MissingError(
                f"espeak-ng's library {library_path.name} does not load on this machine ({error}).",
                advice="Reinstall espeakng-loader, or choose another voice engine.",
            ) from error
        self._declare()
        rate = self._lib.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, _short_path(data_path), _DONT_EXIT)
        if rate != ESPEAK_RATE:
            raise EngineError(f"espeak-ng did not start: it reported a rate of {rate} Hz.")
        # ctypes frees a callback that nobody refers to, and C would then call freed memory.
        self._callback = _CALLBACK(self._collect)
        self._lib.espeak_SetSynthCallback(self._callback)

    def check(self, voice: EspeakVoice) -> None:
        """Raise InvalidInputError unless language and variant exist.

        The library itself takes an unknown variant for the plain voice without a word.
        """
        language, plus, variant = voice.name.partition("+")
        if plus and variant not in self.variants():
            near = ", ".join(v for v in self.variants() if v[:1].lower() == variant[:1].lower())
            raise InvalidInputError(
                f"espeak-ng has no voice variant {variant!r}.", advice=f"Near it are: {near}." if near else ""
            )
        with self._lock:
            found = bool(language) and self._lib.espeak_SetVoiceByName(voice.name.encode()) == _OK
        if not found:
            raise InvalidInputError(
                f"espeak-ng has no voice {language!r}.", advice="Use for example en-us or en-gb-x-rp."
            )

    def variants(self) -> list[str]:
        """Names that may follow the `+` of a voice."""
        return sorted(path.name for path in (self._data / "voices" / "!v").iterdir())

    def speak(self, text: str, voice: EspeakVoice) -> Samples:
        """Samples (int16, 22,050 Hz) of one text; control characters must be gone already.

        Raises:
            EngineError: the library reports a failure.
        """
        encoded = text.encode("utf-8", "ignore")
        with self._lock:
            self._set(voice)
            self._parts.clear()
            status = self._lib.espeak_Synth(
                encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8 | _END_PAUSE, None, None
            )
            self._lib.espeak_Synchronize()
            parts, self._parts = self._parts, []
        if status != _OK:
            raise EngineError(f"espeak-ng failed with status {status}.")
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def seed(self, value: int) -> None:
        """Begin the generator of breath noise anew."""
        self._lib.espeak_ng_SetRandSeed(value)

    def close(self) -> None:
        """Unload the library; only for a copy that nobody else uses."""
        self._lib.espeak_Terminate()
        _ctypes.dlclose(self._lib._handle)

    def phonemes(self, word: str) -> str:
        """IPA of a word in American English, with stress marks; empty where there is none."""
        pointer = ctypes.c_char_p(word.encode("utf-8", "ignore"))
        with self._lock:
            self._lib.espeak_SetVoiceByName(b"en-us")
            ipa = self._lib.espeak_TextToPhonemes(ctypes.byref(pointer), _CHARS_UTF8, _PHONEMES_IPA)
        return (ipa or b"").decode("utf-8", "replace").strip()

    def _declare(self) -> None:
        """Tell ctypes the signatures; a size_t passed as int breaks on 64 bits."""
        lib = self._lib
        lib.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        lib.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        lib.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
        lib.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        lib.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        lib.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def _set(self, voice: EspeakVoice) -> None:
        if self._lib.espeak_SetVoiceByName(voice.name.encode()) != _OK:
            raise EngineError(f"espeak-ng lost its voice {voice.name}.")
        for parameter, value in (
            (_PARAMETER_RATE, voice.words_per_minute),
            (_PARAMETER_PITCH, voice.pitch),
            (_PARAMETER_RANGE, voice.pitch_range),
            (_PARAMETER_WORD_GAP, voice.word_gap),
        ):
            self._lib.espeak_SetParameter(parameter, value, 0)

    def _collect(self, wave: object, count: int, events: object) -> int:  # noqa: ARG002 (C signature)
        """Called by C with each piece of audio; the memory is C's, so it is copied."""
        if wave and count > 0:
            self._parts.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@functools.cache
def espeak_library() -> EspeakLibrary:
    """The process's shared instance, started at first use.

    Raises:
        MissingError: espeakng-loader is not installed, or incomplete.
    """
    return EspeakLibrary(*_installed())


@contextlib.contextmanager
def espeak_copy() -> Iterator[EspeakLibrary]:
    """An instance in its initial state: the loader shares a file, so it is given a copy of it.

    Raises:
        MissingError: espeakng-loader is not installed, or incomplete.
    """
    library, data = _installed()
    with tempfile.TemporaryDirectory(prefix="espeak-") as folder:
        instance = EspeakLibrary(Path(shutil.copy(library, folder)), data)
    with contextlib.closing(instance):
        instance.seed(0)
        yield instance


def _installed() -> tuple[Path, Path]:
    """Library and data folder of the wheel."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingError(
            "The voice engine espeak-ng is not installed.", advice="Install the package espeakng-loader."
        ) from error
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())


def _short_path(data_path: Path) -> bytes:
    """The data folder, through a link in the temporary folder where its own path is too long."""
    if len(bytes(data_path)) <= _MAX_PATH:
        return bytes(data_path)
    folder = Path(tempfile.mkdtemp(prefix="espeak-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = folder / "espeak-ng-data"
    link.symlink_to(data_path, target_is_directory=True)
    return bytes(link)
