"""Settings: every source counts, every mistake is named, and no value of a secret is ever shown."""

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

import serving
from serving import settings as module
from serving.errors import InvalidInputError
from serving.settings import Settings, default_data_dir

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(**overrides: object) -> str:
    with pytest.raises(InvalidInputError) as caught:
        Settings.load(**overrides)
    return str(caught.value)


def test_without_any_source_the_defaults_hold() -> None:
    found = Settings.load()
    assert (found.profile, found.stt, found.home) == ("embedded", "auto", Path("var"))
    assert found.mlflow_uri == f"sqlite:///{Path('mlruns').resolve() / 'mlflow.db'}"
    assert found.records_url == f"sqlite:///{Path('var').resolve() / 'calls.db'}"


def test_an_argument_wins_over_the_environment_and_that_over_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "voicebot.toml").write_text('tts = "kokoro"\nstt = "whisper"\nllm = "local"\nport = 9000\n')
    monkeypatch.setenv("VOICEBOT_STT", "pocketsphinx")
    monkeypatch.setenv("VOICEBOT_LLM", "mistral")
    found = Settings.load(llm="embedded")
    assert (found.tts, found.stt, found.llm, found.port) == ("kokoro", "pocketsphinx", "embedded", 9000)


def test_the_file_that_the_environment_names_replaces_the_one_of_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "voicebot.toml").write_text("port = 1\n")
    (folder / "other.toml").write_text("max_failures = 5\n")
    monkeypatch.setenv("VOICEBOT_CONFIG", "other.toml")
    found = Settings.load()
    assert (found.port, found.max_failures) == (8080, 5)


def test_a_named_file_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOT_CONFIG", "absent.toml")
    assert "Settings file absent.toml, which VOICEBOT_CONFIG names, does not exist" in refusal()


def test_a_named_file_that_is_a_folder_is_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEBOT_CONFIG", str(tmp_path))
    assert f"Settings file {tmp_path}, which VOICEBOT_CONFIG names, is no file." in refusal()


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PII_KEY", "PORT", "CONFIG"):
        monkeypatch.setenv(f"VOICEBOT_{name}", "")
    found = Settings.load()
    assert (found.home, found.pii_key, found.port) == (Path("var"), None, 8080)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VOICEBOT_HOEM", "VOICEBOT_HOME"),
        ("VOICEBOT_BANKNAME", "VOICEBOT_BANK_NAME"),
        ("voicebot_prot", "VOICEBOT_PORT"),
        ("VOICEBOT_MISTRAL_KEY", "VOICEBOT_MISTRAL_API_KEY"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "1")
    said = refusal()
    assert f"Unknown setting {name}." in said
    assert f"Did you mean {meant}?" in said


@pytest.mark.parametrize(
    ("line", "meant"), [('hoem = "x"', "home"), ('Bank_Nam = "x"', "bank_name"), ("[zzz]\nport = 1", "")]
)
def test_an_unknown_name_in_the_file_is_refused_with_the_nearest_name(
    folder: Path, line: str, meant: str
) -> None:
    (folder / "voicebot.toml").write_text(line)
    said = refusal()
    assert "Unknown setting" in said
    assert f"Did you mean {meant}?" in said if meant else "docs/operations.md" in said


def test_an_unknown_argument_is_refused_as_in_every_other_source() -> None:
    assert "Unknown setting 'extra'" in refusal(extra=1)


@pytest.mark.parametrize(
    "content",
    [b"port = ", b"port = 1\nport = 2", b"port: 1", b"= 1", b"[", b'home = "\xff\xfe"', b"\x00", b"\xff\xfe"],
    ids=repr,
)
def test_a_broken_file_is_one_clear_error_with_its_name(folder: Path, content: bytes) -> None:
    (folder / "voicebot.toml").write_bytes(content)
    said = refusal()
    assert "Settings file voicebot.toml" in said
    assert "\n" not in said


def test_a_file_that_may_not_be_read_is_one_clear_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "voicebot.toml").write_text("port = 1\n")

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "Settings file voicebot.toml cannot be read: Permission denied" in refusal()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("profile", "staging"),
        ("stt", "deepgram"),
        ("port", "65536"),
        ("port", "-1"),
        ("port", "eighty"),
        ("max_failures", "0"),
        ("vad_threshold", "1"),
        ("vad_threshold", "nan"),
        ("tool_timeout_s", "inf"),
        ("tool_timeout_s", "0"),
        ("max_wav_s", "inf"),
        ("keep_recordings", "maybe"),
        ("mistral_max_retries", "1.5"),
        ("jurisdiction", "California"),
        ("jurisdiction", "us"),
        ("currency", "dollars"),
        ("bank_name", "x" * 81),
        ("bank_name", "{greeting}"),
        ("bank_name", "A\x1b[31mB"),
        ("bank_name", " "),
    ],
)
def test_a_bad_value_is_refused_by_name_from_the_environment_and_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    (folder / "voicebot.toml").write_text(f"{name} = {json.dumps(value)}\n")
    assert f"Setting '{name}'" in refusal()
    (folder / "voicebot.toml").unlink()
    monkeypatch.setenv(f"VOICEBOT_{name.upper()}", value)
    assert f"Setting '{name}'" in refusal()


def test_every_mistake_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOT_PORT", "x")
    monkeypatch.setenv("VOICEBOT_STT", "y")
    said = refusal(max_failures=99)
    assert all(f"Setting '{name}'" in said for name in ("port", "stt", "max_failures"))


def test_no_error_and_no_print_shows_a_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cret-value-of-someone"
    monkeypatch.setenv("VOICEBOT_MISTRAL_API_KEY", secret)
    monkeypatch.setenv("VOICEBOT_PII_KEY", secret)
    monkeypatch.setenv("VOICEBOT_DATABASE_URL", f"postgresql://bot:{secret}@host/db")
    monkeypatch.setenv("VOICEBOT_TRACKING_URI", f"postgresql://bot:{secret}@host/mlflow")
    found = Settings.load()
    assert secret not in repr(found) + str(found)
    assert found.mistral_api_key == SecretStr(secret)
    assert secret in found.records_url
    for name in ("PORT", "STT", "TOOL_TIMEOUT_S", "KEEP_RECORDINGS", "JURISDICTION"):
        monkeypatch.setenv(f"VOICEBOT_{name}", secret)
    assert secret not in refusal()
    (folder / "voicebot.toml").write_text(f'mistral_api_key = {{a = "{secret}"}}\npii_key = ["{secret}"]\n')
    monkeypatch.delenv("VOICEBOT_MISTRAL_API_KEY")
    monkeypatch.delenv("VOICEBOT_PII_KEY")
    said = refusal()
    assert "'pii_key'" in said
    assert secret not in said


def test_settings_do_not_change_once_they_are_read() -> None:
    found = Settings.load()
    with pytest.raises(ValidationError, match="frozen"):
        found.port = 1  # type: ignore[misc]  # the attempt is the test


def test_reading_settings_creates_nothing(folder: Path) -> None:
    found = Settings.load()
    assert found.mlflow_uri
    assert found.records_url
    assert list(folder.iterdir()) == []


def test_in_a_checkout_the_data_is_the_checkouts_from_any_folder() -> None:
    assert default_data_dir() == ROOT / "data"
    assert (Settings.load().data / "compliance").is_dir()


def test_a_data_folder_that_is_named_wins(folder: Path) -> None:
    assert Settings.load(data_dir=folder).data == folder


def test_in_an_installed_wheel_the_data_is_the_wheels_and_not_a_neighbours(folder: Path) -> None:
    """The layout that the wheel has: serving/_data, and a `data` of another distribution beside it."""
    package = folder / "serving"
    package.mkdir()
    for name in ("__init__.py", "settings.py", "errors.py"):
        shutil.copy(Path(serving.__file__).parent / name, package / name)
    (package / "_data").mkdir()
    (folder / "data" / "intents").mkdir(parents=True)
    code = "from serving.settings import default_data_dir; print(default_data_dir())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    assert Path(done.stdout.strip()) == package / "_data"


def test_every_setting_has_a_default_that_is_valid() -> None:
    fields = module.Settings.model_fields
    assert len(fields) > 40
    assert not [name for name, field in fields.items() if field.is_required()]
    Settings(**{name: field.default for name, field in fields.items() if field.default is not None})


# The bank's day


@pytest.mark.parametrize(
    ("zone", "hour", "day"),
    [
        ("America/New_York", 4, date(2026, 11, 20)),
        ("America/New_York", 5, date(2026, 11, 21)),
        ("UTC", 0, date(2026, 11, 21)),
        ("Asia/Tokyo", 15, date(2026, 11, 22)),
    ],
)
def test_the_banks_day_begins_at_midnight_of_its_zone(zone: str, hour: int, day: date) -> None:
    assert Settings(timezone=zone).today(datetime(2026, 11, 21, hour, tzinfo=UTC)) == day


def test_the_banks_day_does_not_depend_on_the_machines_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, behind = Settings(timezone="Pacific/Kiritimati"), Settings(timezone="Pacific/Pago_Pago")
    for machine in ("Asia/Tokyo", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", machine)
        time.tzset()
        assert ahead.today() > behind.today(), "25 hours apart"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "name",
    [
        "Mars/Base",
        "America",
        "EST5EDT4",
        "/etc/localtime",
        "../zone",
        " UTC",
        "zone.tab",
        "\x00",
        "x" * 5_000,
    ],
)
def test_a_time_zone_that_nobody_knows_is_one_clear_error(name: str) -> None:
    said = refusal(timezone=name)
    assert said.startswith("Setting 'timezone':")
    assert "IANA" in said
    assert len(said) < 200


# Pages that may open a line


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        ("https://desk.example", ("https://desk.example",)),
        ("https://desk.example , http://10.0.0.3:8443,", ("https://desk.example", "http://10.0.0.3:8443")),
        ('["https://desk.example", "http://[::1]:80"]', ("https://desk.example", "http://[::1]:80")),
        (" , ", ()),
    ],
)
def test_origins_stand_in_the_environment_with_commas_between_them(
    monkeypatch: pytest.MonkeyPatch, written: str, origins: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VOICEBOT_ALLOWED_ORIGINS", written)
    assert Settings.load().allowed_origins == origins


def test_origins_are_a_list_in_the_file(folder: Path) -> None:
    (folder / "voicebot.toml").write_text('allowed_origins = ["https://a.example", "https://b.example"]\n')
    assert Settings.load().allowed_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    "origin",
    [
        "desk.example", "https://", "https://desk.example/page", "https://desk.example/", "ftp://desk.example",
        "https://u:p@desk.example", "https://desk.example:99999", "https://desk.example:", "https://a b",
        "null", "https://*.example", "https://desk.example?x", "https://[", "[1", "[1]", "{}",
    ],
)  # fmt: skip
def test_what_no_browser_sends_as_an_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("VOICEBOT_ALLOWED_ORIGINS", origin)
    assert "allowed_origins" in refusal()


def test_a_value_that_cannot_even_be_read_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(Settings):
        pairs: dict[str, str] | None = None

    monkeypatch.setenv("VOICEBOT_PAIRS", "s3cret, which is no JSON")
    with pytest.raises(InvalidInputError, match="pairs") as caught:
        Wider.load()
    assert "s3cret" not in str(caught.value)
