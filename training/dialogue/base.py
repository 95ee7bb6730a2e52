"""Which model a dialogue adapter is trained on: a folder of this machine, or a name of the hub.

Only a hub name uses the network, and only where the process may (`HF_HUB_OFFLINE`); otherwise the hub's
cache on this machine is looked into. Serving never downloads: it is given the folder.
"""

import os
from pathlib import Path

from serving.errors import InvalidInputError, MissingError
from training.sources import is_hub_name

_FILES = ["*.json", "*.jinja", "model*.safetensors", "tokenizer.model*", "tekken.json"]
"""What is needed of a repository; weights that stand in it once more in another layout are left out."""


def base_folder(model: str) -> Path:
    """The folder of a model.

    Args:
        model: a transformers folder, or a hub name such as `mistralai/Mistral-7B-Instruct-v0.3`.

    Raises:
        InvalidInputError: it is neither.
        MissingError: the hub has no such model, cannot be asked, or may not be.
    """
    path = Path(model)
    if (path / "config.json").is_file():
        return path
    if path.exists() or not is_hub_name(model):
        raise InvalidInputError(
            f"{model!r} is no model folder (it needs config.json) and no hub name.",
            advice="Name a transformers folder of a Mistral-family model, or OWNER/NAME.",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE", "0").lower() in {"1", "true", "yes", "on"}
    try:
        return Path(snapshot_download(model, allow_patterns=_FILES, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise MissingError(
            f"The model {model} is not in the hub's cache here, and the hub could not give it: {error}"[:400],
            advice="Copy the model to this machine and name its folder, or check the name and the network.",
        ) from error
