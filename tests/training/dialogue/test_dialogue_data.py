"""The dialogues with tools: rebuilt to the byte, sound, and every kind of unsound row is named."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.dialogues import Dialogue, load_dialogues, read_dialogues, written
from serving.errors import InvalidInputError
from serving.language.protocols import Message
from serving.spoken import Kind, parse
from training.dialogue.check import DIALOGUES_FILE, dialogue_problems, masked, script_problems, set_problems
from training.dialogue.compose import compose
from training.dialogue.desk import ToolDesk
from training.dialogue.phrasings import Phrasings, load_phrasings
from training.dialogue.values import said_money, said_rate, said_term

Messages = tuple[Message, ...]


@pytest.fixture(scope="module")
def desk(data_dir: Path) -> Iterator[ToolDesk]:
    with ToolDesk(data_dir) as opened:
        yield opened


@pytest.fixture(scope="module")
def phrasings(data_dir: Path) -> Phrasings:
    return load_phrasings(data_dir / "tool_calls" / "phrasings")


@pytest.fixture(scope="module")
def dialogues(data_dir: Path) -> dict[str, Dialogue]:
    found = load_dialogues(data_dir / "tool_calls" / DIALOGUES_FILE)
    return {dialogue.id: dialogue for dialogue in found}


def with_message(dialogue: Dialogue, place: int, **changes: Any) -> Dialogue:
    messages = list(dialogue.messages)
    messages[place] = replace(messages[place], **changes)
    return replace(dialogue, messages=tuple(messages))


def with_argument(dialogue: Dialogue, place: int, **arguments: Any) -> Dialogue:
    (call,) = dialogue.messages[place].tool_calls
    return with_message(
        dialogue, place, tool_calls=(replace(call, arguments={**call.arguments, **arguments}),)
    )


def test_the_file_is_what_the_phrasings_and_the_tools_give_today(
    phrasings: Phrasings, desk: ToolDesk, dialogues: dict[str, Dialogue]
) -> None:
    chosen = {"quote_corrected_term", "plan_two_rates", "verify_failed_once", "block_which_card"}
    some = replace(phrasings, situations=tuple(s for s in phrasings.situations if s.name in chosen))
    made = tuple(compose(some, desk))
    assert len(made) == 4 * 14
    assert written(made) == written(dialogues[dialogue.id] for dialogue in made)


def test_there_are_enough_dialogues_and_all_tools_are_called(
    dialogues: dict[str, Dialogue], desk: ToolDesk
) -> None:
    assert len(dialogues) >= 600
    assert list(set_problems(tuple(dialogues.values()), desk)) == []


def test_a_row_survives_writing_and_reading(dialogues: dict[str, Dialogue], tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    some = tuple(list(dialogues.values())[::40])
    path.write_text(written(some), encoding="utf-8")
    assert read_dialogues(path) == (some, ())


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("quote_given_rate-001", lambda d: with_argument(d, 1, principal=123), "Nobody said the value"),
        ("quote_given_rate-001", lambda d: with_argument(d, 1, months="soon"), "not a valid call"),
        ("quote_given_rate-001", lambda d: with_message(d, 2, content='{"months": 1}'), "another result"),
        (
            "quote_given_rate-001",
            lambda d: with_message(d, 3, content="You pay $1.23 a month."),
            "nobody gave",
        ),
        ("quote_product_rate-001", lambda d: with_argument(d, 1, product="boat_loan"), "nobody said product"),
        ("block_lost-001", lambda d: with_argument(d, 5, reason="stolen"), "nobody said reason"),
        ("block_lost-001", lambda d: with_argument(d, 5, card="<card_id_z>"), "nobody said card"),
        ("callback_full-001", lambda d: with_argument(d, 1, day="2027-12-24"), "nobody said day"),
        (
            "block_lost-001",
            lambda d: replace(d, messages=(*d.messages[:3], *d.messages[5:])),
            "without a caller's answer",
        ),
        ("greeting-001", lambda d: with_message(d, 0, content="hi, my number is 10482917"), "personal data"),
    ],
)
def test_an_unsound_dialogue_is_named(
    dialogues: dict[str, Dialogue],
    desk: ToolDesk,
    name: str,
    change: Callable[[Dialogue], Dialogue],
    said: str,
) -> None:
    assert dialogue_problems(dialogues[name], desk) == []
    told = "\n".join(dialogue_problems(change(dialogues[name]), desk))
    assert said in told


def test_a_phrasing_in_two_splits_is_named_whatever_its_values(
    dialogues: dict[str, Dialogue], desk: ToolDesk
) -> None:
    first = dialogues["quote_given_rate-001"]
    moved = replace(
        with_message(first, 0, content=first.messages[0].content + " "), id="new", split="test", day=first.day
    )
    told = "\n".join(set_problems((*dialogues.values(), moved), desk))
    assert "of new (test) stands in quote_given_rate-001 (train) too" in told


def test_a_line_of_a_call_script_is_named_whatever_its_values(
    dialogues: dict[str, Dialogue], data_dir: Path
) -> None:
    calls = data_dir / "calls"
    assert list(script_problems(tuple(dialogues.values()), calls)) == []
    asked = "What is the monthly payment on $900 over six months"
    (told,) = script_problems([with_message(dialogues["greeting-001"], 0, content=asked)], calls)
    assert "greeting-001 says a line of demo.yaml" in told


def test_values_are_masked_and_bare_values_are_no_phrasing() -> None:
    assert masked("sixty months") == masked("$20,000") == ""
    assert masked("over sixty months") == masked("over 5 years") != masked("over $500")


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{}",
        '{"id": "a", "split": "dev", "situation": "s", "tools": "bank", "day": "2026-01-05", "messages": []}',
        '{"id": "a", "split": "test", "situation": "s", "tools": "bank", "day": "2026-01-05", "messages": '
        '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "  "}]}',
        '{"id": "a", "split": "test", "situation": "s", "tools": "bank", "day": "2026-01-05", "messages": '
        '[{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": '
        '[{"id": "123456789", "name": "x", "arguments": {}}]}]}',
        "[" * 5_000,
    ],
)
def test_a_line_that_is_no_dialogue_is_a_problem_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{line}\n", encoding="utf-8")
    found, problems = read_dialogues(path)
    assert found == ()
    assert problems[0].startswith("rows.jsonl, line 2:")
    with pytest.raises(InvalidInputError):
        load_dialogues(path)


@given(st.integers(0, 10_000), st.integers(1, 400), st.integers(1, 240), st.integers(1, 600))
def test_whatever_a_caller_says_is_heard_as_it_is_meant(
    seed: int, hundreds: int, quarters: int, months: int
) -> None:
    random = Random(seed)
    amount, rate = Decimal(hundreds * 100), Decimal(quarters) / 400
    for said, kind, value in (
        (said_money(random, amount), Kind.MONEY, amount),
        (said_rate(random, rate), Kind.RATE, rate),
        (said_term(random, months), Kind.TERM, months),
    ):
        assert [(item.kind, item.value) for item in parse(said.words)] == [(kind, value)]


def test_phrasings_that_name_nothing_are_refused(data_dir: Path, tmp_path: Path) -> None:
    for name in ("agent.yaml", "replies.yaml"):
        (tmp_path / name).write_bytes((data_dir / "tool_calls" / "phrasings" / name).read_bytes())
    opening = json.dumps({"train": ["a"], "validate": ["b"], "test": ["c"]})
    for script in ("[{caller: nowhere}]", "[{agent: nothing}]", "[{sing: aloud}]"):
        (tmp_path / "new.yaml").write_text(f"s: {{tools: bank, script: {script}, opening: {opening}}}")
        with pytest.raises(InvalidInputError, match="names nothing that there is"):
            load_phrasings(tmp_path)
