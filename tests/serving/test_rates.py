"""The rate sheet: the right row inside its bounds, the right reason outside them, and never a float."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import Category, InvalidInputError
from serving.tools.rates import NoRateError, NoRateReason, RateRow, RateSheet, load_rates

D = Decimal
FILE = Path(__file__).resolve().parents[2] / "data" / "knowledge" / "rates.yaml"
SHEET = load_rates(FILE)
LOANS = [row for row in SHEET.rows if row.kind == "loan"]
CENT, DAY = D("0.01"), timedelta(days=1)
TODAY = date(2026, 11, 20)


def row_yaml(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": "boat_small",
        "product": "boat_loan",
        "name": "boat loan",
        "kind": "loan",
        "annual_rate": "0.0799",
        "min_amount": "1000.00",
        "max_amount": "2000.00",
        "min_months": 12,
        "max_months": 24,
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2026, 12, 31),
    }
    return {**row, **changes}


def sheet(folder: Path, *rows: dict[str, Any], default_product: str = "boat_loan") -> RateSheet:
    path = folder / "rates.yaml"
    content = {"version": 1, "currency": "USD", "default_product": default_product, "rates": list(rows)}
    path.write_text(yaml.safe_dump(content))
    return load_rates(path)


def refusal(rates: RateSheet, product: str, amount: Decimal, months: int, on: date = TODAY) -> NoRateError:
    with pytest.raises(NoRateError) as caught:
        rates.rate(product, amount, months, on)
    assert caught.value.category is Category.REFUSED
    return caught.value


def bounds(row: RateRow) -> tuple[Decimal, Decimal, int, int]:
    assert row.min_amount is not None
    assert row.max_amount is not None
    assert row.min_months is not None
    assert row.max_months is not None
    return row.min_amount, row.max_amount, row.min_months, row.max_months


def gives_another_row(row: RateRow, amount: Decimal, months: int, on: date) -> bool:
    try:
        return SHEET.rate(row.product, amount, months, on).id != row.id
    except NoRateError:
        return True


@pytest.mark.parametrize("row", LOANS, ids=lambda row: row.id)
def test_every_corner_of_a_row_belongs_to_it_and_one_step_outside_does_not(row: RateRow) -> None:
    low, high, short, long = bounds(row)
    for day in (row.valid_from, row.valid_until):
        for amount in (low, high):
            for months in (short, long):
                assert SHEET.rate(row.product, amount, months, day) == row
        assert gives_another_row(row, low - CENT, short, day)
        assert gives_another_row(row, high + CENT, short, day)
        assert gives_another_row(row, low, short - 1, day)
        assert gives_another_row(row, low, long + 1, day)
    assert gives_another_row(row, low, short, row.valid_from - DAY)
    assert gives_another_row(row, low, short, row.valid_until + DAY)


@given(
    amount=st.decimals(1, 2_000_000, places=2),
    months=st.integers(1, 600),
    row=st.sampled_from(LOANS),
)
def test_a_rate_comes_from_the_one_row_that_admits_the_loan_and_from_none_otherwise(
    amount: Decimal, months: int, row: RateRow
) -> None:
    admitting = [r for r in LOANS if r.product == row.product and r.admits(amount, months)]
    assert len(admitting) <= 1
    if admitting:
        assert SHEET.rate(row.product, amount, months, TODAY) == admitting[0]
    else:
        error = refusal(SHEET, row.product, amount, months)
        assert error.reason in {NoRateReason.AMOUNT, NoRateReason.TERM}


@pytest.mark.parametrize(
    ("product", "amount", "months", "on", "reason", "said"),
    [
        ("boat_loan", D(5000), 60, TODAY, "product", "no loan rate for boat loan"),
        ("savings", D(5000), 60, TODAY, "product", "no loan rate for savings"),
        ("credit_card", D(500), 12, TODAY, "product", "no loan rate for credit card"),
        ("", D(5000), 60, TODAY, "product", "no loan rate"),
        ("personal_loan", D("999.99"), 12, TODAY, "amount", "from $1,000 to $50,000"),
        ("personal_loan", D("50000.01"), 12, TODAY, "amount", "from $1,000 to $50,000"),
        ("personal_loan", D(20_000), 96, TODAY, "term", "from 12 to 84 months"),
        ("personal_loan", D(20_000), 11, TODAY, "term", "from 12 to 84 months"),
        ("personal_loan", D(2_000), 61, TODAY, "term", "from 6 to 60 months"),
        ("mortgage", D(100_000), 59, TODAY, "term", "from 60 to 360 months"),
        ("car_loan", D(10_000), 60, date(2025, 12, 31), "day", "on 2025-12-31"),
        ("car_loan", D(10_000), 60, date(2028, 1, 1), "day", "on 2028-01-01"),
        ("car_loan", D(1), 1, date(2028, 1, 1), "day", "on 2028-01-01"),
    ],
)
def test_a_loan_without_a_rate_is_refused_with_the_reason_and_what_is_possible(
    product: str, amount: Decimal, months: int, on: date, reason: str, said: str
) -> None:
    error = refusal(SHEET, product, amount, months, on)
    assert error.reason == reason
    assert said in error.message


@pytest.mark.parametrize("product", ["personal_loan", "Personal Loan", " personal  loan ", "PERSONAL_LOAN"])
def test_a_product_may_be_written_as_people_write_it(product: str) -> None:
    assert SHEET.rate(product, D(20_000), 60, TODAY).id == "personal_loan_large"


def test_a_sheet_with_a_hole_in_its_amounts_does_not_offer_the_hole(tmp_path: Path) -> None:
    rates = sheet(
        tmp_path,
        row_yaml(),
        row_yaml(id="boat_large", min_amount="5000.00", max_amount="9000.50"),
    )
    error = refusal(rates, "boat_loan", D(3000), 12)
    assert error.reason == "amount"
    assert error.message == "A boat loan goes from $1,000 to $2,000 or from $5,000 to $9,000.50."


def test_a_sheet_with_a_hole_in_its_terms_does_not_offer_the_hole(tmp_path: Path) -> None:
    rates = sheet(
        tmp_path,
        row_yaml(),
        row_yaml(id="boat_middle", min_months=25, max_months=36),
        row_yaml(id="boat_long", min_months=60, max_months=None),
    )
    error = refusal(rates, "boat_loan", D(1000), 48)
    assert error.message == "A boat loan of that amount runs from 12 to 36 months or from 60 months up."


def test_below_the_smallest_amount_of_a_product_without_a_largest_the_smallest_is_named(
    tmp_path: Path,
) -> None:
    rates = sheet(tmp_path, row_yaml(min_amount="5000.00", max_amount=None))
    assert refusal(rates, "boat_loan", D(100), 12).message == "A boat loan goes from $5,000 up."


def test_unbounded_rows_admit_everything(tmp_path: Path) -> None:
    unbounded = dict.fromkeys(("min_amount", "max_amount", "min_months", "max_months"))
    rates = sheet(tmp_path, row_yaml(**unbounded))
    for amount, months in ((CENT, 1), (D(10) ** 9, 600)):
        assert rates.rate("boat_loan", amount, months, TODAY).id == "boat_small"


def test_a_later_row_of_the_same_loan_takes_over_on_its_day(tmp_path: Path) -> None:
    rates = sheet(
        tmp_path,
        row_yaml(valid_until=date(2026, 6, 30)),
        row_yaml(id="boat_summer", annual_rate="0.0699", valid_from=date(2026, 7, 1)),
    )
    assert rates.rate("boat_loan", D(1000), 12, date(2026, 6, 30)).annual_rate == D("0.0799")
    assert rates.rate("boat_loan", D(1000), 12, date(2026, 7, 1)).annual_rate == D("0.0699")


def test_no_number_of_the_sheet_ever_was_a_float() -> None:
    raw = {row["id"]: row for row in yaml.safe_load(FILE.read_text())["rates"]}
    for row in SHEET.rows:
        for name in ("annual_rate", "min_amount", "max_amount"):
            value, written = getattr(row, name), raw[row.id][name]
            assert value is None or (isinstance(value, Decimal) and str(value) == written)


@pytest.mark.parametrize("name", ["annual_rate", "min_amount", "max_amount"])
@pytest.mark.parametrize("value", [0.5, 1, True, [1]])
def test_a_number_that_is_not_in_quotes_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must stand in quotes"):
        sheet(tmp_path, row_yaml(**{name: value}))


@pytest.mark.parametrize(
    ("changes", "overlaps"),
    [
        ({}, True),
        ({"min_amount": "2000.00", "max_amount": "3000.00"}, True),
        ({"min_amount": "2000.01", "max_amount": "3000.00"}, False),
        ({"min_months": 24, "max_months": 36}, True),
        ({"min_months": 25, "max_months": 36}, False),
        ({"valid_from": date(2026, 12, 31), "valid_until": date(2027, 12, 31)}, True),
        ({"valid_from": date(2027, 1, 1), "valid_until": date(2027, 12, 31)}, False),
        ({"min_amount": None, "max_amount": "1000.00"}, True),
        ({"min_amount": None, "max_amount": "999.99"}, False),
        ({"min_months": None, "max_months": None}, True),
        ({"product": "ship_loan"}, False),
        ({"kind": "deposit"}, False),
    ],
)
def test_two_rows_that_both_apply_to_a_loan_are_refused(
    tmp_path: Path, changes: dict[str, Any], overlaps: bool
) -> None:
    rows = (row_yaml(), row_yaml(id="boat_other", **changes))
    if overlaps:
        with pytest.raises(InvalidInputError, match="boat_small and boat_other both apply"):
            sheet(tmp_path, *rows)
    else:
        assert len(sheet(tmp_path, *rows).rows) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annual_rate": "7.99"}, "fraction per year"),
        ({"annual_rate": "-0.01"}, "negative"),
        ({"annual_rate": "7,99"}, "finite number"),
        ({"annual_rate": "NaN"}, "finite number"),
        ({"annual_rate": "0.069900000001"}, "at most 8 decimals"),
        ({"annual_rate": None}, "finite number"),
        ({"min_amount": "-1"}, "negative"),
        ({"min_amount": "3000.00"}, "never applies"),
        ({"min_months": 25}, "never applies"),
        ({"min_months": "12"}, "whole months"),
        ({"max_months": 601}, "whole months"),
        ({"max_months": True}, "whole months"),
        ({"valid_from": "spring"}, "valid_from must be a date"),
        ({"valid_until": "2026-12-31 00:00"}, "valid_until must be a date"),
        ({"valid_until": date(2025, 1, 1)}, "never applies"),
        ({"kind": "gift"}, "kind must be one of deposit, loan, revolving"),
        ({"product": ""}, "product must be text"),
        ({"name": 7}, "name must be text"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_impossible_row_is_refused_with_its_name(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        sheet(tmp_path, row_yaml(**changes))


def test_two_rows_of_one_name_and_a_default_without_a_rate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="two rows are called boat_small"):
        sheet(tmp_path, row_yaml(), row_yaml(product="ship_loan"))
    with pytest.raises(InvalidInputError, match="default product ship_loan has no loan rate"):
        sheet(tmp_path, row_yaml(), default_product="ship_loan")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "rates: [",
        "rates: 5",
        "- a",
        "rates: [a]",
        "rates: [{id: a}]",
        "rates: [{valid_from: 2026-13-45}]",
        "\x00",
    ],
)
def test_a_sheet_of_another_shape_is_refused_with_its_path(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=str(path)):
        load_rates(path)


def test_an_absent_sheet_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"absent\.yaml"):
        load_rates(tmp_path / "absent.yaml")


def test_the_sheets_hash_changes_with_the_file(tmp_path: Path) -> None:
    first = sheet(tmp_path, row_yaml()).sha256
    assert sheet(tmp_path, row_yaml()).sha256 == first
    assert sheet(tmp_path, row_yaml(annual_rate="0.0798")).sha256 != first
