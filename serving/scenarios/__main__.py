"""`python -m serving.scenarios`: scenario testing with Chainlit's own files below the installation's home.

Takes the options of `chainlit run`: `--port`, `--host`, `--headless` and so on.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from serving.errors import MissingError, UnavailableError, VoicebotError
from serving.files import make_folder
from serving.settings import Settings

APP = Path(__file__).with_name("app.py")


def environment(settings: Settings) -> dict[str, str]:
    """The environment for Chainlit: its root is a private folder below `home`.

    Raises:
        MissingError: Chainlit is not installed.
        UnavailableError: the folder cannot be made.
    """
    if find_spec("chainlit") is None:
        raise MissingError(
            "Chainlit is not installed.", advice='Install it: pip install "voicebot[scenarios]".'
        )
    root = settings.home.resolve() / "scenarios"
    try:
        make_folder(root)
    except OSError as error:
        raise UnavailableError(
            f"The folder {root} cannot be made: {error.strerror}.",
            advice="Set VOICEBOT_HOME to a folder of yours.",
        ) from error
    return {**os.environ, "CHAINLIT_APP_ROOT": str(root)}


def main() -> None:
    """Become `chainlit run` with this project's page."""
    try:
        prepared = environment(Settings.load())
    except VoicebotError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from error
    os.umask(0o077)  # what Chainlit writes is nobody else's business
    os.execve(  # noqa: S606 (no shell, our own interpreter)
        sys.executable, [sys.executable, "-m", "chainlit", "run", str(APP), *sys.argv[1:]], prepared
    )


if __name__ == "__main__":
    main()
