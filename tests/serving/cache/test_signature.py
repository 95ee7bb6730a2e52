"""The signature parts what must not share an answer, and nothing that may."""

import hashlib
import json
import random
import unicodedata
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.cache.signature import Signature, Signer
from serving.language.lexicon import load_lexicon
from serving.spoken import Kind, parse, say_integer, say_money, say_rate, say_term
from serving.telemetry.redaction import keyed_hash
from tests.properties import examples
from tests.serving.cache_world import SIGNER, make_signer

sign = SIGNER.sign
TEXTS = [
    "Can I pay off my car loan before the term is up?",
    "Are fees for wires to Mexico waived for students?",
    "What is the payment on 20,000 dollars over 5 years at 6.5 percent?",
    "How do I move money from savings to checking on Sundays?",
    "My wife's premium card isn't frozen, is it?",
    "Is there no fee and no minimum for a teen account?",
    "Can I get a replacement card within 3 days?",
    "Why was my transfer to Germany declined yesterday?",
]


def parts(one: str, other: str) -> str:
    """The facets that set two texts apart, without their values."""
    told = sign(one).difference(sign(other))
    return ",".join(item.partition(":")[0] for item in told.split("; ")) if told else ""


@pytest.mark.parametrize(
    ("one", "other", "facets"),
    [
        ("Can I borrow 20,000 dollars?", "Can I borrow 30,000 dollars?", "money"),
        ("Can I borrow 500 dollars?", "Can I borrow 500 euros?", "currency,money"),
        ("Is the rate 6.5 percent?", "Is the rate 5.6 percent?", "rate"),
        ("What is the rate of a five year loan?", "What is the rate of a seven year loan?", "term"),
        ("Is it 30 days?", "Is it 30 months?", "term"),
        ("Can I have two cards?", "Can I have three cards?", "count"),
        ("Are you open on December 24?", "Are you open on December 25?", "date"),
        ("Are wire fees waived?", "Are wire fees not waived?", "negations"),
        ("Can I pay with a fee?", "Can I pay without a fee?", "negations"),
        ("How do I switch contactless on?", "How do I switch contactless off?", "polarity"),
        ("How do I freeze my card?", "How do I unfreeze my card?", "polarity"),
        ("Can I repay my mortgage early?", "Can I repay my car loan early?", "product"),
        ("Can I repay a loan early?", "Can I repay a car loan early?", "product"),
        ("What does a premium account cost?", "What does an account cost?", "tier"),
        ("Can I send money abroad?", "Can I receive money from abroad?", "direction"),
        ("What does a cash deposit cost?", "What does a cash withdrawal cost?", "channel,direction"),
        ("How do I open an account?", "How do I close an account?", "action"),
        ("What is the rate?", "What is the rate today?", "freshness"),
        ("What is the rate today?", "What was the rate yesterday?", "freshness"),
        ("Can I have an account?", "Can my son have an account?", "owner"),
        ("Can Maria Lopez use my card?", "Can Maria Gomez use my card?", "person"),
        ("My name is Ann Smith", "My name is Ann Jones", "person,personal_name"),
        ("Is account 12345678 open?", "Is account 12345679 open?", "personal_account"),
        ("Is card 4111 1111 1111 1111 good?", "Is card 5500 0000 0000 0004 good?", "personal_card"),
        ("My card ending in 4242", "My card ending in 4243", "personal_code"),
        ("Is a SEPA transfer free?", "Is a wire transfer free?", "channel"),
        ("Is Visa accepted?", "Is Mastercard accepted?", "brand"),
        ("Can I pay in Mexico?", "Can I pay in Canada?", "place"),
    ],
)
def test_one_word_that_changes_the_answer_changes_the_signature(one: str, other: str, facets: str) -> None:
    assert parts(one, other) == parts(other, one) == facets
    assert sign(one).key != sign(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Can I exchange euros for pounds?", "Can I exchange pounds for euros?"),
        ("How do I move money from savings to checking?", "How do I move money from checking to savings?"),
        ("Is it 5 percent at first and then 7 percent?", "Is it 7 percent at first and then 5 percent?"),
        ("Can I go from 500 dollars to 1,000 dollars?", "Can I go from 1,000 dollars to 500 dollars?"),
        ("Can I swap a Visa for a Mastercard?", "Can I swap a Mastercard for a Visa?"),
    ],
)
def test_the_same_things_in_another_order_are_another_question(one: str, other: str) -> None:
    assert sign(one) != sign(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is there a fee and a minimum?", "Is there no fee and no minimum?"),
        ("Can I pay late?", "Can I not pay late, and not be charged?"),
    ],
)
def test_two_negations_are_not_taken_for_none(one: str, other: str) -> None:
    assert parts(one, other) == "negations"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Can I repay my loan early?", "Am I allowed to settle the loan ahead of time?"),
        ("I need one card", "I need a card"),
        ("What is the rate of a 5 year loan?", "Over sixty months, what is the loan's rate?"),
        ("Can I borrow 20k?", "can i borrow twenty thousand dollars"),
        ("is it six and a half per cent", "Is it 6.5 %?"),
        ("The card didn't come", "the card did not come"),
        ("I can't log in", "i cant log in"),
        ("What is the rate now?", "What is the current rate at the moment?"),
        ("How do I send money to my friend's account?", "Sending money to a friend, how?"),
    ],
)
def test_what_does_not_change_the_answer_does_not_change_the_signature(one: str, other: str) -> None:
    assert sign(one) == sign(other), sign(one).difference(sign(other))


class TestValues:
    @examples(150)
    @given(dollars=st.integers(2, 999_999))
    def test_an_amount_has_one_signature_however_it_is_said_or_written(self, dollars: int) -> None:
        spoken = say_money(Decimal(dollars), "USD")
        forms = [
            f"${dollars:,}",
            f"${dollars}",
            f"{dollars:,} dollars",
            f"{dollars} USD",
            spoken,
            spoken.upper(),
        ]
        found = {sign(f"Can I borrow {form}?") for form in forms}
        assert found == {Signature((("money", f"{dollars}:USD"),))}

    @examples(150)
    @given(hundredths=st.integers(1, 3_000))
    def test_a_rate_has_one_signature_however_it_is_said_or_written(self, hundredths: int) -> None:
        percent = Decimal(hundredths) / 100
        forms = [
            f"{percent}%",
            f"{percent} %",
            f"{percent} percent",
            f"{percent} per cent",
            say_rate(percent / 100),
        ]
        assert len({sign(f"Is a loan at {form} good?") for form in forms}) == 1
        assert sign(f"Is a loan at {percent}% good?").values("rate") == format(
            (percent / 100).normalize(), "f"
        )

    @examples(80)
    @given(months=st.integers(2, 480))
    def test_a_term_has_one_signature_however_it_is_said_or_written(self, months: int) -> None:
        forms = [
            f"{months} months",
            f"{months}-month terms",
            f"{say_integer(months)} months",
            say_term(months),
        ]
        forms += [f"{months // 12} years", f"{say_integer(months // 12)} years"] if months % 12 == 0 else []
        found = {sign(f"A loan over {form}, is that good?").values("term") for form in forms}
        assert found == {f"{months}:months"}

    @examples(100)
    @given(one=st.integers(2, 99_999), other=st.integers(2, 99_999))
    def test_two_amounts_never_share_a_signature(self, one: int, other: int) -> None:
        assume(one != other)
        assert sign(f"Can I borrow ${one}?").key != sign(f"Can I borrow ${other}?").key

    def test_the_callers_own_currency_is_part_of_an_amount(self) -> None:
        canadian = Signer(SIGNER.lexicon, SIGNER.personal, "CAD")
        assert canadian.sign("Can I borrow 500 dollars?") != sign("Can I borrow 500 dollars?")

    @pytest.mark.parametrize("text", ["Is the branch open tomorrow?", "Is it open the day after tomorrow?"])
    def test_a_question_about_tomorrow_is_the_same_question_the_day_after(self, text: str) -> None:
        days = {parse(text, today=date(2026, 11, day)) for day in (18, 19, 20)}
        assert len(days) == 3
        assert "date" not in dict(sign(text).facets)

    def test_a_day_without_a_year_has_one_signature_in_every_year(self) -> None:
        assert sign("Are you open on December 24?").values("date").endswith("-12-24")


class TestPersonal:
    SECRETS = ("4111111111111111", "12345678", "maria", "lopez", "m.lopez@example.com", "1980", "4242")
    TEXT = (
        "My name is Maria Lopez, born on 5 March 1980, card 4111 1111 1111 1111, account 12345678, "
        "pin 4242, mail m.lopez@example.com. Can José use it?"
    )

    def test_nothing_personal_is_in_a_signature_but_its_keyed_hash(self) -> None:
        written = json.dumps(sign(self.TEXT).facets).lower()
        assert not [secret for secret in self.SECRETS if secret in written]
        assert {name for name, _ in sign(self.TEXT).facets} >= {
            "personal_card",
            "personal_account",
            "personal_name",
            "personal_birth_date",
            "personal_email",
            "personal_code",
            "person",
        }

    def test_the_hash_cannot_be_made_without_the_key(self) -> None:
        other = make_signer(b"another key of16").sign(self.TEXT)
        mine = sign(self.TEXT)
        assert [name for name, _ in other.facets] == [name for name, _ in mine.facets]
        assert not {value for _, value in mine.facets} & {value for _, value in other.facets}
        guesses = {hashlib.sha256(secret.encode()).hexdigest()[:32] for secret in self.SECRETS}
        assert not guesses & {value for _, value in mine.facets}

    def test_a_difference_tells_no_name(self) -> None:
        told = sign("Can Maria Lopez pay?").difference(sign("Can Peter Smith pay?"))
        assert told.startswith("person: ")
        assert not {"maria", "peter"} & set(told.lower().split())

    def test_names_are_alike_with_and_without_capitals_accents_and_a_genitive(self) -> None:
        assert sign("Can josé lopez pay") == sign("Can Jose Lopez's pay")


class TestDisguise:
    """An encoder reads through these, so a signature that does not would let a twin pass."""

    @pytest.mark.parametrize("text", TEXTS)
    @pytest.mark.parametrize(
        "disguised",
        [
            str.upper,
            str.lower,
            lambda text: text.replace("'", "’"),
            "\u200b".join,
            lambda text: "".join(f"{c}\u0301" if c.isalpha() else c for c in text),
            lambda text: unicodedata.normalize("NFD", text),
            lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
            lambda text: text.replace(" ", "\u00a0\t "),
            lambda text: f"\ufeff{text}\u2060\n",
        ],
        ids=[
            "upper",
            "lower",
            "quotes",
            "zero width",
            "accents",
            "decomposed",
            "full width",
            "spaces",
            "marks",
        ],
    )
    def test_a_disguise_that_means_nothing_changes_nothing(self, text: str, disguised: object) -> None:
        assert callable(disguised)
        assert sign(disguised(text)) == sign(text)

    @pytest.mark.parametrize(
        "text", ["Are wire fees n\u043et waived?", "Are fees \u03bdaived?", "电汇费免吗"]
    )
    def test_letters_that_no_list_knows_keep_a_question_apart(self, text: str) -> None:
        assert "unreadable" in dict(sign(text).facets)

    @pytest.mark.parametrize("text", ["Is the café fee ½ %?", "Is it €5, naïvely?", "🙂 Is it free?"])
    def test_what_can_be_read_is_not_called_unreadable(self, text: str) -> None:
        assert "unreadable" not in dict(sign(text).facets)

    @examples(200)
    @given(text=st.text(st.characters(), max_size=200))
    def test_any_text_has_a_signature_and_always_the_same(self, text: str) -> None:
        found = sign(text)
        assert found == sign(text)
        assert list(found.facets) == sorted(found.facets, key=lambda pair: pair[0])
        assert json.loads(json.dumps(found.facets)) == [list(pair) for pair in found.facets]


@examples(8)
@given(seed=st.integers())
def test_the_order_of_the_word_lists_means_nothing(
    seed: int, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = yaml.load((data_dir / "lexicons" / "signature.yaml").read_bytes(), yaml.CSafeLoader)
    rng = random.Random(seed)

    def shuffled(items: list[object]) -> list[object]:
        return rng.sample(items, len(items))

    facets = {
        facet: {
            value: shuffled(data["facets"][facet][value]) for value in shuffled(list(data["facets"][facet]))
        }
        for facet in shuffled(list(data["facets"]))
    }
    path = tmp_path_factory.getbasetemp() / "shuffled.yaml"
    shuffled_lists = {"facets": facets, "negators": shuffled(data["negators"])}
    path.write_text(yaml.dump({**data, **shuffled_lists}, Dumper=yaml.CSafeDumper, sort_keys=False))
    signer = Signer(load_lexicon(path), lambda kind, value: keyed_hash(kind, value, b"sixteen bytes ok"))
    assert [signer.sign(text) for text in TEXTS] == [sign(text) for text in TEXTS]


def test_equal_keys_mean_equal_facets() -> None:
    tricky = [
        Signature(()),
        Signature((("a", "b,c"),)),
        Signature((("a", "b"), ("a", "c"))),
        Signature((("a", "c"), ("a", "b"))),
        Signature((("a,b", "c"),)),
        Signature((('a","b', "c"),)),
    ]
    assert len({signature.key for signature in tricky}) == len(tricky)


def test_the_difference_names_both_sides() -> None:
    one, other = sign("Is a premium mortgage late?"), sign("Is a mortgage for two years?")
    assert one.difference(other) == "polarity: late ≠ -; term: - ≠ 24:months; tier: premium ≠ -"
    assert one.difference(one) == ""


def test_a_name_is_hashed_as_its_kind() -> None:
    asked: list[tuple[Kind, str]] = []

    def record(kind: Kind, value: str) -> str:
        asked.append((kind, value))
        return "hash"

    Signer(SIGNER.lexicon, record).sign("Can Maria Lopez use card 4111 1111 1111 1111?")
    assert asked == [(Kind.CARD, "4111111111111111"), (Kind.NAME, "maria lopez")]
