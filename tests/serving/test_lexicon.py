"""Word lists are read strictly, and matched as anyone would who reads them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInputError
from serving.language.lexicon import Lexicon, load_lexicon, match_phrases, unreadable, words
from tests.properties import examples
from tests.serving.cache_world import SIGNER

LEXICON = SIGNER.lexicon


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "signature.yaml"


def load(path: Path, text: str) -> Lexicon:
    path.write_text(text, encoding="utf-8")
    return load_lexicon(path)


class TestWords:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("I don't know.", ["i", "don't", "know"]),
            ("I don’t KNOW!", ["i", "don't", "know"]),
            ("tap-to-pay, A.P.R.", ["tap", "to", "pay", "a", "p", "r"]),
            ("debit/credit", ["debit", "credit"]),
            ("my parents' card", ["my", "parents", "card"]),
            ("n\u200bot ｎｏｔ nót", ["not", "not", "not"]),
            ("<card> and <name_2>", ["and"]),
            ("snake_case", ["snake", "case"]),
            ("1,000.50 and ٣", ["1,000.50", "and", "3"]),
            ("🙂 \x00 \ud800", []),
            ("", []),
        ],
    )
    def test_what_counts_as_a_word(self, text: str, expected: list[str]) -> None:
        assert words(text) == expected

    @given(text=st.text(st.characters(), max_size=100))
    def test_reading_words_again_changes_nothing(self, text: str) -> None:
        found = words(text)
        assert words(" ".join(found)) == [part for word in found for part in words(word)]

    def test_words_in_foreign_letters_are_found(self) -> None:
        assert unreadable("pay 电汇 now, n\u043et café ½ 5") == ["电汇", "n\u043et"]


PHRASES = {("card",): "card", ("credit", "card"): "credit", ("card", "on"): "on"}
GOOD = """
version: 1
facets: {tier: {premium: [premium, gold]}}
negators: ['no', don't]
context: [what about]
"""


class TestMatching:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("credit card", ["credit"]),
            ("credit card on", ["credit"]),
            ("a card on hold", ["on"]),
            ("card card credit", ["card", "card"]),
            ("credit", []),
            ("", []),
        ],
    )
    def test_the_longest_phrase_wins_and_a_word_is_used_once(self, text: str, expected: list[str]) -> None:
        assert match_phrases(text.split(), PHRASES) == expected

    def test_no_phrases_find_nothing(self) -> None:
        assert match_phrases(["a"], {}) == []

    @examples(50)
    @given(
        before=st.lists(st.sampled_from(["please", "tell", "us"])),
        after=st.lists(st.sampled_from(["ok", "so"])),
    )
    def test_words_that_mean_nothing_change_nothing(self, before: list[str], after: list[str]) -> None:
        text = " ".join([*before, "credit card", *after])
        assert LEXICON.found(text) == {"product": ("credit_card",)}


class TestProjectLexicon:
    def test_values_come_in_order_of_mention_each_once(self) -> None:
        found = LEXICON.found("From a mortgage to a car loan, is a car loan better than a mortgage?")
        assert found["product"] == ("mortgage", "car_loan")

    def test_a_facet_that_finds_nothing_is_absent(self) -> None:
        assert LEXICON.found("what is it") == {}

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("is it free", 0),
            ("it is not free", 1),
            ("it isn't free", 1),
            ("it isnt free", 1),
            ("it isn’t free", 1),
            ("I mightn't pay, oughtn't I", 2),
            ("never without a fee", 2),
            ("I know another knot", 0),
        ],
    )
    def test_negations_are_counted(self, text: str, count: int) -> None:
        assert LEXICON.negations(text) == count

    @pytest.mark.parametrize("negator", sorted(LEXICON.negators))
    def test_every_negator_is_one_readable_word(self, negator: str) -> None:
        assert words(negator) == [negator]
        assert LEXICON.negations(f"is it {negator} free") == 1

    @pytest.mark.parametrize(
        ("text", "back"),
        [
            ("and for seven years", True),
            ("What about a mortgage?", True),
            ("does that include the fee", True),
            ("what does a transfer cost", False),
            ("", False),
            ("Is it free?", True),
            ("How long does it take?", True),
            ("Does it cost anything?", True),
            ("Can I cancel it?", True),
            ("When will it arrive", True),
            ("How long does it take until a card arrives?", False),
            ("Is it free to pay by card?", False),
            ("I lost my card, can I block it?", False),
            ("Premium, how much per month is it?", False),
            ("Is there a fee?", False),
        ],
    )
    def test_what_points_to_an_earlier_turn(self, text: str, back: bool) -> None:
        assert LEXICON.points_back(text) is back

    def test_every_phrase_means_its_own_value(self) -> None:
        wrong = [
            (facet, phrase)
            for facet, phrases in LEXICON.facets.items()
            for phrase, value in phrases.items()
            if LEXICON.found(" ".join(phrase)).get(facet) != (value,)
        ]
        assert wrong == []

    def test_no_facet_bears_a_name_that_the_signature_uses(self) -> None:
        taken = {"money", "rate", "term", "date", "count", "person", "negations", "unreadable"}
        assert not [facet for facet in LEXICON.facets if facet in taken or facet.startswith("personal_")]


class TestLoading:
    def test_a_lexicon_is_what_its_file_says(self, path: Path) -> None:
        found = load(path, GOOD)
        assert found.facets == {"tier": {("premium",): "premium", ("gold",): "premium"}}
        assert found.negators == {"no", "don't", "dont"}
        assert found.points_back("What about it")
        assert load(path, f"{GOOD}# a comment\n").sha256 != found.sha256

    def test_lists_may_be_absent(self, path: Path) -> None:
        found = load(path, "facets: {tier: {premium: }}\nnegators:\n")
        assert (found.facets, found.negators, found.context) == ({"tier": {}}, frozenset(), {})
        assert found.found("premium") == {}

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "mapping `facets`"),
            ("[]", "mapping `facets`"),
            ("facets: [a]", "mapping `facets`"),
            ("facets: {tier: [premium]}", "facet 'tier' needs a mapping"),
            ("facets: {no: {a: [b]}}", "facet False needs a mapping"),
            ("facets: {polarity: {on: [enable]}}", "value True of 'polarity' needs quotes"),
            ("facets: {tier: {premium: gold}}", "tier.premium needs a list"),
            ("facets: {tier: {premium: [no]}}", "False in tier.premium is no phrase"),
            ("facets: {tier: {premium: ['']}}", "'' in tier.premium is no phrase"),
            ("facets: {tier: {premium: ['?!']}}", "is no phrase"),
            ("facets: {tier: {premium: [[gold]]}}", "is no phrase"),
            ("facets: {tier: {premium: [Gold], basic: [gold]}}", "'gold' in facet 'tier' has two values"),
            ("facets: {}\nnegators: [no, not]", "False in negators is no phrase"),
            ("facets: {}\nnegators: not", "negators needs a list"),
            ("facets: {}\nnegators: [by no means]", "more than one word"),
            ("facets: {}\ncontext: {what: about}", "context needs a list"),
            ("facets: {}\nnegator: ['no']", "unknown field 'negator'"),
            ("facets: {a: b", "cannot be read"),
            ("facets: \x00", "cannot be read"),
        ],
    )
    def test_a_mistake_is_named(self, path: Path, text: str, told: str) -> None:
        with pytest.raises(InvalidInputError) as raised:
            load(path, text)
        assert told in str(raised.value)
        assert str(path) in str(raised.value)

    def test_a_file_that_cannot_be_opened_or_decoded_is_named(self, path: Path) -> None:
        with pytest.raises(InvalidInputError, match="cannot be read"):
            load_lexicon(path)
        path.write_bytes(b"facets: {a: {b: [\xff\xfe\xfa]}}")
        with pytest.raises(InvalidInputError, match="cannot be read"):
            load_lexicon(path)
