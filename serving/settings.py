"""All settings of voicebot in one object, read once at an entry point and passed down.

Sources, strongest first: environment (`VOICEBOT_…`), `voicebot.toml` in the working folder
(or the file that `VOICEBOT_CONFIG` names), the defaults below; an empty variable is no setting.
Nothing here reads a model, opens a database or creates a folder. An unknown name in either source
is an error, because a misspelt setting that is silently ignored is worse than a failed start.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from serving.errors import InvalidInputError

ENV_PREFIX = "VOICEBOT_"
_NOT_SETTINGS = frozenset({"VOICEBOT_CONFIG", "VOICEBOT_SHARED_DATA"})
"""Names with our prefix that are read elsewhere: the settings file, the tests' data folder."""
_WORDS = r"^[^\s{}<>\x00-\x1f\x7f](?:[^{}<>\x00-\x1f\x7f]*[^\s{}<>\x00-\x1f\x7f])?$"
"""Plain words on one line: what a wording or a phrase can hold."""


class Settings(BaseSettings):
    """Configuration of one installation ("home") of voicebot."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    profile: Literal["embedded", "production"] = "embedded"
    """`embedded` runs on what the wheels carry. `production` refuses to start on a fallback engine
    that was not named explicitly, so that a bank never serves pocketsphinx by accident."""

    # Places
    home: Path = Path("var")
    """Cache, recordings, built language models, call database, reports of this installation."""
    mlruns: Path = Path("mlruns")
    """Folder of MLflow's database and artifacts."""
    tracking_uri: str | None = Field(default=None, repr=False)
    """MLflow tracking and registry address; default: SQLite inside `mlruns`."""
    database_url: str | None = Field(default=None, repr=False)
    """SQLAlchemy address of the call records; default: SQLite inside `home`."""
    data_dir: Path | None = None
    """The project's data folder; default: the repository's `data/`, or its copy in the wheel."""

    # Who we are
    bank_name: str = Field(default="Harbour Bank", max_length=80, pattern=_WORDS)
    tenant: str = "harbour-bank"
    """Separates caches of several banks; part of every cache scope."""
    locale: str = "en-US"
    timezone: str = "America/New_York"
    """Where the bank's day begins (IANA name): rates, wordings and due dates go by it."""
    jurisdiction: str = Field(default="US", pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")
    """Jurisdiction of legal texts: `US`, or a state such as `US-CA`."""
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    operator: str | None = None
    """Name written into audit records; default: the login name."""
    pii_key: SecretStr | None = None
    """Key of the hashes that stand for callers, names and ids in stored data; default: a random
    key made once in `home/pii.key` (mode 0600)."""

    # Engines: `auto` takes the best usable one and says why
    stt: Literal["auto", "pocketsphinx", "whisper"] = "auto"
    tts: Literal["auto", "espeak", "kokoro"] = "auto"
    llm: Literal["auto", "embedded", "mistral", "local", "vllm"] = "auto"
    whisper_model: Path | None = None
    """A Whisper checkpoint (.pt) on this machine."""
    pocketsphinx_lm: Path | None = None
    """An ARPA n-gram; default: the one built from the project's text in `home/lm`."""
    pocketsphinx_dict: Path | None = None
    """The pronunciation dictionary that belongs to `pocketsphinx_lm`."""
    espeak_voice: str = "en-us+f5"
    espeak_words_per_minute: int = Field(default=150, ge=80, le=400)
    caller_voice: str = "en-us+f2"
    """Voice of synthetic callers in scripted calls; never the bot's own."""
    caller_words_per_minute: int = Field(default=150, ge=80, le=400)
    kokoro_config: Path | None = None
    kokoro_weights: Path | None = None
    kokoro_voice: Path | None = None
    """A Kokoro voice pack: float32, 510 x 1 x 256 (.bin or .pt)."""
    encoder: Path | None = None
    """Sentence encoder folder; default: all-MiniLM-L6-v2 inside its wheel."""
    encoder_backend: Literal["onnx", "torch", "auto"] = "onnx"
    """What computes the cache's vectors: `onnx`, `torch`, or `auto` (the faster one, measured once in this
    home). Part of every cache scope and calibration: where caches are shared, name one for all machines."""
    mistral_api_key: SecretStr | None = None
    mistral_server_url: str | None = None
    """Address of a server that speaks Mistral's wire format (without /v1); default: the API."""
    mistral_model: str = "mistral-small-latest"
    mistral_timeout_s: float = Field(default=8.0, gt=0, le=120)
    mistral_max_retries: int = Field(default=2, ge=0, le=10)
    local_llm: Path | None = None
    """A causal language model folder for transformers."""
    local_llm_adapter: Path | None = None
    """A LoRA adapter folder (kind `dialogue`) for `local_llm`."""
    dialogue_adapter: str = Field(
        default="", pattern=r"^([a-z0-9][a-z0-9_.-]{0,62}(@[A-Za-z0-9_-]{1,63})?)?$"
    )
    """A registered dialogue adapter for the language model, `NAME[@ALIAS|VERSION]`; with an alias, promotions
    are followed while calls go on."""
    local_llm_4bit: bool = False
    """Load `local_llm` in 4 bits with bitsandbytes; needs CUDA."""
    local_llm_timeout_s: float = Field(default=30.0, gt=0, le=600)
    vllm_url: str | None = None
    """Address of a vLLM server, without /v1, user or password."""
    vllm_api_key: SecretStr | None = None
    """What that server was started with (`--api-key`)."""
    vllm_model: str = ""
    """Name of the base model there, as `/v1/models` lists it."""
    vllm_adapters: Path | None = None
    """Folder where adapters are exported for the server; default: `home/vllm`."""
    vllm_adapters_seen_as: str = ""
    """The same folder as the server sees it; default: under the same path."""
    vllm_timeout_s: float = Field(default=8.0, gt=0, le=120)
    vllm_max_retries: int = Field(default=2, ge=0, le=10)

    # The call
    end_of_turn_silence_s: float = Field(default=0.7, ge=0.2, le=5)
    """Silence after speech that ends the caller's turn, in seconds."""
    barge_in_s: float = Field(default=0.6, gt=0, le=3)
    """Voice over the bot's speech that interrupts it whatever is said, in seconds; words do so earlier."""
    idle_prompt_s: float = Field(default=8.0, ge=2, le=120)
    """Silence after which a live caller is asked whether anybody is there, in seconds."""
    longest_call_s: float = Field(default=3_600.0, ge=60, le=86_400)
    """Length of a live call after which the caller is put through to a person, in seconds."""
    filler_after_s: float = Field(default=1.5, ge=0.2, le=30)
    """Wait for an answer after which the bot says that it is at work, in seconds."""
    vad_threshold: float = Field(default=0.5, gt=0, lt=1)
    stt_confidence_floor: float = Field(default=0.35, ge=0, lt=1)
    """Recognition below this asks the caller again (engine's own confidence, 0 to 1)."""
    confirm_below: float = Field(default=0.5, ge=0, le=1)
    """Recognition below this has amounts, rates and terms read back before they are used."""
    tool_timeout_s: float = Field(default=5.0, gt=0)
    max_failures: int = Field(default=3, ge=1, le=10)
    """Consecutive turns that were not understood or failed before the call is transferred."""
    max_turn_chars: int = Field(default=2_000, ge=50)
    """Longest text of one turn; a longer one is refused and asked again."""
    max_utterance_s: float = Field(default=30.0, gt=1)
    """Speech longer than this is cut into a turn of its own, in seconds."""
    max_wav_s: float = Field(default=900.0, gt=1)
    """Longest audio file that a call accepts, in seconds."""
    keep_recordings: bool = True
    core_banking: str = Field(default="sandbox", pattern=r"^(sandbox|none|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")
    """Bank behind the callers' accounts: `sandbox` (synthetic customers in `home`), `none`, or
    `package.module:function` of a real one that implements the same port."""
    ask_survey: bool = True
    """Ask live callers at the end whether their matter is settled, and for one to five."""

    # Cache and adapters
    cache_threshold: float | None = Field(default=None, ge=0, le=1)
    """Plain cosine from which a question of the same signature and intent is answered from the cache,
    instead of the certified rule; for comparisons. Without it the calibration decides (`voicebot
    calibrate-cache`)."""
    cache_alpha: float = Field(default=0.1, ge=0.01, le=0.5)
    """Largest share of wrong answers among those that the cache gives to other words, on pairs of which
    nearly half are near-twins, that may be certified: a calibration for a larger one is not served
    (docs/cache.md)."""
    cache_url: str = Field(default="", pattern=r"^(https?://[^/\s@]+/?)?$")
    """Address of a cache service (`cache-manager serve`), such as `http://cache:8090`; default: the cache of
    this home."""
    cache_token: SecretStr | None = None
    """What a cache service and those who ask it both know; needed where it listens for other machines."""
    cache_shared: bool = False
    """Share entries, feedback and quarantine with the caches of the tenant's other servers through
    `redis_url`."""
    cache_shared_key: SecretStr | None = None
    """Key that signs what caches tell each other (HMAC); without it everyone who may write to that Redis is
    believed."""
    shadow_share: float = Field(default=0.02, ge=0, le=1)
    """Share of the answers from the cache that the engine is asked for as well, later, to bound how many are
    wrong; 0 asks none."""
    registry_poll_s: float = Field(default=1.0, gt=0, le=60)
    """How often a running server looks for a promotion, in seconds."""
    adapter_signing_key: SecretStr | None = None
    """Ed25519 private key (64 hexadecimal digits) that signs what is registered here; for the machine that
    trains, never for servers."""
    adapter_public_keys: str = ""
    """Public keys whose signatures count, with commas between them."""
    require_signed_adapters: bool = False
    """Neither promote nor serve an adapter without a valid signature."""

    training_consent: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    """Where callers consent to the use of their words for training, such as `Terms 2026-11, section 7`; it is
    written into every export. Without it none is made."""

    # Server
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    server_name: str = Field(default="", max_length=64)
    """Name of this server in live states; default: the machine's."""
    max_calls: int = Field(default=50, ge=1, le=10_000)
    """Live calls at a time, over all servers that share a Redis; the next one is refused politely."""
    drain_s: float = Field(default=60.0, ge=0, le=3_600)
    """How long calls may go on after the server was told to stop, in seconds."""
    public_url: str = Field(default="", pattern=r"^(https?://[^/\s]+/?)?$")
    """Address under which the world reaches this server, such as `https://voice.bank.example`."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Pages of other sites that may open a microphone line, such as `https://desk.example`: a list, or in
    the environment their origins with commas between them."""
    twilio_auth_token: SecretStr | None = None
    """Auth token of the Twilio account; without it no telephone call is taken."""
    twilio_unsigned: bool = False
    """Take telephone calls without a signature, from this machine only: for tests."""
    twilio_transfer_to: str = Field(default="", pattern=r"^(\+[1-9]\d{6,14})?$")
    """Number of the people who take over, such as `+15550100999`."""
    redis_url: str | None = Field(default=None, repr=False)
    """Redis that several servers share for admission, live state and writes, such as
    `redis://redis:6379/0`; default: this process's memory."""
    recording_retention_days: int = Field(default=90, ge=1, le=3_650)
    """How long recordings are kept, in days."""
    otlp_endpoint: str | None = Field(default=None, repr=False)
    """Base address of an OpenTelemetry collector that takes spans by OTLP over HTTP, such as
    `http://collector:4318`; default: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT,
    else no spans are made."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (fixed signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then one TOML file; no .env and no secrets folder."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _settings_file())

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read all sources and report a mistake in any of them in one readable error.

        Raises:
            InvalidInputError: an unknown setting (with the nearest known name), a bad value, or a
                settings file that is named but absent, cannot be read or is no TOML.
        """
        _refuse_unknown_variables(os.environ, set(cls.model_fields))
        path = _settings_file()
        if os.environ.get("VOICEBOT_CONFIG") and not path.is_file():
            problem = "is no file" if path.exists() else "does not exist"
            raise InvalidInputError(f"Settings file {path}, which VOICEBOT_CONFIG names, {problem}.")
        try:
            return cls(**overrides)  # type: ignore[arg-type]  # pydantic checks the values
        except ValidationError as error:
            raise InvalidInputError(_explain(error, set(cls.model_fields))) from error
        except SettingsError as error:
            # What pydantic says names the field and the source; what could not be read may be a secret.
            raise InvalidInputError(
                f"A setting cannot be read: {error}.", advice="docs/operations.md shows how each is written."
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise InvalidInputError(f"Settings file {path} is not valid TOML: {error}.") from error
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidInputError(f"Settings file {path} cannot be read: {reason}.") from error

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _separated(cls, origins: object) -> object:
        """What the environment holds: origins with commas between them, or a JSON list."""
        if not isinstance(origins, str):
            return origins
        if origins.lstrip().startswith("["):
            return json.loads(origins)  # pydantic reports its ValueError as that of any bad value
        return tuple(origin.strip() for origin in origins.split(",") if origin.strip())

    @field_validator("allowed_origins")
    @classmethod
    def _known_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_is_origin(origin) for origin in origins):
            raise ValueError("each must be an origin, scheme://host[:port], such as https://desk.example")
        return origins

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (LookupError, ValueError, OSError) as error:  # a path, a folder of zones, a file that is none
            raise ValueError("no time zone of this name is known; an IANA name is expected") from error
        return name

    def today(self, now: datetime | None = None) -> date:
        """The bank's day.

        Args:
            now: a moment with a zone; default: this one.
        """
        return (now or datetime.now(UTC)).astimezone(ZoneInfo(self.timezone)).date()

    @property
    def mlflow_uri(self) -> str:
        """Tracking address with the default filled in."""
        return self.tracking_uri or f"sqlite:///{self.mlruns.resolve() / 'mlflow.db'}"

    @property
    def records_url(self) -> str:
        """Address of the call records with the default filled in."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'calls.db'}"

    @property
    def data(self) -> Path:
        """The data folder with the default filled in (see `data_dir`)."""
        return self.data_dir or default_data_dir()


def default_data_dir() -> Path:
    """The copy of the data that the wheel carries, or `data/` of the source checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "_data"
    # First the wheel's: beside an installed package, `data` could be anybody's.
    return packaged if packaged.is_dir() else package.parent / "data"


def _is_origin(text: str) -> bool:
    """Whether a browser could send this as the origin of a page."""
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port  # a port that is none raises
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and not set(text) & set(" \\\"'<>@*,")
    alone = f"{parts.scheme}://{parts.netloc}".casefold() == text.casefold()
    return plain and alone and parts.scheme in {"http", "https"} and bool(host) and text[-1] != ":"


def _settings_file() -> Path:
    return Path(os.environ.get("VOICEBOT_CONFIG") or "voicebot.toml")


def _refuse_unknown_variables(environment: Mapping[str, str], known: set[str]) -> None:
    for name in environment:
        upper = name.upper()  # pydantic-settings reads voicebot_stt too
        if not upper.startswith(ENV_PREFIX) or upper in _NOT_SETTINGS:
            continue
        field = upper.removeprefix(ENV_PREFIX).lower()
        if field not in known:
            raise InvalidInputError(f"Unknown setting {name}.{_nearest(field, known, ENV_PREFIX)}")


def _nearest(field: str, known: set[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(field.lower(), known, n=1)
    if not close:
        return " docs/operations.md lists every setting."
    return f" Did you mean {prefix + close[0].upper() if prefix else close[0]}?"


def _explain(error: ValidationError, known: set[str]) -> str:
    """One line per mistake; values are not echoed, one of them could be a secret."""
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        field = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"Unknown setting {field!r}.{_nearest(field, known)}")
        else:
            lines.append(f"Setting {field!r}: {item['msg']}.")
    return " ".join(lines)
