"""Kokoro: the neural voice of the production profile, from files on this machine.

The real model (`kokoro.KModel`) speaks phonemes that misaki's own lexicons give; misaki's usual
way needs a spaCy model that it downloads by itself, so a blank pipeline with a small rule tagger
stands in for it, and espeak-ng speaks the words that the lexicons lack (GPL-3, loaded at run time;
without it such words are skipped). Speech comes sentence by sentence: the model runs at about twice
real time on two cores.
"""

import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serving.audio import AudioClip, from_floats
from serving.errors import EngineError, InvalidInputError, MissingError
from serving.speech.protocols import EngineInfo
from serving.speech.sentences import speakable_sentences

KOKORO_RATE = 24_000
"""Rate of every Kokoro model, Hz."""
VOICE_SHAPE = (510, 1, 256)
"""Style vectors by number of phonemes; also the longest text in phonemes."""
_MAX_PHONEMES = VOICE_SHAPE[0]
_MAX_CHARS = 250
"""About half the phonemes that fit, since numbers and abbreviations grow."""
_REPOSITORY = "hexgrad/Kokoro-82M"
"""Names the architecture to the library; nothing is fetched from there."""


class KokoroTts:
    """Text-to-speech with Kokoro.

    Args:
        config: the model's config.json.
        weights: the model's .pth.
        voice: a voice pack, float32 of shape 510 x 1 x 256 (.bin: raw; .pt: a tensor).
        device: `cpu`, `cuda`, …; by default a GPU where there is one.

    Raises:
        MissingError: the package or a file is not there.
        InvalidInputError: a file is not what it should be.
    """

    rate = KOKORO_RATE

    def __init__(self, config: Path, weights: Path, voice: Path, device: str | None = None) -> None:
        for what, path in (("configuration", config), ("weights", weights), ("voice pack", voice)):
            if not path.is_file():
                raise MissingError(
                    f"Kokoro's {what} {path} does not exist.",
                    advice="Set VOICEBOT_KOKORO_CONFIG, _WEIGHTS and _VOICE, or run `voicebot fetch-models`.",
                )
        try:
            import torch
            from kokoro import KModel
        except ImportError as error:
            raise MissingError(
                "Text-to-speech Kokoro is not installed.", advice="Install the extra voicebot[kokoro]."
            ) from error
        from loguru import logger

        # The library logs the phonemes of every sentence, and a sentence may hold personal data.
        logger.disable("kokoro")
        self._voice = load_voice(voice)
        try:
            model = KModel(repo_id=_REPOSITORY, config=str(config), model=str(weights))
        except Exception as error:  # unpickling a foreign file fails in any way it likes
            raise InvalidInputError(
                f"{weights.name} and {config.name} are not a Kokoro model ({type(error).__name__})."
            ) from error
        _check_complete(model, weights)
        self._model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        self._phonemes = offline_g2p()
        self._speaking = threading.Lock()
        self.info = EngineInfo(name="kokoro", model=f"{weights.name}, voice {voice.stem}")

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        """One clip per sentence at 24 kHz."""
        for sentence in speakable_sentences(text, max_chars=_MAX_CHARS):
            with self._speaking:  # the conversion keeps state, and two sentences at once are no faster
                pieces = list(_fitting(str(self._phonemes(sentence, False)[0]).strip()))
            for phonemes in pieces:
                with self._speaking:
                    clip = self._speak(phonemes)
                yield clip

    def _speak(self, phonemes: str) -> AudioClip:
        try:
            audio = self._model(phonemes, self._voice[len(phonemes) - 1])
        except RuntimeError as error:
            raise EngineError(f"Kokoro failed on {len(phonemes)} phonemes.") from error
        values = np.nan_to_num(audio.detach().cpu().numpy().reshape(-1), nan=0.0, posinf=1.0, neginf=-1.0)
        return from_floats(values, KOKORO_RATE)


def load_voice(path: Path) -> Any:
    """A voice pack as a tensor of `VOICE_SHAPE`.

    Raises:
        InvalidInputError: another size, type or format, or values that are not finite.
    """
    import torch

    try:
        if path.suffix == ".pt":
            pack = torch.load(path, map_location="cpu", weights_only=True).to(torch.float32)
        else:
            pack = torch.from_numpy(np.fromfile(path, "<f4").astype(np.float32))
        pack = pack.reshape(VOICE_SHAPE)
    except Exception as error:  # unpickling a foreign file fails in any way it likes
        raise InvalidInputError(
            f"{path} is not a Kokoro voice pack; float32 of shape {VOICE_SHAPE} is needed."
        ) from error
    if not bool(torch.isfinite(pack).all()):
        raise InvalidInputError(f"The voice pack {path} holds values that are not finite.")
    return pack


def _check_complete(model: Any, weights: Path) -> None:
    """Refuse weights with parts missing: the library would leave those at random, without a word."""
    import torch

    saved = torch.load(weights, map_location="cpu", weights_only=True)
    for name, module in model.named_children():
        expected = set(module.state_dict())
        given = {key.removeprefix("module.") for key in saved.get(name, {})}
        if expected - given:
            raise InvalidInputError(
                f"{weights.name} lacks {len(expected - given)} tensors of Kokoro's part {name}.",
                advice="Give the complete .pth that belongs to the configuration.",
            )


def _fitting(phonemes: str) -> Iterator[str]:
    """Pieces that fit the model, cut between words where they must be."""
    while len(phonemes) > _MAX_PHONEMES:
        cut = phonemes.rfind(" ", 1, _MAX_PHONEMES)
        cut = cut if cut > 0 else _MAX_PHONEMES
        yield phonemes[:cut].strip()
        phonemes = phonemes[cut:].strip()
    if phonemes:
        yield phonemes


@functools.cache
def offline_g2p() -> Any:
    """Misaki's English grapheme-to-phoneme conversion without any download.

    Raises:
        MissingError: misaki or spaCy is not installed.
    """
    try:
        import spacy
        from misaki import en, espeak
    except ImportError as error:
        raise MissingError(
            "Kokoro's pronunciation package is not installed.", advice="Install the extra voicebot[kokoro]."
        ) from error
    language = spacy.blank("en")
    language.add_pipe(_register_tagger(spacy.Language))

    class OfflineG2P(en.G2P):  # type: ignore[misc]  # the library is untyped
        """The library's class, initialised without the tagger that it would download."""

        def __init__(self) -> None:
            # The parent's attributes; its own __init__ is the download.
            self.version = None
            self.british = False
            self.nlp = language
            self.lexicon = en.Lexicon(False)
            self.fallback = espeak.EspeakFallback(british=False)
            self.unk = ""

    return OfflineG2P()


_CLOSED_CLASSES = {"to": "TO", "the": "DT", "a": "DT", "an": "DT", "i": "PRP", "in": "IN"}
"""Words whose pronunciation in misaki depends on their Penn tag."""


def _register_tagger(registry: Any) -> str:
    """Make the tagger known to spaCy under a name of ours."""
    name = "voicebot_rule_tagger"

    @registry.component(name)  # type: ignore[untyped-decorator]  # the library is untyped
    def rule_tagger(document: Any) -> Any:
        for token in document:
            token.tag_ = penn_tag(token.text)
        return document

    return name


def penn_tag(word: str) -> str:
    """The Penn Treebank tag that misaki needs to know, by the word alone."""
    if word.replace(",", "").replace(".", "").isdigit():
        return "CD"
    if word in {"$", "£", "€"}:
        return "$"
    if word in {".", "!", "?"}:
        return "."
    if word in {",", ":", ";", "-", "–", "—"}:
        return "," if word == "," else ":"
    if word.lower() in _CLOSED_CLASSES:
        return _CLOSED_CLASSES[word.lower()]
    return "NNP" if word[:1].isupper() else "NN"
