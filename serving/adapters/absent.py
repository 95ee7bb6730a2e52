"""What is said of a model, a version or an alias that the registry does not have, and what makes it."""

from collections.abc import Mapping

from serving.adapters.kinds import RESERVED
from serving.adapters.manifest import Kind
from serving.adapters.versions import CHALLENGER, CHAMPION, PREVIOUS
from serving.errors import MissingError

_TRAINS: Mapping[Kind | None, str] = {
    Kind.INTENT: "`voicebot train` registers",
    Kind.DIALOGUE: "`voicebot train-dialogue` registers",
    None: "`voicebot train` (intents) or `voicebot train-dialogue` registers",
}
_LIST = "`adapter-control list` shows what there is"


def no_model(name: str) -> MissingError:
    """Nothing was ever registered under a name."""
    return MissingError(f"There is no adapter named {name}.", advice=f"{_LIST}; {_training(name)} one.")


def no_version(name: str, version: int) -> MissingError:
    """A model has no version of this number."""
    return MissingError(f"{name} has no version {version}.", advice=f"{_LIST}.")


def no_alias(name: str, alias: str, aliases: Mapping[str, int]) -> MissingError:
    """A model has no version under this alias.

    Args:
        name: registered model.
        alias: what was asked for.
        aliases: those that it has.
    """
    advice = {
        CHALLENGER: f"{_training(name)} a challenger.",
        CHAMPION: f"{_LIST}; `adapter-control promote` makes a champion.",
        PREVIOUS: "The second promotion leaves a previous champion.",
    }
    return MissingError(
        f"{name} has no {alias[:80]!r}; its aliases are: {', '.join(sorted(aliases)) or 'none'}.",
        advice=advice.get(alias, f"{_LIST}."),
    )


def _training(name: str) -> str:
    return _TRAINS[RESERVED.get(name)]
