"""Saving a run so that it can go on exactly where it stopped.

One file, replaced atomically: a kill or a full disk leaves the previous one. It is read without
unpickling code, and refused where it belongs to another run.
"""

import pickle
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from serving.errors import IntegrityError, InvalidInputError, UnavailableError
from serving.files import replacing

FORMAT = 2


class DamagedCheckpointError(IntegrityError):
    """The file is no checkpoint that this program can read."""


class ForeignCheckpointError(InvalidInputError):
    """The checkpoint belongs to another run."""


def save_checkpoint(path: Path, run: Mapping[str, str], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in place of the previous one.

    Args:
        path: the file; its folder is made.
        run: what identifies the run (configuration, data, base); compared when it resumes.
        state: tensors, numbers, texts, lists and mappings of them.

    Raises:
        UnavailableError: the disk is full or not writable; the previous checkpoint is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save({"format": FORMAT, "run": dict(run), "state": dict(state)}, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise UnavailableError(
            f"The checkpoint {path} could not be written: {error}",
            advice="Make room and start the same command again; it goes on from the previous checkpoint.",
        ) from error


def load_checkpoint(path: Path, run: Mapping[str, str]) -> dict[str, Any] | None:
    """Read the state of a run; None where there is no checkpoint.

    Raises:
        DamagedCheckpointError: the file is damaged or no checkpoint.
        ForeignCheckpointError: it belongs to another run; the message names every difference.
    """
    if not path.exists():
        return None
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, this program reads {FORMAT}")
        found, state = dict(document["run"]), dict(document["state"])
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise DamagedCheckpointError(
            f"The checkpoint {path} cannot be read: {error}", advice="Remove it to train from the start."
        ) from error
    names = sorted(found.keys() | run.keys())
    differing = [f"{n}: {found.get(n)} then, {run.get(n)} now" for n in names if found.get(n) != run.get(n)]
    if differing:
        raise ForeignCheckpointError(
            f"The checkpoint {path} belongs to another run ({'; '.join(differing[:4])}).",
            advice="Go on with the run it belongs to, or remove it to train from the start.",
        )
    return state


def set_aside(path: Path) -> Path:
    """Rename what cannot be used, so that a run can begin anew and a person can still look at it."""
    aside = path.with_name(f"{path.name}.aside-{uuid.uuid4().hex[:8]}")
    path.rename(aside)
    return aside
