"""Which code made an adapter: the commit of the checkout that runs, if it is one."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """Commit of the code.

    Attributes:
        sha: commit, or `unknown` outside a checkout.
        dirty: whether files differ from that commit.
    """

    sha: str = UNKNOWN
    dirty: bool = False


def code_version(folder: Path | None = None) -> CodeVersion:
    """Ask git about the checkout that holds `folder` (default: this package); unknown where it cannot say."""
    place = folder or Path(__file__).resolve().parent
    sha = _git(place, "rev-parse", "HEAD")
    if not sha:
        return CodeVersion()
    status = _git(place, "status", "--porcelain")
    return CodeVersion(sha, status is None or bool(status))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 (fixed program, arguments from this module)
            ["git", "-C", str(folder), *arguments],  # noqa: S607 (git from the user's own path)
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
