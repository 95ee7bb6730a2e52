"""Composes dialogues from the written phrasings, drawn values and the tools' real results.

The same seed gives the same file. A dialogue is kept only where the checker finds nothing wrong with it;
values that do not fit a phrasing (heard as something else in its words) are drawn again.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from random import Random
from typing import Any

from evaluation.dialogues import SPLITS, Dialogue, json_arguments
from serving.call.dialogue import DialogueState
from serving.call.policy import identifying
from serving.errors import InvalidInputError
from serving.language.protocols import Message, ToolCall
from serving.language.tool_format import call_id
from serving.spoken import Kind, parse
from serving.telemetry.redaction import redact
from serving.tools.money import read_number
from training.dialogue.check import dialogue_problems
from training.dialogue.desk import OpenDialogue, ToolDesk, result_message
from training.dialogue.phrasings import OPENING, Phrasings, Situation
from training.dialogue.scenes import DRAWS, Scene
from training.dialogue.words import agent_words

SEED = 20_261_121
DAYS = (date(2026, 11, 23), date(2026, 12, 9), date(2027, 1, 19), date(2027, 3, 4), date(2027, 6, 11))
"""Business days on which dialogues are held; the rate sheet holds for all of them."""
REPEATS: Mapping[str, int] = {"train": 1, "validate": 1, "test": 2}
"""Dialogues that begin with the same phrasing, with values of their own."""
TRIES = 40


def compose(phrasings: Phrasings, desk: ToolDesk, *, seed: int = SEED) -> Iterator[Dialogue]:
    """All dialogues, situation by situation.

    Raises:
        InvalidInputError: a phrasing for which no values fit; the message says what was wrong at last.
    """
    for situation in phrasings.situations:
        number = 0
        for split in SPLITS:
            for opening in situation.opening[split]:
                for _ in range(REPEATS[split] if situation.draw else 1):
                    number += 1
                    name = f"{situation.name}-{number:03d}"
                    yield _fitting(name, split, situation, opening, phrasings, desk, seed)


def _fitting(
    name: str,
    split: str,
    situation: Situation,
    opening: str,
    phrasings: Phrasings,
    desk: ToolDesk,
    seed: int,
) -> Dialogue:
    problems: list[str] = ["nothing was tried"]
    for attempt in range(TRIES):
        random = Random(f"{seed}/{name}/{attempt}")  # noqa: S311  # no secrets
        dialogue = _Composer(name, split, situation, opening, phrasings, desk, random).dialogue()
        problems = dialogue_problems(dialogue, desk)
        if not problems:
            return dialogue
    raise InvalidInputError(f"No values fit {situation.name}, {opening!r}: {problems[0]}")


class _Composer:
    """One dialogue in the making."""

    def __init__(
        self,
        name: str,
        split: str,
        situation: Situation,
        opening: str,
        phrasings: Phrasings,
        desk: ToolDesk,
        random: Random,
    ) -> None:
        self.name, self.split, self.situation, self.opening = name, split, situation, opening
        self.phrasings, self.desk, self.random = phrasings, desk, random
        self.scene = Scene(random, random.choice(DAYS), desk.rates, desk.people)
        for draw in situation.draw:
            DRAWS[draw](self.scene)
        self.messages: list[Message] = []
        self.said: dict[str, str] = {}
        self.latest: dict[str, Mapping[str, Any]] = {}

    def dialogue(self) -> Dialogue:
        """Play the script."""
        situation, scene = self.situation, self.scene
        customer = scene.customer.number if scene.customer else ""
        knowledge = (self._approved(),) if situation.knowledge else ()
        opened = self.desk.open(situation.tools, scene.day, customer, verified=situation.verified)
        for step in situation.script:
            ((kind, content),) = step.items()
            if kind == "caller":
                self._caller(content, opened)
            elif kind == "call":
                self._call(content, opened)
            else:
                self._agent(content, knowledge)
        return Dialogue(
            id=self.name,
            split=self.split,
            situation=situation.name,
            tools=situation.tools,
            day=scene.day,
            messages=tuple(self.messages),
            verified=situation.verified,
            customer=customer,
            knowledge=knowledge,
            placeholders=self.said,
        )

    def _caller(self, content: Any, opened: OpenDialogue) -> None:
        pool, expected = content, None
        if isinstance(content, dict):
            pool, expected = content["pool"], Kind(content["expect"])
        phrasing = (
            self.opening if pool == OPENING else self.random.choice(self.phrasings.replies[pool][self.split])
        )
        text = phrasing.format_map(self.scene.words())
        found = parse(text, today=self.scene.day, expect=expected)
        asked = expected in {Kind.ACCOUNT, Kind.BIRTH_DATE}
        redacted = redact(
            text,
            identifying(found, text, DialogueState()),
            known=opened.placeholders,
            expecting=expected if asked else None,
        )
        added = {k: v for k, v in redacted.placeholders.items() if k not in opened.placeholders}
        self.said |= added
        opened.placeholders |= added
        opened.values += redacted.values
        opened.turn += 1
        self.messages.append(Message("user", redacted.text))

    def _call(self, content: Mapping[str, Mapping[str, Any]], opened: OpenDialogue) -> None:
        ((tool, sources),) = content.items()
        arguments = {name: self._argument(source, opened) for name, source in sources.items()}
        taken = {call.id for message in self.messages for call in message.tool_calls}
        identifier = call_id(None, f"{self.name}/{len(self.messages)}", taken)
        call = ToolCall(identifier, tool, json_arguments(arguments))
        result = opened.execute(call, confirmed=opened.turn > 1)
        self.latest[tool] = result.value if result.ok else {}
        self.messages.append(Message("assistant", "", (call,)))
        self.messages.append(result_message(call, result))

    def _argument(self, source: Any, opened: OpenDialogue) -> Any:
        """A literal (`=KYC`), a result's field (`get_rate.annual_rate`), or a drawn value."""
        if isinstance(source, list):
            return [self._argument(item, opened) for item in source]
        if source.startswith("="):
            return source[1:]
        if source == "card_id":
            return self._card().get("id", "")
        if source == "reason":
            return self.situation.reason
        if source in {"number", "birth", "wrong_birth"}:
            true = str(self.scene.values[source].value)
            return next((name for name, value in opened.placeholders.items() if value == true), true)
        tool, _, name = source.partition(".")
        if name:
            value = self.latest.get(tool, {}).get(name)
            number = read_number(value)
            return number if number is not None else value
        return self.scene.values[source].value

    def _card(self) -> Mapping[str, Any]:
        kind = self.scene.values["card"].value
        cards = self.latest["list_cards"]["cards"]
        return next((card for card in cards if card["kind"] == kind and not card["blocked"]), {})

    def _agent(self, pool: str, knowledge: tuple[str, ...]) -> None:
        values = {name: said.value for name, said in self.scene.values.items()}
        words = agent_words(values, self.latest, self._card() if "card" in values and self.latest else {})
        if knowledge:
            words["approved"] = knowledge[0]
        phrasing = self.random.choice(self.phrasings.agent[pool])
        try:
            text = phrasing.format_map(words)
        except KeyError as error:
            raise InvalidInputError(
                f"{self.situation.name}: nothing fills {error} of {phrasing!r}."
            ) from error
        self.messages.append(Message("assistant", text))

    def _approved(self) -> str:
        wanted = self.situation.knowledge
        for answer in self.desk.knowledge.answers:
            if answer.id == wanted:
                return answer.text
        raise InvalidInputError(f"{self.situation.name}: there is no approved answer {wanted!r}.")
