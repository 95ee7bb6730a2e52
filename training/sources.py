"""Where labelled texts come from: the project's YAML folder, a CSV or JSONL file, or a dataset of the hub.

Each reader gives the same rows for the same data. Only the hub reader uses the network, and only when
the name is no path on this machine; code of a dataset repository is never run.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, MissingError, UnavailableError
from training.config import TrainConfig
from training.data import Dataset, Splits, hold_out, make_dataset
from training.row_files import read_file, text_and_label

SPLIT_KEYS = {"train": "train", "validate": "validation", "test": "test"}
"""Names of the splits in data/intents/*.yaml and here."""
_CONVERTED = "refs/convert/parquet"
"""Branch of the hub with the data of repositories that still hold a loading script."""
_MAX_YAML_BYTES = 5_000_000
_SPLIT_SEED = 0
"""The validation split is the same for every training seed, so that seeds can be compared."""

Intents = Mapping[str, Mapping[str, Any]]


def load_splits(
    source: str | Path,
    *,
    config: TrainConfig | None = None,
    test: Path | None = None,
    cache: Path | None = None,
) -> Splits:
    """Read train, validation and test of a source.

    Args:
        source: a folder of YAML intents, a CSV or JSONL file, a dataset folder, or a hub name (`owner/name`).
        config: the recipe, for the share of train to hold out where the source brings no validation split,
            and for the number of shots; default: the usual share, all texts.
        test: CSV or JSONL file with the test split; replaces the source's own.
        cache: where the datasets library keeps its files; default: its own place.

    Raises:
        InvalidInputError: a row, a label or a column cannot be used; the message names the file.
        MissingError: no such file or dataset.
        UnavailableError: the hub does not answer.
    """
    recipe = config or TrainConfig()
    given = _read_all(source, cache)
    if "train" not in given:
        raise InvalidInputError(f"{source}: there is no train split, only {sorted(given)}.")
    train, validation = given["train"], given.get("validation")
    if validation is None:
        train, validation = hold_out(train, recipe.validation_share, _SPLIT_SEED)
    known = set(train.labels)
    held = read_file(test, "test", known=known) if test else given.get("test")
    splits = Splits(train, validation, held, _name_of(source))
    return splits.few_shot(recipe.shots, recipe.shots_seed)


def _name_of(source: str | Path) -> str:
    """What artefacts call a source: a hub name, or a path's last part, which tells nothing of the machine."""
    return str(source) if is_hub_name(str(source)) else Path(source).resolve().name


def _read_all(source: str | Path, cache: Path | None) -> dict[str, Dataset]:
    path = Path(source)
    if path.is_dir() and any(path.glob("*.yaml")):
        return read_intents(path)
    if path.is_file():
        return {"train": read_file(path, "train")}
    if path.is_dir() or is_hub_name(str(source)):
        return read_hub(str(source), cache=cache)
    raise MissingError(
        f"There is no data at {source}.",
        advice="Give a folder of YAML intents, a CSV or JSONL file with text and category, or a hub name "
        "such as PolyAI/banking77.",
    )


# Project YAML


def read_intents(folder: Path) -> dict[str, Dataset]:
    """Read the project's own intents: a dataset for each split that the files hold.

    Raises:
        InvalidInputError: a file is no such YAML, a label stands in two files, or a text cannot be used.
        MissingError: the folder holds no YAML file.
    """
    rows: dict[str, list[tuple[str, str]]] = {}
    origin: dict[str, str] = {}
    for path in intent_files(folder):
        for label, entry in read_intent_file(path).items():
            if label in origin:
                raise InvalidInputError(f"{path.name}: the label {label!r} stands in {origin[label]} too.")
            origin[label] = path.name
            texts = {split: _texts(entry, key, label, path) for key, split in SPLIT_KEYS.items()}
            if not texts["train"]:
                raise InvalidInputError(
                    f"{path.name}: {label!r} has no training text.",
                    advice="Write some, or remove the intent; a model would call it something else.",
                )
            for split, own in texts.items():
                rows.setdefault(split, []).extend((text, label) for text in own)
    return {split: make_dataset(found, split, str(folder)) for split, found in rows.items() if found}


def intent_files(folder: Path) -> list[Path]:
    """The YAML files of a data folder, in alphabetical order.

    Raises:
        MissingError: there is none.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise MissingError(f"There are no intents (*.yaml) in {folder}.")
    return files


def read_intent_file(path: Path) -> Intents:
    """Read one file as label → entry; a key that stands twice is an error, not silently dropped.

    Raises:
        InvalidInputError: it is no YAML of that shape, or too large.
    """
    import yaml

    try:
        if path.stat().st_size > _MAX_YAML_BYTES:
            raise InvalidInputError(f"{path.name} is larger than {_MAX_YAML_BYTES} bytes.")
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_strict_loader())  # noqa: S506 (safe)
    except OSError as error:
        raise InvalidInputError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{path.name} is no YAML file: {error}") from error
    if not isinstance(document, dict) or not document:
        raise InvalidInputError(f"{path.name} must map each label to its texts.")
    for label, entry in document.items():
        if not isinstance(label, str) or not isinstance(entry, dict):
            raise InvalidInputError(f"{path.name}: {label!r} must be a label with a mapping of its texts.")
    return document


def _texts(entry: Mapping[str, Any], key: str, label: str, path: Path) -> list[str]:
    texts = entry.get(key) or []
    wrong = not isinstance(texts, list) or any(not isinstance(text, str) for text in texts)
    if wrong:
        raise InvalidInputError(
            f"{path.name}: {key} of {label!r} must be a list of texts.",
            advice="Quote texts that YAML reads as something else, such as yes, no or a number.",
        )
    return list(texts)


def _strict_loader() -> Any:
    """YAML's safe loader without aliases (a few bytes can unfold to gigabytes) and without double keys."""
    import yaml

    class StrictLoader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                name = self.construct_object(key, deep=True)
                if name in seen:
                    raise yaml.YAMLError(f"the key {name!r} stands twice ({key.start_mark})")
                seen.add(name)
            return super().construct_mapping(node, deep=deep)

    return StrictLoader


# Hub


def read_hub(name: str, *, cache: Path | None = None) -> dict[str, Dataset]:
    """Read a dataset through the datasets library: a hub name, or a folder in the hub's layout.

    Raises:
        MissingError: there is no such dataset.
        UnavailableError: the hub does not answer.
        InvalidInputError: it has no text and label columns, or a row cannot be used.
    """
    with _no_bars():
        loaded = _translated(name, lambda: _load(name, cache))
    found = {}
    for split, rows in loaded.items():
        place = {"valid": "validation", "dev": "validation"}.get(split, split)
        text, label = text_and_label(list(rows.column_names), name)
        names = getattr(rows.features[label], "names", None)
        labels = [names[i] for i in rows[label]] if names else [str(value) for value in rows[label]]
        empty = sorted(set(names or ()) - set(labels)) if place == "train" else []
        if empty:
            raise InvalidInputError(
                f"{name}: the class {empty[0]!r} has no training text.",
                advice="Remove the name from the dataset's classes, or add texts.",
            )
        found[place] = make_dataset(list(zip(rows[text], labels, strict=True)), place, name)
    return found


def _load(name: str, cache: Path | None) -> Any:
    from datasets import load_dataset

    options = {"cache_dir": str(cache) if cache else None}
    try:
        return load_dataset(name, **options)
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        return load_dataset(name, revision=_CONVERTED, **options)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Bars of the datasets library off inside; who runs us may have a display of its own."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def _translated(name: str, load: Callable[[], Any]) -> Any:
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load()
    except DatasetNotFoundError as error:
        raise MissingError(
            f"There is no path {name!r} here, and the hub has no such dataset: {error}",
            advice="Check the name, or give the path of a folder or a CSV file.",
        ) from error
    except (ConnectionError, TimeoutError, OSError) as error:
        raise UnavailableError(
            f"There is no path {name!r} here, and the hub could not be asked for it: {error}",
            advice="Try again with a connection, or give the path of a CSV file.",
        ) from error
    except (ValueError, RuntimeError) as error:
        raise InvalidInputError(f"The dataset {name!r} cannot be read: {error}") from error


def is_hub_name(source: str) -> bool:
    """Whether a source is looked up on the hub: `owner/name`, where nothing here looks like it.

    Below a folder that is here, such as `data/`, a wrong name is a misspelt path and stays off the network.
    """
    owner, _, name = source.partition("/")
    if Path(source).exists() or Path(owner).is_dir():
        return False
    return bool(owner and name) and "/" not in name and not source.startswith((".", "/", "~"))
