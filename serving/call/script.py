"""Call scripts (`data/calls`): what a caller says, and what a right bot does with it.

Scripts are test material: demo calls, end-to-end tests and speech evaluation read them, training never does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, MissingError


@dataclass(frozen=True, slots=True)
class ScriptTurn:
    """One line of the caller.

    Attributes:
        say: the words.
        noise_snr_db: signal-to-noise ratio of noise mixed in, dB; None for a clean line.
        expect: what the record of the turn must show (intent, decision, tool, arguments, says).
    """

    say: str
    noise_snr_db: float | None = None
    expect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallScript:
    """A whole call.

    Attributes:
        outcome: `resolved`, `transferred` or `abandoned`: how the caller sees it.
        survey: 1 to 5; None where the caller gives none.
    """

    id: str
    title: str
    turns: tuple[ScriptTurn, ...]
    outcome: str
    survey: int | None = None


OUTCOMES = frozenset({"resolved", "transferred", "abandoned"})


def load_script(folder: Path, name: str) -> CallScript:
    """Read one script by its id.

    Raises:
        MissingError: no such script; the message lists those there are.
        InvalidInputError: the file is not a script.
    """
    path = folder / f"{name}.yaml"
    known = sorted(item.stem for item in folder.glob("*.yaml"))
    if name not in known:
        there = f"There are: {', '.join(known)}."
        none = f"{folder} holds none; point VOICEBOT_DATA_DIR to the project's data folder."
        raise MissingError(f"There is no call script {name!r}.", advice=there if known else none)
    return _read(path)


def load_scripts(folder: Path) -> list[CallScript]:
    """All scripts of a folder, by id."""
    return [_read(path) for path in sorted(folder.glob("*.yaml"))]


def _read(path: Path) -> CallScript:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        turns = tuple(_turn(turn) for turn in data["turns"])
        script = CallScript(data["id"], str(data["title"]), turns, data["outcome"], data.get("survey"))
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInputError(f"Call script {path} cannot be read: {error!r}.") from error
    if script.id != path.stem or script.outcome not in OUTCOMES or not turns:
        raise InvalidInputError(
            f"Call script {path} needs its file name as id, turns, and an outcome out of {sorted(OUTCOMES)}."
        )
    if script.survey not in {None, 1, 2, 3, 4, 5}:
        raise InvalidInputError(f"Call script {path} needs a survey from 1 to 5, or none.")
    return script


def _turn(data: Mapping[str, Any]) -> ScriptTurn:
    say, noise, expect = data["say"], data.get("noise_snr_db"), data.get("expect", {})
    if not isinstance(say, str) or not say.strip():
        raise ValueError(f"a turn says {say!r}; it needs words")
    if noise is not None and (isinstance(noise, bool) or not isinstance(noise, int | float)):
        raise ValueError(f"noise_snr_db is {noise!r}; it needs decibels")
    if not isinstance(expect, Mapping):
        raise ValueError(f"expect is {expect!r}; it needs a mapping")
    return ScriptTurn(say, None if noise is None else float(noise), expect)
