"""Compliance wordings: word for word, the right one for day and place, and never with a hole in it."""

import hashlib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from serving.errors import InvalidInputError, MissingError
from serving.tools.compliance import ComplianceLibrary, ComplianceText, load_compliance

TODAY = date(2026, 11, 20)
FOLDER = Path(__file__).resolve().parents[2] / "data" / "compliance"
LIBRARY = load_compliance(FOLDER)
HOUSE = {"bank_name": "Harbour Bank"}
VALUES: Mapping[str, tuple[object, str]] = {
    "amount": ("20000.00", "$20,000"),
    "rate": ("0.0699", "6.99%"),
    "months": ("60", "60 months"),
    "payment": ("395.93", "$395.93"),
    "total": ("23755.73", "$23,755.73"),
    "limit": ("250000", "$250,000"),
    "company": ("Acme & Sons", "Acme & Sons"),
    "collector": ("Fair Collections", "Fair Collections"),
    "creditor": ("Harbour Bank", "Harbour Bank"),
}
"""A value of every parameter in the data, and how it must stand in the text."""
EXAMPLE = {name: VALUES[name][0] for name in ("amount", "rate", "months", "payment", "total")}


def in_file() -> list[dict[str, Any]]:
    """The texts as they stand in the files, read without the code under test."""
    return [
        item for path in sorted(FOLDER.glob("*.yaml")) for item in yaml.safe_load(path.read_text())["texts"]
    ]


def name_of(item: dict[str, Any]) -> str:
    return f"{item['id']}-{item['jurisdiction']}-{item['version']}"


def text_yaml(**changes: Any) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": "note",
        "flow_type": "KYC",
        "default": True,
        "jurisdiction": "US",
        "version": 1,
        "effective_from": date(2026, 1, 1),
        "text": "We are {bank_name}.",
        "params": {"bank_name": {"type": "text", "required": True}},
        "fallback": "We are a bank.",
        "interruptible": False,
    }
    return {**item, **changes}


def library(folder: Path, *items: dict[str, Any]) -> ComplianceLibrary:
    (folder / "texts.yaml").write_text(yaml.safe_dump({"texts": list(items)}))
    return load_compliance(folder)


@pytest.mark.parametrize("item", in_file(), ids=name_of)
def test_every_wording_is_spoken_as_its_file_has_it_with_nothing_but_the_holes_filled(
    item: dict[str, Any],
) -> None:
    house_names = {"bank_name"} & item["params"].keys()
    given_values = {name: VALUES[name][0] for name in item["params"].keys() - house_names}
    found = LIBRARY.notice(
        item["flow_type"],
        given_values,
        jurisdiction=item["jurisdiction"],
        on=TODAY,
        text_id=item["id"],
        house=HOUSE,
    )
    expected = item["text"]
    for name in item["params"]:
        expected = expected.replace(f"{{{name}}}", HOUSE.get(name) or VALUES[name][1])
    assert found.text == expected
    assert found.reference == f"{item['id']}@{item['jurisdiction']}/{item['version']}"
    assert found.sha256 == hashlib.sha256(expected.encode()).hexdigest()
    assert not found.used_fallback
    assert not found.interruptible


@pytest.mark.parametrize("item", [i for i in in_file() if i["params"]], ids=name_of)
def test_without_its_values_a_wording_is_its_fallback_word_for_word(item: dict[str, Any]) -> None:
    found = LIBRARY.notice(
        item["flow_type"], {}, jurisdiction=item["jurisdiction"], on=TODAY, text_id=item["id"]
    )
    assert found.used_fallback
    assert found.text == item["fallback"]


def test_one_missing_value_of_five_gives_the_fallback() -> None:
    for name in EXAMPLE:
        rest = {key: value for key, value in EXAMPLE.items() if key != name}
        found = LIBRARY.notice(
            "LEGAL_NOTICE", rest, jurisdiction="US", on=TODAY, text_id="credit_representative_example"
        )
        assert found.used_fallback


def test_a_value_of_none_is_a_missing_value() -> None:
    found = LIBRARY.notice("KYC", {"bank_name": None}, jurisdiction="US", on=TODAY)
    assert found.used_fallback


def test_a_default_fills_what_is_not_given() -> None:
    found = LIBRARY.notice(
        "LEGAL_NOTICE", {}, jurisdiction="US", on=TODAY, text_id="deposit_insurance_notice", house=HOUSE
    )
    assert "up to $250,000 for each depositor" in found.text


def test_a_value_of_the_call_wins_over_the_houses() -> None:
    found = LIBRARY.notice("KYC", {"bank_name": "Pier Bank"}, jurisdiction="US", on=TODAY, house=HOUSE)
    assert "with Pier Bank," in found.text


@pytest.mark.parametrize(
    ("place", "spoken"),
    [("US", "US"), ("US-CA", "US-CA"), ("us-ca", "US-CA"), (" US-CA ", "US-CA"), ("US-TX", "US")],
)
def test_a_state_without_a_wording_of_its_own_hears_its_countrys(place: str, spoken: str) -> None:
    found = LIBRARY.notice("LEGAL_NOTICE", {}, jurisdiction=place, on=TODAY, house=HOUSE)
    assert found.jurisdiction == spoken


@pytest.mark.parametrize("place", ["DE", "CA", "GB-SCT", "XX"])
def test_an_unknown_country_has_no_wording_rather_than_a_foreign_one(place: str) -> None:
    with pytest.raises(MissingError, match="No approved wording of KYC"):
        LIBRARY.notice("KYC", {}, jurisdiction=place, on=TODAY)


@pytest.mark.parametrize(
    "place", ["", "US-", "-", "US-CALIFORNIA", "California", "USA", "U", "US-CA-LA", "US CA"]
)
def test_what_is_no_places_code_is_refused_and_not_taken_for_an_unknown_state(place: str) -> None:
    with pytest.raises(InvalidInputError, match="A jurisdiction is a country"):
        LIBRARY.notice("KYC", {}, jurisdiction=place, on=TODAY)


def test_the_newest_version_in_force_on_the_day_is_spoken(tmp_path: Path) -> None:
    days = {1: date(2026, 1, 1), 2: date(2026, 7, 1), 10: date(2027, 1, 1)}
    items = [text_yaml(version=v, effective_from=day, text=f"Version {v}.") for v, day in days.items()]
    texts = library(tmp_path, *reversed(items))
    heard = {
        day: texts.notice("KYC", {"bank_name": "B"}, jurisdiction="US", on=day).text
        for day in (
            date(2026, 1, 1),
            date(2026, 6, 30),
            date(2026, 7, 1),
            date(2026, 12, 31),
            date(2030, 1, 1),
        )
    }
    assert list(heard.values()) == ["Version 1.", "Version 1.", "Version 2.", "Version 2.", "Version 10."]
    with pytest.raises(MissingError, match="2025-12-31"):
        texts.notice("KYC", {}, jurisdiction="US", on=date(2025, 12, 31))


def test_before_the_states_wording_is_in_force_the_countrys_is_spoken(tmp_path: Path) -> None:
    texts = library(
        tmp_path,
        text_yaml(text="Country."),
        text_yaml(text="State.", jurisdiction="US-CA", effective_from=date(2026, 7, 1)),
    )
    assert (
        texts.notice("KYC", {"bank_name": "B"}, jurisdiction="US-CA", on=date(2026, 6, 30)).text == "Country."
    )
    assert texts.notice("KYC", {"bank_name": "B"}, jurisdiction="US-CA", on=date(2026, 7, 1)).text == "State."


@pytest.mark.parametrize("flow", ["kyc", "Kyc", "KYC"])
def test_the_occasion_may_be_written_in_any_case(flow: str) -> None:
    assert LIBRARY.notice(flow, {}, jurisdiction="US", on=TODAY).flow_type == "KYC"


def test_an_unknown_occasion_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidInputError, match="there are: KYC, RECORDING_OPT_OUT, LEGAL_NOTICE"):
        LIBRARY.notice("MIRANDA", {}, jurisdiction="US", on=TODAY)


def test_a_wording_of_another_occasion_is_not_spoken() -> None:
    with pytest.raises(MissingError, match="privacy_notice"):
        LIBRARY.notice("KYC", {}, jurisdiction="US", on=TODAY, text_id="privacy_notice")
    with pytest.raises(MissingError, match="no compliance text 'x"):
        LIBRARY.flow_type("x" * 500)


def test_a_parameter_that_the_wording_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(InvalidInputError, match="no parameter 'colour'; it has: bank_name"):
        LIBRARY.notice("KYC", {"colour": "red"}, jurisdiction="US", on=TODAY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", "plenty"),
        ("amount", "-1"),
        ("amount", "10.005"),
        ("amount", "1e400"),
        ("amount", "1e999999999"),
        ("amount", float("inf")),
        ("amount", "20.000,00"),
        ("amount", True),
        ("amount", "٢٠٠٠"),
        ("rate", "6.99"),
        ("rate", "-0.01"),
        ("rate", "nan"),
        ("rate", "1e-400"),
        ("months", "60.5"),
        ("months", 0),
        ("months", "sixty"),
        ("months", 10**9),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_the_parameters_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=name):
        LIBRARY.notice(
            "LEGAL_NOTICE",
            {**EXAMPLE, name: value},
            jurisdiction="US",
            on=TODAY,
            text_id="credit_representative_example",
        )


@pytest.mark.parametrize(
    "value",
    ["", "   ", "x" * 81, "{amount}", "<name>", "A\x1b[31mB", "A\x00B", "A\u202eB", "A\u200bB", 7, ["A"]],
    ids=repr,
)
def test_text_that_could_change_the_wording_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="company must be plain text"):
        LIBRARY.notice("KYC", {"company": value}, jurisdiction="US", on=TODAY, text_id="kyc_notice_business")


def test_line_breaks_and_runs_of_blanks_in_a_value_become_one_blank() -> None:
    found = LIBRARY.notice(
        "KYC", {"company": " Acme\n and\t Sons "}, jurisdiction="US", on=TODAY, text_id="kyc_notice_business"
    )
    assert "When Acme and Sons opens" in found.text


@given(company=st.text(max_size=100))
@example(company="{company}")
@example(company="\\1 \\g<0> %s {0}")
def test_whatever_a_caller_is_called_the_words_around_it_stay(company: str) -> None:
    before, after = next(t.text for t in LIBRARY.texts if t.id == "kyc_notice_business").split("{company}")
    try:
        found = LIBRARY.notice(
            "KYC", {"company": company}, jurisdiction="US", on=TODAY, text_id="kyc_notice_business"
        )
    except InvalidInputError:
        return
    assert found.text == before + " ".join(company.split()) + after
    assert found.text.isprintable()
    assert not set("{}<>") & set(found.text)


@given(
    amount=st.decimals(0, 10**9, places=2),
    rate=st.decimals(0, 1, places=4),
    months=st.integers(1, 600),
)
def test_numbers_are_spoken_as_given_and_no_hole_is_left(amount: Decimal, rate: Decimal, months: int) -> None:
    values = {"amount": amount, "rate": rate, "months": months, "payment": amount, "total": amount}
    text = LIBRARY.notice(
        "LEGAL_NOTICE", values, jurisdiction="US", on=TODAY, text_id="credit_representative_example"
    ).text
    money, percent, term = (
        text.split("A loan of ")[1]
        .split(" has a")[0]
        .replace(" at a fixed annual rate of ", "|")
        .replace(" over ", "|")
        .split("|")
    )
    assert Decimal(money.removeprefix("$").replace(",", "")) == amount
    assert Decimal(percent.removesuffix("%")) == rate * 100
    assert int(term.split()[0]) == months
    assert "{" not in text
    assert "-" not in money + percent


def test_the_hash_is_of_what_is_said_and_changes_with_it() -> None:
    one = LIBRARY.notice("KYC", {"bank_name": "A"}, jurisdiction="US", on=TODAY)
    same = LIBRARY.notice("KYC", {"bank_name": " A "}, jurisdiction="US", on=TODAY)
    other = LIBRARY.notice("KYC", {"bank_name": "B"}, jurisdiction="US", on=TODAY)
    assert one.sha256 == same.sha256 == hashlib.sha256(one.text.encode()).hexdigest()
    assert one.sha256 != other.sha256


def test_the_librarys_hash_changes_with_one_character_of_one_file(tmp_path: Path) -> None:
    first = library(tmp_path, text_yaml()).sha256
    assert library(tmp_path, text_yaml()).sha256 == first
    assert library(tmp_path, text_yaml(fallback="We are a bank!")).sha256 != first


def test_a_text_is_immutable() -> None:
    text: ComplianceText = LIBRARY.texts[0]
    with pytest.raises(AttributeError):
        text.text = "Anything."  # type: ignore[misc]  # the attempt is the test


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "We are {bank}."}, "bank has a hole"),
        ({"text": "We are {Bank_Name}."}, "text"),
        ({"text": "We are {bank_name:>10}."}, "text"),
        ({"text": "We are {bank_name"}, "text"),
        ({"text": "We are <bank>."}, "text"),
        ({"text": "Two\nlines."}, "text"),
        ({"text": "  "}, "text"),
        ({"text": 5}, "TypeError"),
        ({"fallback": "We are {bank_name}."}, "fallback"),
        ({"fallback": ""}, "fallback"),
        ({"version": "1"}, "version"),
        ({"version": 0}, "version"),
        ({"version": True}, "version"),
        ({"effective_from": "2026-01-01 to 2027"}, "effective_from"),
        ({"default": "yes"}, "default"),
        ({"interruptible": None}, "interruptible"),
        ({"jurisdiction": "us"}, "jurisdiction"),
        ({"jurisdiction": "US-California"}, "jurisdiction"),
        ({"id": "Note One"}, "id"),
        ({"flow_type": "MIRANDA"}, "MIRANDA"),
        ({"colour": "red"}, "colour"),
        ({"params": None}, "AttributeError"),
        ({"params": {"bank_name": {"type": "sound", "required": True}}}, "sound"),
        ({"params": {"bank_name": {"type": "text", "required": "no"}}}, "required"),
        ({"params": {"bank_name": {"type": "text", "required": False}}}, "gap"),
        ({"params": {"bank_name": {"type": "money", "required": False, "default": "much"}}}, "bank_name"),
    ],
)
def test_a_wording_that_could_be_misspoken_is_refused_when_it_is_read(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=rf"texts\.yaml.*{said}"):
        library(tmp_path, text_yaml(**changes))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([{}], "defined twice"),
        ([{"id": "other"}], "both the default of KYC"),
        ([{"jurisdiction": "US-CA", "default": False}], "differs in flow_type or default"),
        ([{"jurisdiction": "US-CA", "flow_type": "LEGAL_NOTICE"}], "differs in flow_type or default"),
        ([{"version": 2, "effective_from": date(2025, 1, 1)}], "begins before an earlier one"),
        ([{"version": 2}], "begins before an earlier one"),
    ],
)
def test_texts_of_which_it_is_not_clear_which_to_speak_are_refused(
    tmp_path: Path, others: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        library(tmp_path, text_yaml(), *(text_yaml(**changes) for changes in others))


@pytest.mark.parametrize("content", ["", "texts: []", "texts: 5", "- a", "texts: [", "texts: [1]", "a: \x00"])
def test_a_file_of_another_shape_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(InvalidInputError, match=str(tmp_path)):
        load_compliance(tmp_path)


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there are none"):
        load_compliance(tmp_path / "absent")
