"""Which weights of the larger engines can be fetched, from where, and what they must be.

Every file is pinned: its size and sha256 are known beforehand (those of Whisper's stand in their official
addresses; the others were compared with several independent copies), so what arrives is what was meant,
whatever mirror it came from. Nothing here touches the network.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from serving.errors import InvalidInputError, MissingError
from serving.settings import Settings

WHISPER, KOKORO, ENCODER = "whisper", "kokoro", "encoder"
FAMILIES = (WHISPER, KOKORO, ENCODER)
DEFAULT_FAMILIES = (WHISPER, KOKORO)
"""The default encoder comes in a wheel already."""
DEFAULT_WHISPER = "small.en"
DEFAULT_VOICE = "af_heart"

_WHISPER_BYTES = {
    "tiny.en": 75_571_315,
    "tiny": 75_572_083,
    "base.en": 145_261_783,
    "base": 145_262_807,
    "small.en": 483_615_683,
    "small": 483_617_219,
    "medium.en": 1_528_006_491,
    "medium": 1_528_008_539,
    "large-v2": 3_086_999_982,
    "large-v3": 3_087_371_615,
    "turbo": 1_617_941_637,
}
_KOKORO_REPOSITORY = "hexgrad/Kokoro-82M"
_KOKORO_REVISION = "f3ff3571791e39611d31c381e3a41a3af07b4987"
_KOKORO_FILES = {
    "config.json": (2_351, "5abb01e2403b072bf03d04fde160443e209d7a0dad49a423be15196b9b43c17f"),
    "kokoro-v1_0.pth": (327_212_226, "496dba118d1a58f5f3db2efc88dbdc216e0483fc89fe6e47ee1f2c53f18ad1e4"),
}
_KOKORO_SETTINGS = {"config.json": "kokoro_config", "kokoro-v1_0.pth": "kokoro_weights"}
_KOKORO_VOICES = {
    "af_heart": (523_425, "0ab5709b8ffab19bfd849cd11d98f75b60af7733253ad0d67b12382a102cb4ff"),
    "af_bella": (523_425, "8cb64e02fcc8de0327a8e13817e49c76c945ecf0052ceac97d3081480e8e48d6"),
    "am_michael": (523_435, "9a443b79a4b22489a5b0ab7c651a0bcd1a30bef675c28333f06971abbd47bd37"),
    "bf_emma": (523_420, "d0a423deabf4a52b4f49318c51742c54e21bb89bbbe9a12141e7758ddb5da701"),
    "bm_george": (523_430, "f1bc812213dc59774769e5c80004b13eeb79bd78130b11b2d7f934542dab811b"),
}
_ENCODER_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
_ENCODER_REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
_ENCODER_FILES = {
    "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "tokenizer.json": (466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    "model.safetensors": (90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
}


@dataclass(frozen=True, slots=True)
class Download:
    """A file to fetch.

    Attributes:
        url: where it is.
        target: where it goes.
        size: its length in bytes.
        sha256: of its content.
        licence: under which it may be used.
        what: for people: what the file is.
        setting: the setting that is to name it (the encoder's names its folder).
    """

    url: str
    target: Path
    size: int
    sha256: str
    licence: str
    what: str
    setting: str

    @property
    def source(self) -> str:
        """Host and path, for messages: an address may hold a password."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}{parts.path}"


def plan(
    settings: Settings,
    *,
    families: Collection[str] = DEFAULT_FAMILIES,
    whisper: str = DEFAULT_WHISPER,
    voice: str = DEFAULT_VOICE,
    mirror: str | None = None,
) -> list[Download]:
    """What to fetch into `home/models`; nothing is read from the network.

    Args:
        settings: the installation.
        families: some of `FAMILIES`.
        whisper: name of a Whisper model.
        voice: name of a Kokoro voice.
        mirror: scheme and host, perhaps with a path, that stand in for those of every address.

    Raises:
        InvalidInputError: a family, model, voice or mirror that is not known.
        MissingError: openai-whisper, whose table has the addresses, is not installed.
    """
    if unknown := sorted(set(families) - set(FAMILIES)):
        raise InvalidInputError(f"There is no family {unknown[0]!r}; {', '.join(FAMILIES)} can be fetched.")
    models = settings.home / "models"
    downloads: list[Download] = []
    if WHISPER in families:
        downloads.append(_whisper(models, whisper, mirror))
    if KOKORO in families:
        downloads += _kokoro(models, voice, mirror)
    if ENCODER in families:
        downloads += _encoder(models, mirror)
    return downloads


def settings_for(downloads: Iterable[Download]) -> dict[str, Path]:
    """The settings that make the engines use the files: name to path, absolute."""
    return {
        download.setting: (
            download.target.parent if download.setting == "encoder" else download.target
        ).resolve()
        for download in downloads
    }


def _whisper(models: Path, name: str, mirror: str | None) -> Download:
    if name not in _WHISPER_BYTES:
        raise InvalidInputError(f"There is no Whisper model {name!r}; known: {', '.join(_WHISPER_BYTES)}.")
    try:
        import whisper
    except ImportError as error:
        raise MissingError(
            "Whisper's models are found through the package openai-whisper, which is not installed.",
            advice="Install voicebot with the extra `whisper`, or leave Whisper out.",
        ) from error
    url: str = whisper._MODELS[name]
    *_, digest, file = urlsplit(url).path.split("/")
    target = models / "whisper" / file
    what = f"Whisper {name}, speech-to-text"
    return Download(
        _mirrored(url, mirror), target, _WHISPER_BYTES[name], digest, "MIT", what, "whisper_model"
    )


def _kokoro(models: Path, voice: str, mirror: str | None) -> list[Download]:
    if voice not in _KOKORO_VOICES:
        raise InvalidInputError(f"There is no Kokoro voice {voice!r}; known: {', '.join(_KOKORO_VOICES)}.")
    folder = models / "kokoro"
    files = {**_KOKORO_FILES, f"voices/{voice}.pt": _KOKORO_VOICES[voice]}
    return [
        Download(
            _hub_url(_KOKORO_REPOSITORY, name, _KOKORO_REVISION, mirror),
            folder / name,
            size,
            digest,
            "Apache-2.0",
            f"Kokoro, text-to-speech: {name}",
            _KOKORO_SETTINGS.get(name, "kokoro_voice"),
        )
        for name, (size, digest) in files.items()
    ]


def _encoder(models: Path, mirror: str | None) -> list[Download]:
    return [
        Download(
            _hub_url(_ENCODER_REPOSITORY, name, _ENCODER_REVISION, mirror),
            models / "encoder" / "all-MiniLM-L6-v2" / name,
            size,
            digest,
            "Apache-2.0",
            f"all-MiniLM-L6-v2, sentence encoder: {name}",
            "encoder",
        )
        for name, (size, digest) in _ENCODER_FILES.items()
    ]


def _hub_url(repository: str, file: str, revision: str, mirror: str | None) -> str:
    """Address of a file at the hub; the hub's own variable HF_ENDPOINT counts where no mirror is given."""
    from huggingface_hub import hf_hub_url

    return _mirrored(str(hf_hub_url(repository, file, revision=revision)), mirror)


def _mirrored(url: str, mirror: str | None) -> str:
    if mirror is None:
        return url
    original = urlsplit(url)
    try:
        place = urlsplit(mirror)
        known = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
    except ValueError:
        known = False
    if not known:
        raise InvalidInputError("The mirror must be an http or https address, like https://mirror.internal.")
    path = place.path.rstrip("/") + original.path
    return urlunsplit((place.scheme, place.netloc, path, original.query, ""))
