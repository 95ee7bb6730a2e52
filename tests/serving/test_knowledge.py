"""Approved answers: the right one is chosen, none where none was approved, and all phrases are there."""

import ast
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import serving
from serving.call.banking import BLOCK, CALLBACK, OFFERS, PLAN
from serving.call.dialogue import SENTENCE_END, Step
from serving.call.machine import Prompt
from serving.call.toolbox import PHRASES as CALL_PHRASES
from serving.errors import InvalidInputError, MissingError
from serving.language.embedded import PHRASES as ENGINE_PHRASES
from serving.language.knowledge import Answer, Cacheability, Knowledge, load_knowledge
from serving.language.roles import Role
from serving.language.slots import LoanSlots
from serving.tools.compliance import load_compliance
from serving.tools.core_banking import Refusal
from tests.conftest import TODAY
from tests.serving.cache_world import SIGNER

DAY = date(2026, 11, 20)
GENERAL = Answer("general", "fees", Cacheability.SEMANTIC, ("Is there a fee?",), "No.", (), {}, None)


def limited(id_: str, until: date | None = None, **applies_to: str) -> Answer:
    return replace(GENERAL, id=id_, applies_to=applies_to, valid_until=until)


MORTGAGE = limited("mortgage", product="mortgage")
CAR = limited("car", product="car_loan")
CHILD = limited("child", owner="child")
CHILD_MORTGAGE = limited("child_mortgage", product="mortgage", owner="child")


def chosen(*answers: Answer, on: date = DAY, **facets: str) -> str | None:
    known = Knowledge(answers, {}, "sha256")
    best = known.best("fees", {facet: tuple(values.split()) for facet, values in facets.items()}, on)
    return best.id if best else None


class TestBest:
    def test_the_default_answers_what_no_other_was_written_for(self) -> None:
        assert chosen(GENERAL, CHILD) == "general"
        assert chosen(GENERAL, CHILD, owner="other_person") == "general"
        assert chosen(GENERAL, CHILD, tier="premium") == "general"

    def test_an_answer_for_the_words_of_the_question_wins_wherever_it_stands(self) -> None:
        assert chosen(GENERAL, MORTGAGE, product="mortgage") == "mortgage"
        assert chosen(MORTGAGE, GENERAL, product="mortgage") == "mortgage"

    def test_more_of_the_words_win_over_fewer(self) -> None:
        everything = (MORTGAGE, CHILD, CHILD_MORTGAGE, GENERAL)
        for answers in (everything, everything[::-1]):
            assert chosen(*answers, product="mortgage", owner="child") == "child_mortgage"
            assert chosen(*answers, product="mortgage") == "mortgage"

    def test_between_equals_the_first_in_the_file_wins(self) -> None:
        assert chosen(MORTGAGE, CAR, GENERAL, product="car_loan mortgage") == "mortgage"
        assert chosen(CAR, MORTGAGE, GENERAL, product="car_loan mortgage") == "car"

    @pytest.mark.parametrize("owner", ["", "child"])
    def test_a_product_that_no_answer_was_written_for_gets_none(self, owner: str) -> None:
        assert chosen(GENERAL, CHILD, MORTGAGE, CAR, product="boat_loan", owner=owner) is None

    def test_where_answers_do_not_differ_by_product_the_default_holds_for_all(self) -> None:
        assert chosen(GENERAL, CHILD, product="boat_loan") == "general"

    def test_an_answer_of_another_intent_is_never_taken(self) -> None:
        assert chosen(replace(GENERAL, intent="other")) is None
        assert chosen() is None

    def test_an_answer_holds_through_its_last_day(self) -> None:
        until = limited("mortgage", DAY, product="mortgage")
        assert chosen(GENERAL, until, product="mortgage") == "mortgage"
        after = date(2026, 11, 21)
        assert chosen(GENERAL, until, on=after, product="mortgage") == "general"
        assert chosen(GENERAL, until, CAR, on=after, product="mortgage") is None
        assert chosen(until, on=after, product="mortgage") is None

    def test_an_answer_that_lacks_one_of_its_words_does_not_fit(self) -> None:
        assert chosen(CHILD_MORTGAGE, product="mortgage") is None


class TestCacheability:
    def test_an_intent_that_nobody_decided_on_is_never_cached(self) -> None:
        assert Knowledge((), {}, "sha256").cacheability("fees") is Cacheability.NEVER
        assert Knowledge((GENERAL,), {}, "sha256").cacheability("other") is Cacheability.NEVER

    def test_the_narrowest_of_an_intents_answers_decides(self) -> None:
        kinds = [Cacheability.SEMANTIC, Cacheability.EXACT, Cacheability.NEVER]
        for wide, narrow in pairwise(kinds):
            both = (replace(GENERAL, cacheability=wide), replace(GENERAL, cacheability=narrow))
            for answers in (both, both[::-1]):
                assert Knowledge(answers, {}, "sha256").cacheability("fees") is narrow


ITEM = """
  - id: fees
    intent: fees
    cacheability: semantic
    questions: [Is there a fee?]
    answer: No.
    valid_until: null
"""


class TestLoading:
    def load(self, tmp_path: Path, answers: str, prompts: str = "{greeting: Hello}") -> Knowledge:
        path = tmp_path / "answers.yaml"
        path.write_text(f"answers:{answers}\nprompts: {prompts}\n")
        return load_knowledge(path)

    def test_optional_fields_may_be_absent(self, tmp_path: Path) -> None:
        found = self.load(tmp_path, ITEM)
        assert found.answers == (replace(GENERAL, id="fees"),)
        assert found.prompt("greeting") == "Hello"
        with pytest.raises(MissingError, match="'goodbye'"):
            found.prompt("goodbye")

    def test_any_change_of_the_file_changes_the_hash(self, tmp_path: Path) -> None:
        assert self.load(tmp_path, ITEM).sha256 != self.load(tmp_path, f"{ITEM} ").sha256

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("id: fees", "id: 7", "id must be a text, found 7"),
            ("intent: fees", "intent: no", "intent must be a text, found False"),
            ("    intent: fees\n", "", "lacks the field 'intent'"),
            ("cacheability: semantic", "cacheability: always", "'always' is not a valid Cacheability"),
            ("cacheability: semantic", "cacheability: null", "None is not a valid Cacheability"),
            ("[Is there a fee?]", "Is there a fee?", "questions of fees must be a list"),
            ("[Is there a fee?]", "['']", "questions of fees must be a text"),
            ("[Is there a fee?]", "[yes]", "questions of fees must be a text, found True"),
            ("answer: No.", "answer: no", "answer of fees must be a text, found False"),
            ("answer: No.", "answer: ' '", "answer of fees must be a text"),
            ("valid_until: null", "valid_until: soon", "valid_until must be a day or null"),
            ("valid_until: null", "valid_until: 2027-12-31 12:00:00", "valid_until must be a day or null"),
            ("valid_until: null", "", "lacks the field 'valid_until'"),
            (
                "valid_until: null",
                "valid_until: null\n    applies_to: null",
                "applies_to of fees must be a mapping",
            ),
            (
                "valid_until: null",
                "valid_until: null\n    applies_to: {tier: yes}",
                "applies_to of fees: tier",
            ),
            (
                "valid_until: null",
                "valid_until: null\n    disclosures: apr",
                "disclosures of fees must be a list",
            ),
            (ITEM, " {a: b}", "cannot be read"),
            (ITEM, " [text]", "cannot be read"),
            (ITEM, "", "cannot be read"),
            (ITEM, " [", "cannot be read"),
        ],
    )
    def test_a_mistake_is_named(self, tmp_path: Path, old: str, new: str, told: str) -> None:
        with pytest.raises(InvalidInputError) as raised:
            self.load(tmp_path, ITEM.replace(old, new))
        assert told in str(raised.value)
        assert "answers.yaml" in str(raised.value)

    @pytest.mark.parametrize("prompts", ["null", "[a]", "{a: no}", "{yes: a}", "{a: ''}"])
    def test_phrases_are_texts_by_name(self, tmp_path: Path, prompts: str) -> None:
        with pytest.raises(InvalidInputError, match="prompts"):
            self.load(tmp_path, ITEM, prompts)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (("", ""), "the id fees is used twice"),
            (("id: fees", "id: other"), "fees and other apply to the same questions"),
            (
                ("id: fees\n    intent: fees\n    cacheability: semantic",
                 "id: other\n    intent: fees\n    applies_to: {a: b}\n    cacheability: exact"),
                "one cacheability",
            ),
        ],
    )  # fmt: skip
    def test_answers_that_leave_the_choice_to_chance_are_refused(
        self, tmp_path: Path, change: tuple[str, str], told: str
    ) -> None:
        with pytest.raises(InvalidInputError, match=told):
            self.load(tmp_path, ITEM + ITEM.replace(*change))

    def test_a_file_that_cannot_be_opened_or_decoded_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "answers.yaml"
        with pytest.raises(InvalidInputError, match="cannot be read: No such file or directory") as raised:
            load_knowledge(path)
        assert str(raised.value).count(str(path)) == 1
        assert "VOICEBOT_DATA_DIR" in raised.value.advice
        path.write_bytes(b"answers: \xff\xfe\xfa")
        with pytest.raises(InvalidInputError, match="cannot be read"):
            load_knowledge(path)


@pytest.fixture(scope="module")
def approved(data_dir: Path) -> Knowledge:
    return load_knowledge(data_dir / "knowledge" / "answers.yaml")


class TestProjectKnowledge:
    def test_every_intent_is_answered_but_those_that_the_call_answers_itself(
        self, approved: Knowledge, data_dir: Path
    ) -> None:
        kinds = {
            label: fields["kind"]
            for path in (data_dir / "intents").glob("*.yaml")
            for label, fields in yaml.load(path.read_bytes(), yaml.CSafeLoader).items()
        }
        answered = {answer.intent for answer in approved.answers}
        assert answered == {label for label, kind in kinds.items() if kind not in {"control", "out_of_scope"}}
        for label in answered:
            assert approved.best(label, {}, TODAY) is not None, label

    def test_every_approved_question_gets_the_answer_that_it_was_approved_for(
        self, approved: Knowledge
    ) -> None:
        lost = [
            (answer.id, question)
            for answer in approved.answers
            for question in answer.questions
            if approved.best(answer.intent, SIGNER.lexicon.found(question), TODAY) is not answer
        ]
        assert lost == []

    def test_an_answer_applies_to_words_that_the_lexicon_knows(self, approved: Knowledge) -> None:
        known = {
            (facet, value) for facet, phrases in SIGNER.lexicon.facets.items() for value in phrases.values()
        }
        unknown = [
            (answer.id, limit)
            for answer in approved.answers
            for limit in answer.applies_to.items()
            if limit not in known
        ]
        assert unknown == []

    def test_every_disclosure_is_a_wording_that_exists(self, approved: Knowledge, data_dir: Path) -> None:
        wordings = {text.id for text in load_compliance(data_dir / "compliance").texts}
        assert {notice for answer in approved.answers for notice in answer.disclosures} <= wordings

    def test_an_unknown_product_gets_no_answer_where_answers_differ_by_product(
        self, approved: Knowledge
    ) -> None:
        question = "Can I pay off my boat loan early?"
        assert approved.best("loan_early_repayment", SIGNER.lexicon.found(question), TODAY) is None

    def test_no_approved_text_holds_something_to_fill_in(self, approved: Knowledge) -> None:
        assert not [answer.id for answer in approved.answers if {"{", "}"} & set(answer.text)]


DECLARED = {**CALL_PHRASES, **ENGINE_PHRASES}
"""Every phrase that the code asks for, and what it fills in; checked when a server starts."""


class TestPhrases:
    def test_the_code_declares_the_phrases_of_the_data_and_no_others(self, approved: Knowledge) -> None:
        assert DECLARED.keys() == approved.prompts.keys()

    def test_the_code_asks_for_no_phrase_that_it_does_not_declare(self) -> None:
        root = Path(serving.__file__).parent
        asked = {name for path in root.rglob("*.py") for name in phrases_of(ast.parse(path.read_bytes()))}
        asked |= {prompt.value for prompt in Prompt}
        asked |= {
            f"missing_{'_and_'.join(missing)}" for missing in (LoanSlots().missing, ("amount",), ("term",))
        }
        asked |= {f"doubt_{role}" for role in Role} | {f"bank_{refusal}" for refusal in Refusal}
        asked |= {f"offer_{task}" for task in OFFERS.values()}
        asked |= {f"survey_{step}" for step in (Step.SETTLED, Step.RATING)}
        asked |= {f"{task}_done" for task in (BLOCK, PLAN, CALLBACK)}
        assert len(asked) > 50
        assert asked <= DECLARED.keys()

    def test_a_phrase_names_no_field_that_the_code_does_not_fill(self, approved: Knowledge) -> None:
        for name, phrase in approved.prompts.items():
            fields = {field for _, field, _, _ in string.Formatter().parse(phrase) if field is not None}
            assert fields <= DECLARED[name], name

    def test_what_is_read_back_ends_with_a_question_of_its_own(self, approved: Knowledge) -> None:
        """Before it stands what must have been heard; the question itself need not."""
        for name in ("block_confirm", "plan_confirm", "callback_confirm", "confirm_values"):
            *subject, question = SENTENCE_END.split(approved.prompts[name])
            assert subject, name
            assert question.endswith("?")
            assert "{" not in question, name


def phrases_of(tree: ast.Module) -> Iterator[str]:
    """Names of phrases in a module: `phrase("…")`, `prompt("…")`, `_prompts["…"]`, `ControlReply("…")`."""
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in {"phrase", "prompt", "ControlReply"}:
                yield from constants(node.args[0], assigned)
        elif isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") in {"prompts", "_prompts"}:
            yield from constants(node.slice, assigned)


def constants(expression: ast.expr, assigned: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The texts that an expression may come to; a name is followed to what is assigned to it."""
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        yield expression.value
    elif isinstance(expression, ast.IfExp):
        yield from constants(expression.body, assigned)
        yield from constants(expression.orelse, assigned)
    elif isinstance(expression, ast.Name):
        for value in assigned.pop(expression.id, []):
            yield from constants(value, assigned)
