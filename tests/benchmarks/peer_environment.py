"""A peer's environment: made on first use under `var/bench`, from a pinned list of its own.

A peer needs other versions than requirements.lock, so it never meets our environment. What is missing (a
network, the package) is a reason to say so and to measure our side alone, never an error.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class NoPeerError(Exception):
    """The peer cannot be had here; the message says why."""


def peer_environment(name: str, requirements: Path, folder: Path) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing or of other versions.

    Raises:
        NoPeerError: it could not be made.
    """
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    _run(name, [sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(name, [*pip, "--no-deps", "-r", str(requirements)])
    heavy = [each for each in ("torch", "triton") if list(folder.glob(f"lib/*/site-packages/{each}"))]
    if heavy:
        raise NoPeerError(f"The list of {name}'s packages brought {heavy[0]}, which it does not need.")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _run(name: str, command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise NoPeerError(f"{name}'s environment cannot be made: {said[-1] if said else error}") from error
