"""The real Whisper code on random weights: loading, hearing, and what is refused. Nothing downloads."""

import socket
from pathlib import Path

import pytest

from serving.errors import InvalidInputError, MissingError
from serving.speech.protocols import transcribe
from serving.speech.whisper_stt import WhisperStt, confidence_of
from tests.serving.speech_fixtures import speech, whisper_checkpoint

pytest.importorskip("whisper", reason="the extra voicebot[whisper] is not installed")


def test_a_checkpoint_is_loaded_and_heard_through_without_any_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something tried to open a connection")

    path = whisper_checkpoint(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    engine = WhisperStt(path, device="cpu")
    heard = transcribe(engine, speech("hello"))
    assert "random.pt (2 MB)" in engine.info.model
    assert 0.0 <= heard.confidence <= 1.0
    assert transcribe(engine, speech("hello")).engine == "whisper"


def test_an_absent_checkpoint_names_the_setting() -> None:
    with pytest.raises(MissingError, match="VOICEBOT_WHISPER_MODEL"):
        WhisperStt(Path("turbo"))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="not a Whisper checkpoint"):
        WhisperStt(path, device="cpu")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"weights": torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(InvalidInputError, match="not a Whisper checkpoint"):
        WhisperStt(tmp_path / "model.pt", device="cpu")


def test_a_checkpoint_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    import torch

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    torch.save(Payload(), tmp_path / "model.pt")
    with pytest.raises(InvalidInputError, match="not a Whisper checkpoint"):
        WhisperStt(tmp_path / "model.pt", device="cpu")
    assert not (tmp_path / "ran").exists()


def segment(avg_logprob: float, no_speech_prob: float, tokens: int = 5) -> dict[str, object]:
    return {"avg_logprob": avg_logprob, "no_speech_prob": no_speech_prob, "tokens": list(range(tokens))}


def test_confidence_falls_with_doubt_and_with_the_chance_of_no_speech() -> None:
    sure, doubtful, empty = segment(-0.1, 0.01), segment(-1.0, 0.01), segment(-0.1, 0.9)
    assert confidence_of([sure]) == pytest.approx(0.896, abs=0.001)
    assert confidence_of([sure]) > confidence_of([doubtful])
    assert confidence_of([sure]) > confidence_of([empty])


def test_confidence_of_segments_is_weighted_by_their_tokens() -> None:
    mixed = confidence_of([segment(-0.1, 0.0, tokens=90), segment(-3.0, 0.0, tokens=10)])
    assert mixed > 0.8


@pytest.mark.parametrize("segments", [[], [segment(float("nan"), 0.0)], [segment(-1e9, 0.0)]])
def test_confidence_is_zero_where_there_is_none(segments: list[dict[str, object]]) -> None:
    assert confidence_of(segments) == 0.0
