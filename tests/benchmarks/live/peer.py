"""Pipecat's environment, from a pinned list of its own: it needs other versions than requirements.lock."""

from pathlib import Path

from tests.benchmarks.peer_environment import ROOT, NoPeerError, peer_environment

__all__ = ["ROOT", "NoPeerError", "peer_python"]
REQUIREMENTS = Path(__file__).with_name("pipecat-requirements.txt")
FOLDER = ROOT / "var" / "bench" / "pipecat"


def peer_python(folder: Path = FOLDER) -> Path:
    """The interpreter that has Pipecat.

    Raises:
        NoPeerError: its environment could not be made.
    """
    return peer_environment("Pipecat", REQUIREMENTS, folder)
