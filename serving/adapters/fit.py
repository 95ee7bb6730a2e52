"""Whether an adapter's labels fit what is served: the knowledge's intents, and those of the call itself.

A tagger gives every text the nearest label that it knows. Where it lacks an intent that the knowledge
answers, a caller who asks about that is told something else, with confidence; a wrong answer is worse than
none, so an adapter that lacks an intent is refused where it is chosen, unless what serves now lacks it too:
then refusing helps nobody. A label that nobody answers does no such harm: the bot says that it cannot help.
Labels are read from the bundle; no weights are loaded here.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from serving.adapters.kinds import kind_of
from serving.adapters.manifest import Kind
from serving.errors import IntegrityError, InvalidInputError, MissingError, RefusedError, VoicebotError

if TYPE_CHECKING:
    from serving.adapters.registry import AdapterRegistry
    from serving.adapters.versions import AdapterVersion
    from serving.language.knowledge import Knowledge

OTHER_LABELS = "Train one on these intents (`voicebot train`), or put back the knowledge that it is for."
_INTENT_FILE = "intent.json"
_CONTROL = frozenset({"control"})
_UNASKED = frozenset({"control", "out_of_scope"})
_NAMED = 3
"""Intents that a message names; it counts the others."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What an adapter must tell apart; nothing at all where nobody said.

    Attributes:
        answered: intents with an approved answer. Those that a tool serves are among them.
        control: intents by which callers steer the call, such as asking for a person.
        silent: further labels that need no answer, such as out of scope.
    """

    answered: frozenset[str] = frozenset()
    control: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fit:
    """How labels and needs differ, each sorted by name.

    Attributes:
        missing: needed intents that the adapter does not know: their callers get another intent's answer.
        unanswered: labels of the adapter that nothing answers: their callers hear that the bot cannot help.
    """

    missing: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()


def fit(labels: Collection[str], needed: Needed) -> Fit:
    """Compare an adapter's labels with what is needed; where nothing is, everything fits."""
    asked = needed.answered | needed.control
    if not asked:
        return Fit()
    known = frozenset(labels)
    return Fit(tuple(sorted(asked - known)), tuple(sorted(known - asked - needed.silent)))


def lacking(label: str, missing: Collection[str]) -> str:
    """Say which intents an adapter does not know, and what that does to callers."""
    what = "an intent" if len(missing) == 1 else f"{len(missing)} intents"
    harm = "Callers who ask for that get wrong answers."
    return f"{label} does not know {what} that this bank serves: {_some(missing)}. {harm}"


def needed_by(knowledge: "Knowledge", intents: Path) -> Needed:
    """What the knowledge answers, and the control intents that the data declare.

    Args:
        knowledge: as it is served.
        intents: the data's folder of intents; without it, no control intent is needed.

    Raises:
        InvalidInputError: a file there cannot be read.
    """
    kinds = _kinds(intents)
    control = frozenset(name for name, kind in kinds.items() if kind in _CONTROL)
    silent = frozenset(name for name, kind in kinds.items() if kind in _UNASKED)
    return Needed(frozenset(answer.intent for answer in knowledge.answers), control, silent)


def needed_by_server(knowledge: "Knowledge", intents: Path) -> Needed:
    """As `needed_by`, but a file that cannot be read keeps no server from starting.

    It is logged, and what the knowledge answers is needed all the same.
    """
    try:
        return needed_by(knowledge, intents)
    except InvalidInputError as error:
        logger.error("adapters are compared with the knowledge alone: {}", error)
        return Needed(frozenset(answer.intent for answer in knowledge.answers))


def load_needed(data: Path) -> Needed:
    """What servers with this data folder need.

    Raises:
        InvalidInputError: its knowledge or its intents cannot be read.
    """
    from serving.language.knowledge import load_knowledge

    return needed_by(load_knowledge(data / "knowledge" / "answers.yaml"), data / "intents")


def labels_of(bundle: Path) -> tuple[str, ...]:
    """The labels of an intent adapter, from a bundle that was verified.

    Raises:
        IntegrityError: it does not say them.
    """
    try:
        document = json.loads((bundle / _INTENT_FILE).read_text(encoding="utf-8"))
        return tuple(str(label) for label in document["labels"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"{_INTENT_FILE} of the adapter cannot be used: {error}") from error


def fit_of(registry: "AdapterRegistry", version: "AdapterVersion") -> Fit:
    """How a registered version fits what this installation serves; a dialogue adapter has no labels.

    Raises:
        InvalidInputError: knowledge or intents cannot be read.
        IntegrityError: the version does not say its labels.
    """
    if kind_of(version) != Kind.INTENT:
        return Fit()
    return fit(labels_of(version.bundle), registry.needed())


def missing_of(registry: "AdapterRegistry", name: str, ref: int | str | None) -> tuple[str, ...]:
    """What a version lacks that may serve now; nothing where there is none, or nobody can tell its labels.

    Raises:
        InvalidInputError: knowledge or intents cannot be read.
        UnavailableError: the registry does not answer.
    """
    if ref is None:
        return ()
    try:
        return fit_of(registry, registry.get(name, ref)).missing
    except (IntegrityError, MissingError):
        return ()


def require_fit(
    registry: "AdapterRegistry",
    version: "AdapterVersion",
    present: Callable[[], Collection[str]] = tuple,
) -> Fit:
    """Refuse a version that would take right answers from callers; call `verify` first.

    Args:
        registry: of this installation.
        version: the one that shall serve.
        present: tells what the adapter lacks that serves now; asked where the version lacks something.

    Raises:
        RefusedError: it lacks intents that are needed, and that the present one knows.
        VoicebotError: as for `fit_of`, and what `present` raises.
    """
    found = fit_of(registry, version)
    if found.missing and (lost := set(found.missing) - set(present())):
        told = lacking(version.label, found.missing)
        if len(lost) < len(found.missing):
            told = f"{told} What serves now knows {_some(lost)}."
        raise RefusedError(told, advice=f"{OTHER_LABELS} A waiver does not cover it.")
    return found


def warning_of(registry: "AdapterRegistry", version: "AdapterVersion") -> str:
    """What an operator must know of a version that is to serve whatever its labels; empty where they fit."""
    try:
        found = fit_of(registry, version)
    except VoicebotError as error:
        return f"Whether {version.label} fits the knowledge is not known: {error}"
    if found.missing:
        return f"{lacking(version.label, found.missing)} {OTHER_LABELS}"
    if found.unanswered:
        return (
            f"{version.label} knows {len(found.unanswered)} labels that nothing answers, "
            f"{found.unanswered[0]} for one; their callers are told that the bot cannot help."
        )
    return ""


def _some(names: Collection[str]) -> str:
    first = ", ".join(sorted(names)[:_NAMED])
    return f"{first} and {len(names) - _NAMED} more" if len(names) > _NAMED else first


def _kinds(intents: Path) -> dict[str, str]:
    """Kind by label of every file in a folder of intents; hidden files and empty ones say nothing."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, str] = {}
    for path in sorted(intents.glob("[!.]*.yaml")):
        try:
            content = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506  # both are safe
            if content is not None:
                found |= {str(label): str(intent.get("kind", "")) for label, intent in content.items()}
        except (OSError, yaml.YAMLError, AttributeError, ValueError) as error:
            raise InvalidInputError(
                f"Intents {path} cannot be read: {error}.", advice="`voicebot check-data` says more."
            ) from error
    return found
