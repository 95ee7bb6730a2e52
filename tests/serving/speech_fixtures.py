"""Small real engines made on the spot: random weights of the true architectures, a tiny n-gram."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.audio import AudioClip, concatenate, from_floats
from serving.speech.espeak_tts import EspeakTts, EspeakVoice
from serving.speech.language_model import LanguageModelFiles, build_language_model

SHARED = Path(os.environ.get("VOICEBOT_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

SENTENCES = [
    "my card was stolen",
    "what is the interest rate on a loan",
    "i want to pay two hundred dollars",
    "please repeat that",
    "five hundred dollars over three years",
    "speak to an agent",
    "yes",
    "no",
]


def speech(text: str, voice: str = "en-us+f5") -> AudioClip:
    """A sentence spoken by espeak-ng."""
    return concatenate(list(EspeakTts(EspeakVoice(voice), repeatable=True).synthesise(text)), 22_050)


def noise(seconds: float, rate: int = 16_000, level: float = 0.05) -> AudioClip:
    """White noise."""
    return from_floats(np.random.default_rng(1).normal(scale=level, size=round(seconds * rate)), rate)


def tiny_language_model(folder: Path) -> LanguageModelFiles:
    return build_language_model(SENTENCES, folder)


def whisper_checkpoint(folder: Path) -> Path:
    """A Whisper of 1.8 MB with random weights, stored in half precision as the published ones are."""
    whisper_model = pytest.importorskip(
        "whisper.model", reason="the extra voicebot[whisper] is not installed"
    )
    import torch

    torch.manual_seed(0)
    dims = whisper_model.ModelDimensions(
        n_mels=80, n_audio_ctx=1500, n_audio_state=16, n_audio_head=1, n_audio_layer=1,
        n_vocab=51_865, n_text_ctx=448, n_text_state=16, n_text_head=1, n_text_layer=1,
    )  # fmt: skip
    path = folder / "random.pt"
    state = whisper_model.Whisper(dims).half().state_dict()
    torch.save({"dims": dims.__dict__, "model_state_dict": state}, path)
    return path


def kokoro_config() -> dict[str, Any]:
    """Kokoro's architecture with the layers thinned that the library allows to be thin."""
    given = SHARED / "kokoro" / "config.json"
    if not given.is_file():
        pytest.skip(f"Kokoro's config.json is not in {SHARED}")
    config: dict[str, Any] = json.loads(given.read_text(encoding="utf-8"))
    config |= {"n_layer": 2, "max_dur": 1}
    config["plbert"] |= {
        "hidden_size": 48, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 1,
    }  # fmt: skip
    return config


def kokoro_files(folder: Path) -> tuple[Path, Path, Path]:
    """Config, random weights and a voice pack (a genuine one where there is one)."""
    kokoro = pytest.importorskip("kokoro", reason="the extra voicebot[kokoro] is not installed")
    import torch

    torch.manual_seed(0)
    config, weights = folder / "config.json", folder / "weights.pth"
    config.write_text(json.dumps(kokoro_config()), encoding="utf-8")
    torch.save({}, folder / "empty.pth")
    model = kokoro.KModel(repo_id="hexgrad/Kokoro-82M", config=str(config), model=str(folder / "empty.pth"))
    torch.save({name: part.half().state_dict() for name, part in model.named_children()}, weights)
    voice = SHARED / "kokoro" / "af_heart.bin"
    if not voice.is_file():
        voice = folder / "voice.bin"
        np.random.default_rng(0).normal(size=(510, 1, 256)).astype("<f4").tofile(voice)
    return config, weights, voice
