"""loan-calc, payment-plan and compliance-test: what they print is what the functions compute, to the cent."""

import hashlib
import json
import os
import pty
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from serving.cli import compliance_test, loan_calc, payment_plan
from serving.errors import InvalidInputError
from serving.plain import plain
from serving.settings import Settings
from serving.tools.compliance import load_compliance
from serving.tools.loan import calculate_payment
from serving.tools.plan import generate_plan, next_month

D = Decimal
ROOT = Path(__file__).resolve().parents[2]
TEXTS = load_compliance(ROOT / "data" / "compliance")
LOAN = ("--amount", "20000", "--interest", "0.06", "--months", "60")
STEPS = ("--interest", "0.08", "--months", "24", "--interest", "0.06", "--months", "36")
PLAN = ("--amount", "10000", *STEPS, "--first-payment", "2026-12-20")
ON = ("--on", "2026-11-20")
ESCAPE = "\x1b"


def run(app: typer.Typer, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def loan(*arguments: str) -> Result:
    return run(loan_calc.app, *arguments)


def plan(*arguments: str) -> Result:
    return run(payment_plan.app, *arguments)


def wording(*arguments: str) -> Result:
    return run(compliance_test.app, *arguments)


def in_a_process(module: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"serving.cli.{module}", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60, **options
    )


def on_a_terminal(module: str, *arguments: str, **environment: str) -> str:
    """Output of a command whose standard output is a terminal."""
    controller, terminal = pty.openpty()
    inherited = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    command = [sys.executable, "-m", f"serving.cli.{module}", *arguments]
    environment = {**inherited, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(command, cwd=ROOT, stdout=terminal, stderr=terminal, env=environment) as child:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(controller, 65_536):
                shown += part
        except OSError:  # Linux reports the closed terminal of a finished child as an error
            pass
        assert child.wait(60) == 0
    os.close(controller)
    return shown.decode()


@pytest.mark.parametrize(
    ("amount", "rate", "months"), [("20000", "0.06", "60"), ("12,500.50", "0.06875", "1"), ("3", "0", "600")]
)
def test_the_json_of_a_loan_is_the_calculators_quote(amount: str, rate: str, months: str) -> None:
    done = loan("--amount", amount, "--interest", rate, "--months", months, "--json")
    assert done.exit_code == 0
    expected = calculate_payment(D(amount.replace(",", "")), D(rate), int(months))
    assert json.loads(done.stdout) == plain(expected)


def test_a_loan_too_small_for_its_months_is_refused_and_no_payment_of_nothing_quoted() -> None:
    done = loan("--amount", "1", "--interest", "0", "--months", "600")
    assert done.exit_code == 2
    assert "1.00 over 600 months comes to less than half a cent a month" in done.stderr
    assert "try: Take a larger amount or fewer months." in done.stderr


def test_a_loan_is_shown_with_its_rate_exactly_and_its_payment_to_the_cent() -> None:
    done = loan("--amount", "20000", "--interest", "0.06875", "--months", "60")
    quote = calculate_payment(D(20_000), D("0.06875"), 60)
    assert done.stdout.startswith("Loan of 20,000.00 at 6.875 % over 60 months\n")
    for amount in (quote.monthly_payment, quote.last_payment, quote.total_interest, quote.total_paid):
        assert f" {amount:,} " in done.stdout


def test_the_schedule_shows_every_month_down_to_nothing() -> None:
    lines = loan(*LOAN, "--schedule").stdout.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    schedule = calculate_payment(D(20_000), D("0.06"), 60).schedule
    shown = [row for row in rows if row[0].isdigit()]
    assert shown == [
        [str(r.month), *(f"{amount:,}" for amount in (r.payment, r.interest, r.principal, r.balance))]
        for r in schedule
    ]


@pytest.mark.parametrize("extra", ["0", "50", "10000"])
def test_the_json_of_a_plan_is_the_functions_plan(extra: str) -> None:
    done = plan(*PLAN, "--extra", extra, "--json")
    assert done.exit_code == 0
    expected = generate_plan(
        D(10_000), [D("0.08"), D("0.06")], [24, 36], D(extra), first_payment=date(2026, 12, 20)
    )
    assert json.loads(done.stdout) == plain(expected)


def test_a_plan_shows_its_steps_its_end_and_what_an_extra_payment_saves() -> None:
    without, extra = plan(*PLAN).stdout, plan(*PLAN, "--extra", "50").stdout
    for shown in (without, extra):
        assert "│ 1-24   │  8 % │         202.76 │" in shown
        assert "│ 25-60  │  6 % │         196.85 │" in shown
    assert "2031-11-20" in without
    assert "Months saved" not in without
    assert "│ Months saved   │         13 │" in extra


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_without_a_date_the_first_payment_is_due_in_a_month_of_the_banks_day(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two zones are 25 hours apart, so one of them differs from any machine's own."""
    monkeypatch.setenv("VOICEBOT_TIMEZONE", zone)
    before = Settings.load().today()
    done = plan("--amount", "100", "--interest", "0", "--months", "1", "--json")
    days = {next_month(before).isoformat(), next_month(Settings.load().today()).isoformat()}
    assert json.loads(done.stdout)["payoff_date"] in days


def test_without_a_day_a_wording_is_the_one_of_the_banks_day(monkeypatch: pytest.MonkeyPatch) -> None:
    days = []

    def noted(_library: object, *_arguments: object, on: date, **_options: object) -> None:
        days.append(on)
        raise InvalidInputError("enough")

    monkeypatch.setattr("serving.tools.compliance.ComplianceLibrary.notice", noted)
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        monkeypatch.setenv("VOICEBOT_TIMEZONE", zone)
        wording("--type", "KYC")
    assert days[0] > days[1]


NONSENSE = [
    "", " ", "-5", "nan", "NaN", "sNaN", "inf", "-inf", "1e400", "-1e400", "1e-400", "1e999999999",
    "9" * 5_000, "٢٠٠٠٠", "２０００", "1_000", "12,50", "1.000,50", "0x10", "5 %", "5%", "$5", "five", "--",
    "½", "1e", "12\n34", "\x1b[31m5",
]  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE, ids=lambda v: repr(v[:12]))
@pytest.mark.parametrize("option", ["--amount", "--interest", "--months", "--extra"])
def test_nonsense_in_any_number_is_one_line_on_stderr_and_exit_code_2(option: str, value: str) -> None:
    for command, arguments in ((loan, LOAN), (plan, (*PLAN, "--extra", "5"))):
        if option not in arguments:
            continue
        changed = list(arguments)
        changed[changed.index(option) + 1] = value
        done = command(*changed)
        assert done.exit_code == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"error: {option} must ") or f"error: {option} is a " in done.stderr
        assert len(done.stderr) < 300
        assert ESCAPE not in done.stderr


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (loan, ("--amount", "20000", "--interest", "6", "--months", "60"), "For 6 % write 0.06."),
        (loan, ("--amount", "20000", "--interest", "0.06", "--months", "1000000000"), "from 1 to 600"),
        (loan, ("--amount", "20000", "--interest", "0.06", "--months", "60.5"), "whole number from 1 to 600"),
        (
            loan,
            ("--amount", "0.99", "--interest", "0.06", "--months", "60"),
            "between 1.00 and 100,000,000.00",
        ),
        (loan, ("--amount", "10.005", "--interest", "0.06", "--months", "60"), "whole cents"),
        (loan, ("--amount", "10", "--interest", "0.123456789", "--months", "60"), "at most 8 decimals"),
        (plan, (*PLAN, "--interest", "0.05"), "as many rates as terms, at least one of each; got 3 and 2"),
        (plan, (*PLAN, "--interest", "0.05", "--months", "600"), "must not exceed 600 months together"),
        (plan, (*PLAN, "--extra", "10000.01"), "between 0.00 and 10,000.00"),
        (plan, (*PLAN[:-1], "31.12.2026"), "--first-payment must be a date such as"),
        (plan, (*PLAN[:-1], "9999-12-31"), "before the year 9901"),
        (plan, (*PLAN[:-1], "2026-02-30"), "--first-payment must be a date such as"),
        (loan, LOAN[:4], "Missing option '--months'"),
        (loan, (*LOAN, "--rate", "6"), "No such option"),
        (loan, (*LOAN, "5"), "unexpected extra argument"),
        (plan, ("--amount", "5"), "Missing option '--interest'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_explained_with_exit_code_2(
    command: Any, arguments: tuple[str, ...], said: str
) -> None:
    done = command(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


numbers = st.one_of(
    st.text(max_size=8),
    st.decimals().map(str),
    st.floats().map(repr),
    st.integers().map(str),
    st.just("0.05"),
)


@given(amount=numbers, rate=numbers, months=numbers, extra=numbers)
@example(amount="100000000", rate="0.00000001", months="600", extra="0.01")
@example(amount="1", rate="1", months="600", extra="-0")
def test_whatever_is_typed_the_command_computes_or_explains(
    amount: str, rate: str, months: str, extra: str
) -> None:
    arguments = [f"--amount={amount}", f"--interest={rate}", f"--months={months}", "--json"]
    for done in (loan(*arguments), plan(*arguments, f"--extra={extra}")):
        if done.exit_code == 0:
            assert json.loads(done.stdout)["schedule"][-1]["balance"] == "0.00"
        else:
            assert done.exit_code == 2
            assert done.stderr.startswith(("error: ", "Usage: "))


@pytest.mark.parametrize("text", TEXTS.texts, ids=lambda t: f"{t.id}-{t.jurisdiction}")
def test_a_wording_is_printed_word_for_word_with_the_hash_of_what_is_printed(text: Any) -> None:
    done = wording("--notice", text.id, "--jurisdiction", text.jurisdiction, *ON)
    assert done.exit_code == 0
    head, spoken, end = done.stdout.split("\n")
    assert end == ""
    assert head.split("  ")[0].startswith(f"{text.id}@{text.jurisdiction}/{text.version}")
    assert head.endswith(f"sha256 {hashlib.sha256(spoken.encode()).hexdigest()}")
    fallback = not text.params.keys() <= {"bank_name", "limit"}
    assert ("(fallback: a parameter is missing)" in head) == fallback
    if fallback or not text.params:
        assert spoken == (text.fallback if fallback else text.text)


def test_the_json_of_a_wording_is_the_librarys_notice() -> None:
    done = wording("--type", "kyc", "--param", "bank_name=Pier Bank", *ON, "--json")
    notice = TEXTS.notice("KYC", {"bank_name": "Pier Bank"}, jurisdiction="US", on=date(2026, 11, 20))
    assert json.loads(done.stdout) == plain(notice)


def test_the_list_holds_every_text_of_the_files() -> None:
    assert json.loads(wording("--list", "--json").stdout) == plain(TEXTS.texts)
    shown = wording("--list").stdout
    files = sorted((ROOT / "data" / "compliance").glob("*.yaml"))
    assert all(item["id"] in shown for file in files for item in yaml.safe_load(file.read_text())["texts"])


def test_brackets_and_colons_in_a_value_are_words_and_no_markup() -> None:
    name = "[bold]Acme[/bold] [/] :smile: \\[x]"
    done = wording("--notice", "kyc_notice_business", "--param", f"company={name}", *ON)
    assert done.exit_code == 0
    assert f"When {name} opens an account" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Say which wording"),
        (("--type", "MIRANDA"), 2, "There is no flow type 'MIRANDA'"),
        (("--type", "\x1b[31m"), 2, "There is no flow type"),
        (("--type", "KYC", "--jurisdiction", "California"), 2, "A jurisdiction is a country"),
        (("--type", "KYC", "--on", "yesterday"), 2, "--on must be a date"),
        (("--type", "KYC", "--param", "bank_name"), 2, "--param needs name=value"),
        (("--type", "KYC", "--param", "=x"), 2, "--param needs name=value"),
        (("--type", "KYC", "--param", "colour=red"), 2, "has no parameter 'colour'; it has: bank_name"),
        (("--type", "KYC", "--param", "bank_name="), 2, "bank_name must be plain text"),
        (("--type", "KYC", "--param", "bank_name=\x1b[31mx"), 2, "bank_name must be plain text"),
        (("--type", "KYC", "--param", "bank_name=a", "--param", "bank_name=b"), 2, "given twice"),
        (("--notice", "deposit_insurance_notice", "--param", "limit=1e999"), 2, "limit must be between"),
        (("--type", "KYC", "--jurisdiction", "DE"), 3, "No approved wording of KYC for DE"),
        (("--type", "KYC", "--on", "2025-12-31"), 3, "on 2025-12-31"),
        (("--type", "KYC", "--notice", "privacy_notice"), 3, "No approved wording"),
        (("--notice", "absent"), 3, "There is no compliance text 'absent'"),
        (("--notice", "\x1b[31mabsent"), 3, "There is no compliance text"),
    ],
)
def test_what_cannot_be_said_has_its_reason_and_exit_code(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = wording(*arguments)
    assert done.exit_code == code
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stdout == ""
    assert ESCAPE not in done.stderr


def test_the_settings_decide_the_place_and_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOT_JURISDICTION", "US-CA")
    monkeypatch.setenv("VOICEBOT_BANK_NAME", "Pier Bank")
    shown = wording("--type", "LEGAL_NOTICE", *ON).stdout
    assert shown.startswith("ai_voice_disclosure@US-CA/1  ")
    assert "automated assistant of Pier Bank" in shown


def test_a_mistake_in_the_settings_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voicebot.toml").write_text("port = ")
    done = wording("--type", "KYC")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: Settings file voicebot.toml is not valid TOML")
    (tmp_path / "voicebot.toml").unlink()
    monkeypatch.setenv("VOICEBOT_JURISDICTON", "US")
    assert "Did you mean VOICEBOT_JURISDICTION?" in wording("--type", "KYC").stderr


COMMANDS = [
    ("loan_calc", (*LOAN, "--schedule")),
    ("payment_plan", (*PLAN, "--schedule")),
    ("compliance_test", ("--type", "KYC", *ON)),
    ("compliance_test", ("--list",)),
]


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_a_pipe_gets_no_escape_codes_even_where_colours_are_wanted(
    module: str, arguments: tuple[str, ...]
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    done = in_a_process(module, *arguments, env={**environment, "FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert done.returncode == 0
    assert done.stdout
    assert ESCAPE not in done.stdout + done.stderr


@pytest.mark.parametrize(("module", "arguments"), COMMANDS[1:3])
def test_a_terminal_gets_colours_unless_no_color_is_set(module: str, arguments: tuple[str, ...]) -> None:
    assert ESCAPE in on_a_terminal(module, *arguments)
    assert ESCAPE not in on_a_terminal(module, *arguments, NO_COLOR="1")


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    loan_of_50_years = "--amount 20000 --interest 0.06 --months 600 --json"
    command = f"{sys.executable} -m serving.cli.loan_calc {loan_of_50_years} | head -c 10"
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert len(done.stdout) == 10
    assert done.stderr == ""


def test_a_terminal_without_unicode_still_gets_the_numbers() -> None:
    for module, arguments in COMMANDS:
        done = in_a_process(module, *arguments, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0, done.stderr
