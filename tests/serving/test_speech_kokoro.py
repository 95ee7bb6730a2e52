"""The real Kokoro code on random weights of its architecture; nothing downloads."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from serving.errors import InvalidInputError, MissingError
from serving.speech.kokoro_tts import KokoroTts, load_voice, offline_g2p, penn_tag
from tests.serving.speech_fixtures import kokoro_files

pytest.importorskip("kokoro", reason="the extra voicebot[kokoro] is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return kokoro_files(tmp_path_factory.mktemp("kokoro"))


def test_it_speaks_without_any_connection(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    tts = KokoroTts(*files, device="cpu")
    clips = list(tts.synthesise("Yes. No."))
    assert [clip.rate for clip in clips] == [24_000, 24_000]
    assert tts.info.model.startswith("weights.pth, voice ")


def test_weights_with_a_part_missing_are_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    import torch

    config, weights, voice = files
    state = torch.load(weights, weights_only=True)
    del state["decoder"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(InvalidInputError, match=r"lacks .* part decoder"):
        KokoroTts(config, tmp_path / "weights.pth", voice, device="cpu")


def test_files_that_are_not_kokoro_are_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    config, weights, voice = files
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"not what it should be")
    with pytest.raises(InvalidInputError, match="not a Kokoro model"):
        KokoroTts(config, foreign, voice, device="cpu")
    with pytest.raises(InvalidInputError, match="not a Kokoro model"):
        KokoroTts(foreign, weights, voice, device="cpu")
    with pytest.raises(InvalidInputError, match="voice pack"):
        KokoroTts(config, weights, foreign, device="cpu")


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_an_absent_file_is_named(files: tuple[Path, Path, Path], absent: int) -> None:
    paths = list(files)
    paths[absent] = Path("nowhere.bin")
    with pytest.raises(MissingError, match=r"nowhere\.bin"):
        KokoroTts(*paths, device="cpu")


def test_a_voice_pack_may_be_raw_or_a_tensor(tmp_path: Path) -> None:
    import torch

    values = np.random.default_rng(0).normal(size=(510, 1, 256)).astype("<f4")
    values.tofile(tmp_path / "voice.bin")
    torch.save(torch.from_numpy(values), tmp_path / "voice.pt")
    assert torch.equal(load_voice(tmp_path / "voice.bin"), load_voice(tmp_path / "voice.pt"))


@pytest.mark.parametrize("shape", [(510, 1, 255), (1,), (511, 1, 256)])
def test_a_voice_pack_of_another_size_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.zeros(shape, "<f4").tofile(tmp_path / "voice.bin")
    with pytest.raises(InvalidInputError, match="510, 1, 256"):
        load_voice(tmp_path / "voice.bin")


def test_a_voice_pack_with_holes_is_refused(tmp_path: Path) -> None:
    np.full((510, 1, 256), np.nan, "<f4").tofile(tmp_path / "voice.bin")
    with pytest.raises(InvalidInputError, match="not finite"):
        load_voice(tmp_path / "voice.bin")


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("three hundred four dollars", "θɹˈi hˈʌndɹəd fˈɔɹ dˈɑləɹz"),
        ("$304.15", "θɹˈi hˈʌndɹəd fˈɔɹ dˈɑləɹz ænd fˌɪftˈin sˈɛnts"),
        ("klarnazoid", "klˈɑɹnəzˌYd"),
        ("[hello](/ˈA/)", None),
    ],
)
def test_words_are_pronounced_from_the_packages_own_lexicons(text: str, phonemes: str | None) -> None:
    found = offline_g2p()(text, False)[0].strip()
    if phonemes is None:
        assert "həlˈO" in found, "markup of the package must be text"
    else:
        assert found == phonemes


@pytest.mark.parametrize(
    ("word", "tag"),
    [("1,250.50", "CD"), ("$", "$"), ("?", "."), (",", ","), ("the", "DT"), ("Bank", "NNP"), ("loan", "NN")],
)
def test_tags_are_those_that_the_lexicon_asks_for(word: str, tag: str) -> None:
    assert penn_tag(word) == tag


@pytest.fixture(scope="module", autouse=True)
def _free_disk(files: tuple[Path, Path, Path]) -> object:
    yield
    shutil.rmtree(files[1].parent, ignore_errors=True)
