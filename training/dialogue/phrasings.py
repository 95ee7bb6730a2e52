"""Reads the written phrasings that dialogues are composed of (`data/tool_calls/phrasings`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any

from evaluation.dialogues import SPLITS, TOOL_SETS
from serving.errors import InvalidInputError
from training.dialogue.scenes import DRAWS

OPENING = "opening"
REPLIES_FILE, AGENT_FILE = "replies.yaml", "agent.yaml"
MINIMA: Mapping[str, int] = {"train": 8, "validate": 2, "test": 2}
"""Fewest phrasings of one pool in each split."""
_STEPS = frozenset({"caller", "call", "agent"})

Pool = Mapping[str, tuple[str, ...]]
"""Phrasings by split."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What happens in a dialogue, and the ways in which it begins.

    Attributes:
        tools: `bank` or `customer`.
        draw: names of `scenes.DRAWS`, in order.
        script: steps `{caller: pool}`, `{call: {tool: {argument: source}}}`, `{agent: pool}`.
        reason: why a card is to be blocked, where the opening says so.
        knowledge: id of the approved answer that the engine is given.
    """

    name: str
    tools: str
    script: tuple[Mapping[str, Any], ...]
    opening: Pool
    draw: tuple[str, ...] = ()
    verified: bool = False
    reason: str = ""
    knowledge: str = ""


@dataclass(frozen=True, slots=True)
class Phrasings:
    """Everything that is written by hand.

    Attributes:
        replies: what callers say later in a dialogue, by pool.
        agent: what the agent says, by pool; the same in every split.
    """

    situations: tuple[Situation, ...]
    replies: Mapping[str, Pool]
    agent: Mapping[str, tuple[str, ...]]
    problems: tuple[str, ...] = field(default=())


def load_phrasings(folder: Path) -> Phrasings:
    """Read and check all phrasings.

    Raises:
        InvalidInputError: a file cannot be read, or is of another shape; the message names it. What is
            only too little is a problem in the result.
    """
    replies = {name: _pool(name, item) for name, item in _document(folder / REPLIES_FILE).items()}
    agent = {name: _texts(name, item) for name, item in _document(folder / AGENT_FILE).items()}
    situations: dict[str, Situation] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name in {REPLIES_FILE, AGENT_FILE}:
            continue
        for name, item in _document(path).items():
            if name in situations:
                raise InvalidInputError(f"{path.name}: the situation {name} stands in another file too.")
            try:
                situations[name] = _situation(name, item)
            except (KeyError, TypeError, AttributeError) as error:
                raise InvalidInputError(f"{path.name}, {name}: no situation ({error!r}).") from error
            _check_steps(situations[name], replies, agent)
    if not situations:
        raise InvalidInputError(f"{folder} holds no situation.")
    pools = {name: situation.opening for name, situation in situations.items()} | replies
    problems = tuple(_too_few(pools))
    return Phrasings(tuple(situations.values()), replies, agent, problems)


def _document(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidInputError(f"Phrasings {path} cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"Phrasings {path} are no mapping.")
    return found


def _situation(name: str, item: Mapping[str, Any]) -> Situation:
    draw = item.get("draw", [])
    draws = (draw,) if isinstance(draw, str) else tuple(draw)
    unknown = [step for step in draws if step not in DRAWS]
    if unknown or item["tools"] not in TOOL_SETS:
        raise InvalidInputError(f"{name}: unknown draw or tools: {', '.join(unknown) or item['tools']}.")
    return Situation(
        name,
        item["tools"],
        tuple(item["script"]),
        _pool(name, item[OPENING]),
        draws,
        bool(item.get("verified", False)),
        str(item.get("reason", "")),
        str(item.get("knowledge", "")),
    )


def _check_steps(situation: Situation, replies: Mapping[str, Pool], agent: Mapping[str, Any]) -> None:
    for step in situation.script:
        ((kind, content),) = step.items()
        pool = content["pool"] if isinstance(content, dict) and kind == "caller" else content
        known = {"caller": {OPENING, *replies}, "agent": set(agent)}.get(kind)
        if kind not in _STEPS or (known is not None and pool not in known):
            raise InvalidInputError(f"{situation.name}: the step {dict(step)!r} names nothing that there is.")


def _pool(name: str, item: Mapping[str, Any]) -> Pool:
    if not isinstance(item, dict) or set(item) != set(SPLITS):
        raise InvalidInputError(f"{name}: phrasings are given for {', '.join(SPLITS)}.")
    return {split: _texts(name, item[split]) for split in SPLITS}


def _texts(name: str, items: Any) -> tuple[str, ...]:
    if not isinstance(items, list) or not items or not all(isinstance(t, str) and t.strip() for t in items):
        raise InvalidInputError(f"{name}: phrasings are a list of texts (quote yes and no).")
    for text in items:
        try:
            list(Formatter().parse(text))
        except ValueError as error:
            raise InvalidInputError(f"{name}: {text!r} is no template ({error}).") from error
    return tuple(items)


def _too_few(pools: Mapping[str, Pool]) -> list[str]:
    return [
        f"tool calls: {name} has {len(pool[split])} phrasings in {split}, at least {least} are needed"
        for name, pool in pools.items()
        for split, least in MINIMA.items()
        if len(pool[split]) < least
    ]
