"""Offline and quiet: what Prefect, MLflow and the model libraries are told before they start.

Called by entry points before Prefect is imported; importing a flow module changes nothing. A value that is
already in the environment wins, so that a server deployment keeps its own.
"""

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from serving.errors import VoicebotError
from serving.settings import Settings

_SENDERS = ("EventsWorker", "APILogWorker")
"""Prefect's queues, whose loggers no setting reaches; they warn when a busy machine ends slowly."""


class PrefectImportedError(VoicebotError):
    """Prefect reads its environment once, when it is imported; it is too late now."""


def go_offline(settings: Settings, *, verbose: bool = False, hub: bool = False) -> None:
    """Set the environment of this process and of the servers it starts.

    Args:
        settings: Prefect's own files go to `home/prefect`.
        verbose: let Prefect log its flow and task runs.
        hub: the user named a dataset of the hub, so the hub may be asked.

    Raises:
        PrefectImportedError: Prefect was imported before.
    """
    values = offline_environment(settings, verbose=verbose, hub=hub)
    missing = {name: value for name, value in values.items() if name not in os.environ}
    if "prefect" in sys.modules and any(name.startswith("PREFECT_") for name in missing):
        raise PrefectImportedError("Prefect was imported before its environment was set.")
    os.environ.update(missing)
    for name in _SENDERS:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.CRITICAL)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def offline_environment(settings: Settings, *, verbose: bool = False, hub: bool = False) -> dict[str, str]:
    """What `go_offline` sets where nothing else is set; its arguments are the same."""
    return {
        "PREFECT_HOME": str((settings.home / "prefect").resolve()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The default of 20 s is not enough for the first start on a busy machine.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "true",  # MLflow knows `true` only, Prefect takes both
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "0" if hub else "1",
        "HF_DATASETS_OFFLINE": "0" if hub else "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Torch's threads wait by spinning; beside any other work on the same cores that costs 20 times.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def run_command(name: str) -> NoReturn:
    """Become `voicebot NAME` with the arguments of this process.

    For `python -m flows.…`: running a flow's module imports Prefect before anything can be set, so the
    process starts again through the command, which sets it in time.
    """
    arguments = [sys.executable, "-m", "flows.cli", name, *sys.argv[1:]]
    sys.stdout.flush()
    os.execv(sys.executable, arguments)  # noqa: S606  # our own interpreter and module
